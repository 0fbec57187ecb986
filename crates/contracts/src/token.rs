use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest native id in bytes: a subject of five tokens stays well under the server's limits.
const MAX_NATIVE: usize = 192;

/// One subject token: `[A-Za-z0-9_-]+`.
///
/// The one place where native ids (chat ids, session names, any Unicode) become tokens.
/// An id that is a token already and does not start with `_` stays as it is; any other
/// becomes `_` and its unpadded base64url. So the mapping is injective.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("id of {bytes} bytes is longer than {MAX_NATIVE} bytes; use a shorter id")]
    TooLong { bytes: usize },
    #[error("{text:?} is not a subject token; allowed are letters, digits, '-' and '_'")]
    Illegal { text: String },
}

impl Token {
    /// The token of a native id.
    ///
    /// # Errors
    /// [`TokenError::TooLong`] above 192 bytes.
    pub fn encode(native: &str) -> Result<Self, TokenError> {
        if native.len() > MAX_NATIVE {
            return Err(TokenError::TooLong { bytes: native.len() });
        }
        if is_token(native) && !native.starts_with('_') {
            return Ok(Self(native.to_owned()));
        }
        Ok(Self(format!("_{}", URL_SAFE_NO_PAD.encode(native))))
    }

    /// A text that has to be a token already.
    ///
    /// # Errors
    /// [`TokenError::Illegal`] when it is empty or holds another character.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > 2 * MAX_NATIVE {
            return Err(TokenError::TooLong { bytes: text.len() });
        }
        if !is_token(text) {
            return Err(TokenError::Illegal { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// The native id that this token stands for.
    #[must_use]
    pub fn decode(&self) -> Cow<'_, str> {
        self.0
            .strip_prefix('_')
            .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map_or(Cow::Borrowed(&self.0), Cow::Owned)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 2 * MAX_NATIVE })
    }
}
