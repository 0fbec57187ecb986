//! Arguments as the model writes them, as OSC sends them and as events keep them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_contracts::OscArgument;
use nexus_osc_codec::{Argument, TimeTag};
use serde_json::{Value, json};

/// How an argument is kept in an event.
///
/// JSON has no infinite floats and no NaN; they are kept as texts.
#[must_use]
pub fn recorded(argument: &Argument) -> OscArgument {
    match argument {
        Argument::Int(int) => OscArgument::Int(*int),
        Argument::Long(long) => OscArgument::Long(long.to_string()),
        Argument::Float(float) if float.is_finite() => OscArgument::Float(*float),
        Argument::Float(float) => OscArgument::String(float.to_string()),
        Argument::Double(double) if double.is_finite() => OscArgument::Double(*double),
        Argument::Double(double) => OscArgument::String(double.to_string()),
        Argument::String(text) => OscArgument::String(text.clone()),
        Argument::Symbol(text) => OscArgument::Symbol(text.clone()),
        Argument::Blob(bytes) => OscArgument::Blob(STANDARD.encode(bytes)),
        Argument::TimeTag(tag) => OscArgument::TimeTag(tag.0.to_string()),
        Argument::Char(char) => OscArgument::Char(*char),
        Argument::Color(four) => OscArgument::Color(*four),
        Argument::Midi(four) => OscArgument::Midi(*four),
        Argument::True => OscArgument::Bool(true),
        Argument::False => OscArgument::Bool(false),
        Argument::Nil => OscArgument::Nil,
        Argument::Impulse => OscArgument::Impulse,
        Argument::Array(array) => OscArgument::Array(array.iter().map(recorded).collect()),
    }
}

/// The argument that an event keeps; `None` when its text is no such number or no base64.
#[must_use]
pub fn played(argument: &OscArgument) -> Option<Argument> {
    Some(match argument {
        OscArgument::Int(int) => Argument::Int(*int),
        OscArgument::Long(text) => Argument::Long(text.parse().ok()?),
        OscArgument::Float(float) => Argument::Float(*float),
        OscArgument::Double(double) => Argument::Double(*double),
        OscArgument::String(text) => Argument::String(text.clone()),
        OscArgument::Symbol(text) => Argument::Symbol(text.clone()),
        OscArgument::Blob(text) => Argument::Blob(STANDARD.decode(text).ok()?),
        OscArgument::TimeTag(text) => Argument::TimeTag(TimeTag(text.parse().ok()?)),
        OscArgument::Char(char) => Argument::Char(*char),
        OscArgument::Color(four) => Argument::Color(*four),
        OscArgument::Midi(four) => Argument::Midi(*four),
        OscArgument::Bool(bool) => Argument::from(*bool),
        OscArgument::Nil => Argument::Nil,
        OscArgument::Impulse => Argument::Impulse,
        OscArgument::Array(array) => {
            Argument::Array(array.iter().map(played).collect::<Option<_>>()?)
        }
    })
}

/// The argument that a model means: a JSON number, text, boolean or null, or an object with `type`
/// and `value` where the type matters.
///
/// # Errors
/// What is wrong, for the model.
pub(crate) fn meant(value: &Value) -> Result<Argument, String> {
    match value {
        Value::Null => Ok(Argument::Nil),
        Value::Bool(bool) => Ok(Argument::from(*bool)),
        Value::String(text) => Ok(Argument::String(text.clone())),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| Err(out_of_range(value)), |float| Ok(float32(float)))
        }
        Value::Number(number) => {
            let int = number.as_i64().and_then(|int| i32::try_from(int).ok());
            int.map(Argument::Int).ok_or_else(|| out_of_range(value))
        }
        Value::Array(array) => {
            array.iter().map(meant).collect::<Result<_, _>>().map(Argument::Array)
        }
        Value::Object(object) => typed(object.get("type").and_then(Value::as_str), value),
    }
}

fn typed(kind: Option<&str>, value: &Value) -> Result<Argument, String> {
    // Models write numbers where events keep 64 bits as text, and 1 where a float is meant.
    let number = value.get("value").filter(|inner| inner.is_number());
    let mut kept = value.clone();
    if let (Some("long" | "time_tag"), Some(number)) = (kind, number) {
        kept["value"] = Value::String(number.to_string());
    }
    let read = serde_json::from_value::<OscArgument>(kept).ok();
    read.as_ref().and_then(played).ok_or_else(|| {
        format!(
            "{value} is no OSC argument; write a number, text, boolean or null, or for example \
             {{\"type\":\"float\",\"value\":1}}; types are int, long, float, double, string, symbol, \
             blob (base64), time_tag, char, color, midi, bool, nil, impulse, array"
        )
    })
}

