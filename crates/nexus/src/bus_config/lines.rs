//! Where in a file an entry and its keys stand.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::check::Fault;

/// A file, as values and as places.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    places: DeTable<'t>,
    value: Value,
}

impl<'t> Lines<'t> {
    /// Reads a file; what is no TOML is an error with its line.
    pub(super) fn read(text: &'t str) -> Result<Self, (usize, String)> {
        // Its own text would show the line, and in it perhaps a key.
        let wrong = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            (line(text, at), format!("this is no TOML: {}", error.message()))
        };
        let places = DeTable::parse(text).map_err(wrong)?.into_inner();
        let table: toml::Table = toml::from_str(text).map_err(wrong)?;
        let value = serde_json::to_value(table).map_err(|error| (1, error.to_string()))?;
        Ok(Self { text, places, value })
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// The line that a fault of a table is about; the whole file is the table when it has no name.
    pub(super) fn line_of(&self, table: Option<&str>, fault: &Fault) -> usize {
        let (mut at, mut place) = (0, Place::Table(&self.places));
        for key in table.into_iter().chain(fault.path.iter().map(String::as_str)) {
            let Some((inner_at, inner)) = place.enter(key) else { break };
            (at, place) = (inner_at, inner);
        }
        let quoted = |mark| fault.reason.split(mark).nth(1).and_then(|name| place.find(name));
        line(self.text, quoted('`').or_else(|| quoted('"')).unwrap_or(at))
    }
}

/// A value with its places.
#[derive(Clone, Copy)]
enum Place<'p, 't> {
    Table(&'p DeTable<'t>),
    Value(&'p DeValue<'t>),
}

impl<'p, 't> Place<'p, 't> {
    fn of(value: &'p DeValue<'t>) -> Self {
        match value {
            DeValue::Table(table) => Self::Table(table),
            other => Self::Value(other),
        }
    }

    /// The value of a key, or of an index, and where it begins.
    fn enter(self, key: &str) -> Option<(usize, Self)> {
        match self {
            Self::Table(table) => {
                let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
                Some((name.span().start, Self::of(value.get_ref())))
            }
            Self::Value(DeValue::Array(values)) => {
                let value = values.get(key.parse::<usize>().ok()?)?;
                Some((value.span().start, Self::of(value.get_ref())))
            }
            Self::Value(_) => None,
        }
    }

    /// Where a key of this name, or this text, stands in it.
    fn find(self, name: &str) -> Option<usize> {
        let is = |value: &DeValue<'_>| matches!(value, DeValue::String(text) if text == name);
        match self {
            Self::Table(table) => {
                let here =
                    table.iter().find(|(key, value)| key.get_ref() == name || is(value.get_ref()));
                let inner =
                    || table.iter().find_map(|(_, value)| Self::of(value.get_ref()).find(name));
                here.map(|(key, _)| key.span().start).or_else(inner)
            }
            Self::Value(DeValue::Array(values)) => {
                let here = values.iter().find(|value| is(value.get_ref()));
                let inner = || values.iter().find_map(|value| Self::of(value.get_ref()).find(name));
                here.map(|value| value.span().start).or_else(inner)
            }
            Self::Value(_) => None,
        }
    }
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
