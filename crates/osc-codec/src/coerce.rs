//! What an argument stands for, whatever type its sender had to use.
//!
//! Pure Data knows only float32, SuperCollider sends `true` as 1 and `false` and `nil` as 0, old
//! senders have no `T` and `F`, and shells send everything as text. So numbers stand for booleans and
//! texts and the other way round, wherever nothing has to be guessed.

use std::borrow::Cow;

use crate::Argument;

/// Floats skip whole numbers beyond 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The whole number: an int, a float without fraction up to 2^53, a boolean as 1 or 0, or a text that
/// says one of these numbers.
#[must_use]
pub fn int(argument: &Argument) -> Option<i64> {
    match argument {
        Argument::Int(int) => Some(i64::from(*int)),
        Argument::Long(long) => Some(*long),
        Argument::Float(float) => whole(f64::from(*float)),
        Argument::Double(double) => whole(*double),
        Argument::True => Some(1),
        Argument::False => Some(0),
        Argument::String(text) | Argument::Symbol(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        Argument::Char(char) => char.to_digit(10).map(i64::from),
        Argument::Nil
        | Argument::Impulse
        | Argument::Blob(_)
        | Argument::TimeTag(_)
        | Argument::Color(_)
        | Argument::Midi(_)
        | Argument::Array(_) => None,
    }
}

/// The number; whole ones beyond 2^53 are rounded.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "stated")]
pub fn float(argument: &Argument) -> Option<f64> {
    match argument {
        Argument::Float(float) => Some(f64::from(*float)),
        Argument::Double(double) => Some(*double),
        Argument::String(text) | Argument::Symbol(text) => {
            text.trim().parse().ok().filter(|number: &f64| number.is_finite())
        }
        Argument::Int(_)
        | Argument::Long(_)
        | Argument::True
        | Argument::False
        | Argument::Char(_)
        | Argument::Nil
        | Argument::Impulse
        | Argument::Blob(_)
        | Argument::TimeTag(_)
        | Argument::Color(_)
        | Argument::Midi(_)
        | Argument::Array(_) => int(argument).map(|int| int as f64),
    }
}

/// Yes or no: numbers other than zero are yes, nil is no, an impulse is yes, and the texts `true` and
/// `false` and those of numbers are what they say.
#[must_use]
pub fn boolean(argument: &Argument) -> Option<bool> {
    match argument {
        Argument::True | Argument::Impulse => Some(true),
        Argument::False | Argument::Nil => Some(false),
        Argument::String(text) | Argument::Symbol(text) => match text.trim() {
            text if text.eq_ignore_ascii_case("true") => Some(true),
            text if text.eq_ignore_ascii_case("false") => Some(false),
            _ => float(argument).map(|number| number != 0.0),
        },
        Argument::Int(_)
        | Argument::Long(_)
        | Argument::Float(_)
        | Argument::Double(_)
        | Argument::Char(_)
        | Argument::Blob(_)
        | Argument::TimeTag(_)
        | Argument::Color(_)
        | Argument::Midi(_)
        | Argument::Array(_) => {
            float(argument).filter(|number| !number.is_nan()).map(|number| number != 0.0)
        }
    }
}

/// The text: strings, symbols and characters as they are, whole numbers without a point (`3`),
/// others as short as they can be read back, booleans as SuperCollider's 1 and 0.
#[must_use]
pub fn text(argument: &Argument) -> Option<Cow<'_, str>> {
    match argument {
        Argument::String(text) | Argument::Symbol(text) => Some(Cow::Borrowed(text)),
        Argument::Char(char) => Some(Cow::Owned(char.to_string())),
        Argument::Float(float) if float.is_finite() && float.fract() != 0.0 => {
            Some(Cow::Owned(float.to_string()))
        }
        Argument::Double(double) if double.is_finite() && double.fract() != 0.0 => {
            Some(Cow::Owned(double.to_string()))
        }
        Argument::Int(_)
        | Argument::Long(_)
        | Argument::Float(_)
        | Argument::Double(_)
        | Argument::True
        | Argument::False
        | Argument::Nil
        | Argument::Impulse
        | Argument::Blob(_)
        | Argument::TimeTag(_)
        | Argument::Color(_)
        | Argument::Midi(_)
        | Argument::Array(_) => int(argument).map(|int| Cow::Owned(int.to_string())),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
fn whole(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Argument::{Array, Char, Double, False, Float, Impulse, Int, Long, Nil, True};

    fn string(text: &str) -> Argument {
        Argument::String(text.to_owned())
    }

    #[test]
    fn numbers_come_as_any_type() {
        let three =
            [Int(3), Long(3), Float(3.0), Double(3.0), string("3"), string(" 3.0 "), Char('3')];
        for argument in three {
            assert_eq!(int(&argument), Some(3), "{argument:?}");
            assert_eq!(float(&argument), Some(3.0), "{argument:?}");
            assert_eq!(boolean(&argument), Some(true), "{argument:?}");
        }
        assert_eq!((int(&True), int(&False)), (Some(1), Some(0)));
        assert_eq!(int(&Long(i64::MAX)), Some(i64::MAX));
        assert_eq!(int(&string("9223372036854775807")), Some(i64::MAX));
        for none in
            [Float(0.5), Double(1e300), Float(f32::NAN), string(""), string("x"), Nil, Impulse]
        {
            assert_eq!(int(&none), None, "{none:?}");
        }
        assert_eq!((float(&string("0.5")), float(&string("inf"))), (Some(0.5), None));
    }

    #[test]
    fn true_and_nil_come_as_numbers_too() {
        for yes in [True, Int(1), Int(-1), Float(0.5), string("TRUE"), string("1"), Impulse] {
            assert_eq!(boolean(&yes), Some(true), "{yes:?}");
        }
        for no in [False, Nil, Int(0), Float(0.0), Double(-0.0), string("false"), string("0.0")] {
            assert_eq!(boolean(&no), Some(false), "{no:?}");
        }
        for neither in [Float(f32::NAN), string("maybe"), Array(vec![True])] {
            assert_eq!(boolean(&neither), None, "{neither:?}");
        }
    }

    #[test]
    fn ids_are_the_same_text_from_every_sender() {
        for seven in [Int(7), Long(7), Float(7.0), Double(7.0), string("7"), Char('7')] {
            assert_eq!(text(&seven).as_deref(), Some("7"), "{seven:?}");
        }
        let said = [(Float(0.1), "0.1"), (Double(-2.5), "-2.5"), (True, "1"), (False, "0")];
        for (argument, expected) in said {
            assert_eq!(text(&argument).as_deref(), Some(expected));
        }
        for none in
            [Nil, Impulse, Float(f32::INFINITY), Argument::Blob(vec![b'x']), Array(Vec::new())]
        {
            assert_eq!(text(&none), None, "{none:?}");
        }
    }
}