fn out_of_range(value: &Value) -> String {
    format!(
        "{value} has more than 32 bits; write {{\"type\":\"long\",\"value\":\"{value}\"}} or a double"
    )
}

#[allow(clippy::cast_possible_truncation, reason = "OSC's float has 32 bits")]
pub(crate) fn float32(float: f64) -> Argument {
    Argument::Float(float as f32)
}

/// An argument for the model; what JSON cannot say becomes text.
pub(crate) fn shown(argument: &Argument) -> Value {
    match argument {
        Argument::Int(int) => json!(int),
        Argument::Long(long) => json!(long),
        // The shortest decimal that is this float, instead of its 53 bits.
        Argument::Float(float) if float.is_finite() => {
            float.to_string().parse::<f64>().map_or(Value::Null, |float| json!(float))
        }
        Argument::Float(float) => json!(float.to_string()),
        Argument::Double(double) if double.is_finite() => json!(double),
        Argument::Double(double) => json!(double.to_string()),
        Argument::String(text) | Argument::Symbol(text) => json!(text),
        Argument::Blob(bytes) => json!({ "blob": STANDARD.encode(bytes) }),
        Argument::TimeTag(tag) => json!(tag.0.to_string()),
        Argument::Char(char) => json!(char),
        Argument::Color(four) | Argument::Midi(four) => json!(four),
        Argument::True => json!(true),
        Argument::False => json!(false),
        Argument::Nil => Value::Null,
        Argument::Impulse => json!("bang"),
        Argument::Array(array) => Value::Array(array.iter().map(shown).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Argument> {
        vec![
            Argument::Int(-1),
            Argument::Long(i64::MAX),
            Argument::Float(0.1),
            Argument::Double(0.1),
            Argument::String("é".to_owned()),
            Argument::Symbol("s".to_owned()),
            Argument::Blob(vec![0, 255]),
            Argument::TimeTag(TimeTag(u64::MAX)),
            Argument::Char('ö'),
            Argument::Color([1, 2, 3, 4]),
            Argument::Midi([0, 0x90, 60, 127]),
            Argument::True,
            Argument::False,
            Argument::Nil,
            Argument::Impulse,
            Argument::Array(vec![Argument::Int(1), Argument::Array(vec![Argument::Nil])]),
        ]
    }

    #[test]
    fn what_is_recorded_plays_as_the_same_bytes_also_through_json() {
        for argument in one_of_each() {
            let kept = serde_json::to_string(&recorded(&argument)).unwrap();
            let read: OscArgument = serde_json::from_str(&kept).unwrap();
            assert_eq!(played(&read), Some(argument), "{kept}");
        }
        assert_eq!(recorded(&Argument::Float(f32::NAN)), OscArgument::String("NaN".to_owned()));
        assert_eq!(played(&OscArgument::Long("x".to_owned())), None);
        assert_eq!(played(&OscArgument::Blob("*".to_owned())), None);
    }

    #[test]
    fn plain_json_means_the_obvious_type_and_objects_mean_any() {
        for (written, expected) in [
            (json!(1), Argument::Int(1)),
            (json!(1.0), Argument::Float(1.0)),
            (json!("1"), Argument::String("1".to_owned())),
            (json!(true), Argument::True),
            (json!(null), Argument::Nil),
            (json!([1]), Argument::Array(vec![Argument::Int(1)])),
            (json!({"type": "float", "value": 1}), Argument::Float(1.0)),
            (json!({"type": "long", "value": 5_000_000_000_i64}), Argument::Long(5_000_000_000)),
            (json!({"type": "blob", "value": "AP8="}), Argument::Blob(vec![0, 255])),
            (json!({"type": "impulse"}), Argument::Impulse),
        ] {
            assert_eq!(meant(&written), Ok(expected), "{written}");
        }
        for wrong in [
            json!(5_000_000_000_i64),
            json!({}),
            json!({"type": "flot", "value": 1}),
            json!({"type": "blob", "value": "*"}),
            json!([{"type": "int", "value": "x"}]),
        ] {
            assert!(meant(&wrong).unwrap_err().contains("type"), "{wrong}");
        }
    }

    #[test]
    fn the_model_sees_the_shortest_number() {
        assert_eq!(shown(&Argument::Float(0.85)), json!(0.85));
        assert_eq!(shown(&Argument::Float(f32::INFINITY)), json!("inf"));
    }
}
