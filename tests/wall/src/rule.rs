//! Rules that bodies of requests are held to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

pub(crate) type Checked<T> = Result<T, Refusal>;
pub(crate) type Object = Map<String, Value>;

/// An object, and where it stands in the body.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) path: String,
    pub(crate) object: &'a Object,
}

impl<'a> At<'a> {
    pub(crate) fn new(path: impl Into<String>, value: &'a Value) -> Checked<Self> {
        let path = path.into();
        match value.as_object() {
            Some(object) => Ok(Self { path, object }),
            None => Err(Refusal::rule(path.clone(), format!("{path}: expected an object"))),
        }
    }

    /// Path of a field.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(crate) fn wrong<T>(&self, name: &str, why: impl AsRef<str>) -> Checked<T> {
        let at = self.at(name);
        Err(Refusal::rule(at.clone(), format!("{at}: {}", why.as_ref())))
    }

    /// Only these fields are there, all the required ones among them.
    pub(crate) fn only(&self, required: &[&str], optional: &[&str]) -> Checked<()> {
        for name in self.object.keys() {
            if !required.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
                let at = self.at(name);
                return Err(Refusal::rule(at.clone(), format!("Unknown parameter: '{at}'.")));
            }
        }
        for name in required {
            if self.get(name).is_none() {
                let at = self.at(name);
                let why = format!("Missing required parameter: '{at}'.");
                return Err(Refusal::rule(at, why));
            }
        }
        Ok(())
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Checked<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(name, "expected a string"),
        }
    }

    /// A text that has to be there, and say something.
    pub(crate) fn some_text(&self, name: &str) -> Checked<&'a str> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => self.wrong(name, "expected a string that is not empty"),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Checked<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(name, "expected a boolean"),
        }
    }

    pub(crate) fn within(&self, name: &str, low: f64, high: f64) -> Checked<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => match value.as_f64() {
                Some(number) if (low..=high).contains(&number) => Ok(true),
                _ => self.wrong(name, format!("expected a number between {low} and {high}")),
            },
        }
    }

    /// A whole number of at least this much.
    pub(crate) fn count(&self, name: &str, least: u64) -> Checked<Option<u64>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number >= least => Ok(Some(number)),
                _ => self.wrong(name, format!("expected an integer >= {least}")),
            },
        }
    }

    pub(crate) fn one_of(&self, name: &str, allowed: &[&str]) -> Checked<Option<&'a str>> {
        match self.text(name)? {
            Some(text) if !allowed.contains(&text) => self.wrong(
                name,
                format!("Invalid value: '{text}'. Supported values are: {}.", allowed.join(", ")),
            ),
            text => Ok(text),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Checked<Option<&'a [Value]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => self.wrong(name, "expected an array"),
        }
    }

    pub(crate) fn objects(&self, name: &str) -> Checked<Vec<At<'a>>> {
        let list = self.list(name)?.unwrap_or_default().iter().enumerate();
        list.map(|(i, value)| At::new(format!("{}[{i}]", self.at(name)), value)).collect()
    }

    pub(crate) fn object(&self, name: &str) -> Checked<Option<At<'a>>> {
        self.get(name).map(|value| At::new(self.at(name), value)).transpose()
    }

    /// At most so many texts that say something.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Checked<()> {
        let list = self.list(name)?.unwrap_or_default();
        if list.len() > most {
            return self.wrong(name, format!("at most {most} entries"));
        }
        if list.iter().any(|text| text.as_str().is_none_or(str::is_empty)) {
            return self.wrong(name, "expected strings that are not empty");
        }
        Ok(())
    }

    /// The name of a function.
    pub(crate) fn function_name(&self, name: &str, most: usize) -> Checked<&'a str> {
        let text = self.some_text(name)?;
        let fits = text.len() <= most
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits {
            Ok(text)
        } else {
            self.wrong(name, format!("does not match '^[a-zA-Z0-9_-]{{1,{most}}}$'"))
        }
    }

    /// JSON text of an object, as models write arguments.
    pub(crate) fn json_object(&self, name: &str) -> Checked<()> {
        let text = self.some_text(name)?;
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(_)) => Ok(()),
            Ok(_) | Err(_) => self.wrong(name, "is not the JSON text of an object"),
        }
    }

    /// A JSON Schema of an object, and what `strict` wants of it.
    pub(crate) fn schema(&self, name: &str, strict: bool) -> Checked<()> {
        let Some(schema) = self.object(name)? else {
            return self.wrong(name, "expected a JSON Schema");
        };
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return self.wrong(name, "schema must be of type \"object\"");
        }
        if !strict {
            return Ok(());
        }
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return self
                .wrong(name, "'additionalProperties' is required to be supplied and to be false");
        }
        let required = schema.list("required")?.unwrap_or_default();
        let properties = schema.object("properties")?;
        let all = properties.iter().flat_map(|at| at.object.keys());
        for property in all {
            if !required.iter().any(|name| name.as_str() == Some(property)) {
                return self.wrong(name, format!("'required' lacks '{property}'"));
            }
        }
        Ok(())
    }

    /// Base64 of an image that is what it says.
    pub(crate) fn image(&self, name: &str, media_type: &str, allowed: &[&str]) -> Checked<()> {
        if !allowed.contains(&media_type) {
            return self.wrong(
                name,
                format!("unsupported image type {media_type:?}: {}", allowed.join(", ")),
            );
        }
        let data = self.some_text(name)?;
        check_image(&self.at(name), data, media_type)
    }
}

/// Base64 of an image of this type.
pub(crate) fn check_image(at: &str, data: &str, media_type: &str) -> Checked<()> {
    let wrong = |why: &str| Err(Refusal::rule(at, format!("{at}: {why}")));
    let Ok(bytes) = STANDARD.decode(data) else {
        return wrong("invalid base64 data");
    };
    let is = match media_type {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "image/gif" => bytes.starts_with(b"GIF8"),
        "image/webp" => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        // What no magic number is known of is believed.
        _ => true,
    };
    if is {
        Ok(())
    } else {
        wrong(&format!("the image does not match the media type {media_type}"))
    }
}

/// Text of a content that is a string or a list of parts with texts.
pub(crate) fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect()
        }
        _ => String::new(),
    }
}
