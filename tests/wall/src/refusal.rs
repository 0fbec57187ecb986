//! Failures as a provider says them; each protocol has its own form.

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request breaks a rule.
    Invalid,
    /// No such model, or no such path.
    NotFound,
    /// No key, or an unknown one.
    Auth,
    RateLimited,
    Quota,
    Server,
    Unavailable,
    /// Anthropic's 529; 503 elsewhere.
    Overloaded,
    ContextLength,
    ContentPolicy,
}

/// A failure that is told to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// The field that is wrong.
    pub(crate) param: Option<String>,
    /// Seconds after which to ask again, in the provider's own place for it.
    pub(crate) retry_after: Option<RetryAfter>,
}

/// Where a provider says when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// Header `retry-after`, seconds.
    Header(u64),
    /// Header `retry-after-ms`; for Gemini `RetryInfo` in the body.
    Own(u64),
}

impl Refusal {
    pub(crate) fn of(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None }
    }

    /// A broken rule at a field.
    pub(crate) fn rule(param: impl Into<String>, message: impl Into<String>) -> Self {
        let (param, message) = (param.into(), message.into());
        Self { kind: Kind::Invalid, message, param: Some(param), retry_after: None }
    }
}

/// A failure in a protocol's own form.
pub(crate) struct ErrorAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: serde_json::Value,
}

impl Refusal {
    /// What was found wrong, or what the provider says of it by itself.
    pub(crate) fn words<'a>(&'a self, own: &'a str) -> &'a str {
        if self.message.is_empty() { own } else { &self.message }
    }

    /// The header that says when to ask again.
    pub(crate) fn retry_headers(&self) -> Vec<(&'static str, String)> {
        match self.retry_after {
            None => Vec::new(),
            Some(RetryAfter::Header(seconds)) => vec![("retry-after", seconds.to_string())],
            Some(RetryAfter::Own(ms)) => vec![("retry-after-ms", ms.to_string())],
        }
    }
}
