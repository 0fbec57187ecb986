//! What clients say and hear, as values. Pure.
//!
//! Reading is lenient where clients differ: numbers stand for texts and texts for numbers
//! ([`coerce`]), and an address may be a pattern. Writing uses strings and int32 alone.

mod reply;
#[cfg(test)]
mod tests;

use std::fmt;

use nexus_osc_codec::{Argument, Pattern, PatternError, coerce};

pub(crate) use reply::{Kind, Reply, token_capacity};

/// Longest name that a client may give to a request, itself or a session, in bytes.
const MAX_NAME: usize = 64;
/// Longest name of an agent or conversation, in bytes: longer ones are no subject token.
const MAX_KEY: usize = 192;
const MAX_TOKEN: usize = 512;

/// Everything below it is ours.
const SPACE: &str = "/nexus/";

/// Something that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Hello,
    Ask,
    Resend,
    Cancel,
    Ping,
}

/// What an address means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addressed {
    /// Patterns may name several.
    Methods(Vec<Method>),
    /// Below `/nexus/`, but nothing there has this name.
    Nothing,
    Malformed(PatternError),
    /// Not ours: what clients say there is kept for others.
    Elsewhere,
}

impl Method {
    const ALL: [(&str, Self); 5] = [
        ("/nexus/1/hello", Self::Hello),
        ("/nexus/1/ask", Self::Ask),
        ("/nexus/1/resend", Self::Resend),
        ("/nexus/1/cancel", Self::Cancel),
        ("/nexus/1/ping", Self::Ping),
    ];

    /// What is meant by an address or a pattern of addresses.
    pub(crate) fn addressed(address: &str) -> Addressed {
        let outside =
            if address.starts_with(SPACE) { Addressed::Nothing } else { Addressed::Elsewhere };
        let methods: Vec<Self> = if address.contains(['?', '*', '[', '{']) || address.contains("//")
        {
            match Pattern::compile(address) {
                Ok(pattern) => {
                    let named = Self::ALL.iter().filter(|(name, _)| pattern.matches(name));
                    named.map(|(_, method)| *method).collect()
                }
                Err(error) if outside == Addressed::Nothing => return Addressed::Malformed(error),
                Err(_) => Vec::new(),
            }
        } else {
            let named = Self::ALL.iter().filter(|(name, _)| *name == address);
            named.map(|(_, method)| *method).collect()
        };
        if methods.is_empty() { outside } else { Addressed::Methods(methods) }
    }
}

/// An API key, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Hello(Hello),
    Ask(Ask),
    /// Token messages `from` to `to`, both included, once more.
    Resend {
        session: Option<String>,
        req: String,
        from: usize,
        to: usize,
    },
    Cancel {
        session: String,
        req: String,
    },
    /// I am still here.
    Ping {
        session: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) client: String,
    /// 0 is the sender's port. Over TCP it has no meaning: replies use the connection.
    pub(crate) reply_port: u16,
    pub(crate) token: Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) session: String,
    pub(crate) req: String,
    pub(crate) text: String,
    pub(crate) agent: Option<String>,
    pub(crate) conversation: Option<String>,
}

/// A call that is refused, as its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Empty when the call names no request.
    pub(crate) req: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(
        req: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { req: req.into(), code, message: message.into() }
    }
}

impl Call {
    /// Reads what is said to a method.
    pub(crate) fn read(method: Method, arguments: &[Argument]) -> Result<Self, Refusal> {
        let mut arguments = Arguments { rest: arguments };
        Ok(match method {
            Method::Hello => Self::Hello(arguments.hello()?),
            Method::Ask => Self::Ask(arguments.ask()?),
            Method::Resend => arguments.resend()?,
            Method::Cancel => {
                let session = arguments.name("session")?;
                Self::Cancel { session, req: arguments.name("req")? }
            }
            Method::Ping => Self::Ping { session: arguments.name("session")? },
        })
    }

    /// The session that speaks, where it is said.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Hello(_) => None,
            Self::Ask(ask) => Some(&ask.session),
            Self::Resend { session, .. } => session.as_deref(),
            Self::Cancel { session, .. } | Self::Ping { session } => Some(session),
        }
    }
}

struct Arguments<'m> {
    rest: &'m [Argument],
}

impl Arguments<'_> {
    fn hello(&mut self) -> Result<Hello, Refusal> {
        let client = self.name("client")?;
        let port = self.number("reply_port")?;
        let reply_port =
            u16::try_from(port).map_err(|_| bad("reply_port is no UDP port; 0 is the sender's"))?;
        Ok(Hello { client, reply_port, token: Key(self.text("token", MAX_TOKEN)?) })
    }

    fn ask(&mut self) -> Result<Ask, Refusal> {
        let session = self.name("session")?;
        let req = self.name("req")?;
        let options = |refusal| Refusal { req: req.clone(), ..refusal };
        let text = self.text("text", usize::MAX).map_err(options)?;
        let mut ask = Ask { session, req: req.clone(), text, agent: None, conversation: None };
        while !self.rest.is_empty() {
            let key = self.text("key", MAX_NAME).map_err(options)?;
            let value = self.text(&key, MAX_KEY).map_err(options)?;
            match key.as_str() {
                "agent" => ask.agent = Some(value),
                "conversation" => ask.conversation = Some(value),
                _ => return Err(options(bad("known keys: agent, conversation"))),
            }
        }
        Ok(ask)
    }

    /// `req from to`, perhaps with the session in front.
    fn resend(&mut self) -> Result<Call, Refusal> {
        let session = if self.rest.len() > 3 { Some(self.name("session")?) } else { None };
        let req = self.name("req")?;
        let mut place = |name| {
            let number =
                self.number(name).map_err(|refusal| Refusal { req: req.clone(), ..refusal })?;
            usize::try_from(number)
                .map_err(|_| Refusal { req: req.clone(), ..bad("from and to count from 0") })
        };
        let (from, to) = (place("from")?, place("to")?);
        Ok(Call::Resend { session, req, from, to })
    }

    fn name(&mut self, name: &str) -> Result<String, Refusal> {
        let fraction = match self.rest.first() {
            Some(argument @ (Argument::Float(_) | Argument::Double(_))) => {
                coerce::int(argument).is_none()
            }
            _ => false,
        };
        if fraction {
            return Err(bad(format!("{name} has to be a whole number or a string")));
        }
        self.text(name, MAX_NAME)
    }

    fn text(&mut self, name: &str, max: usize) -> Result<String, Refusal> {
        let text = coerce::text(self.next(name)?);
        let text = text.ok_or_else(|| bad(format!("{name} has to be a string")))?;
        // An OSC string ends at its first zero, so nobody could be answered by such a name.
        if text.is_empty() || text.len() > max || text.contains('\0') {
            return Err(bad(format!("{name} is empty or has more than {max} bytes")));
        }
        Ok(text.into_owned())
    }

    fn number(&mut self, name: &str) -> Result<i64, Refusal> {
        coerce::int(self.next(name)?).ok_or_else(|| bad(format!("{name} has to be a whole number")))
    }

    fn next(&mut self, name: &str) -> Result<&Argument, Refusal> {
        let (first, rest) =
            self.rest.split_first().ok_or_else(|| bad(format!("{name} is missing")))?;
        self.rest = rest;
        Ok(first)
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new("", "bad_request", message)
}
