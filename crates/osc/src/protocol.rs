//! What clients say and hear, as values. Pure.
//!
//! Reading is lenient where clients differ: Pd knows only float32, SuperCollider sends true as 1,
//! so numbers stand for texts and texts for numbers. Writing uses strings and int32 alone.

mod reply;
#[cfg(test)]
mod tests;

use rosc::{OscMessage, OscType};

pub(crate) use reply::{Kind, Reply, token_capacity};

/// Longest name that a client may give to a request, itself or a session, in bytes.
const MAX_NAME: usize = 64;
/// Longest name of an agent or conversation, in bytes: longer ones are no subject token.
const MAX_KEY: usize = 192;
const MAX_TOKEN: usize = 512;

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

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) client: String,
    /// 0 is the sender's port.
    pub(crate) reply_port: u16,
    pub(crate) token: String,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("client", &self.client)
            .field("token", &"***")
            .finish_non_exhaustive()
    }
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
    /// Reads a message.
    pub(crate) fn read(message: &OscMessage) -> Result<Self, Refusal> {
        let mut arguments = Arguments { rest: &message.args };
        let call = match message.addr.as_str() {
            "/nexus/1/hello" => Self::Hello(arguments.hello()?),
            "/nexus/1/ask" => Self::Ask(arguments.ask()?),
            "/nexus/1/resend" => arguments.resend()?,
            "/nexus/1/cancel" => {
                let session = arguments.name("session")?;
                Self::Cancel { session, req: arguments.name("req")? }
            }
            "/nexus/1/ping" => Self::Ping { session: arguments.name("session")? },
            _ => {
                let known = "known addresses: /nexus/1/hello, ask, resend, cancel, ping";
                return Err(Refusal::new("", "unknown_address", known));
            }
        };
        Ok(call)
    }
}

struct Arguments<'m> {
    rest: &'m [OscType],
}

impl Arguments<'_> {
    fn hello(&mut self) -> Result<Hello, Refusal> {
        let client = self.name("client")?;
        let port = self.number("reply_port")?;
        let reply_port =
            u16::try_from(port).map_err(|_| bad("reply_port is no UDP port; 0 is the sender's"))?;
        Ok(Hello { client, reply_port, token: self.text("token", MAX_TOKEN)? })
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
        self.text(name, MAX_NAME)
    }

    fn text(&mut self, name: &str, max: usize) -> Result<String, Refusal> {
        let text = match self.next(name)? {
            OscType::String(text) => text.clone(),
            OscType::Char(char) => char.to_string(),
            other => match number(other) {
                Some(number) => number.to_string(),
                None => return Err(bad(format!("{name} has to be a string"))),
            },
        };
        // An OSC string ends at its first zero, so nobody could be answered by such a name.
        if text.is_empty() || text.len() > max || text.contains('\0') {
            return Err(bad(format!("{name} is empty or has more than {max} bytes")));
        }
        Ok(text)
    }

    fn number(&mut self, name: &str) -> Result<i64, Refusal> {
        let read = match self.next(name)? {
            OscType::String(text) => text.trim().parse().ok(),
            other => number(other),
        };
        read.ok_or_else(|| bad(format!("{name} has to be a whole number")))
    }

    fn next(&mut self, name: &str) -> Result<&OscType, Refusal> {
        let (first, rest) =
            self.rest.split_first().ok_or_else(|| bad(format!("{name} is missing")))?;
        self.rest = rest;
        Ok(first)
    }
}

/// The whole number that an argument stands for.
fn number(argument: &OscType) -> Option<i64> {
    match argument {
        OscType::Int(int) => Some(i64::from(*int)),
        OscType::Long(long) => Some(*long),
        OscType::Bool(bool) => Some(i64::from(*bool)),
        OscType::Float(float) => whole(f64::from(*float)),
        OscType::Double(double) => whole(*double),
        OscType::String(_)
        | OscType::Char(_)
        | OscType::Blob(_)
        | OscType::Time(_)
        | OscType::Color(_)
        | OscType::Midi(_)
        | OscType::Array(_)
        | OscType::Nil
        | OscType::Inf => None,
    }
}

/// Exact up to 2^53, beyond which floats skip whole numbers.
#[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
fn whole(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new("", "bad_request", message)
}
