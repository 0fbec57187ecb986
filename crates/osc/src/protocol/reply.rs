use nexus_osc_codec::{Argument, Message, encode_message};

/// Largest datagram that is sent: fits every usual path unfragmented.
pub(crate) const MAX_DATAGRAM: usize = 1200;

/// What a token message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// More of the answer.
    Text,
    /// Forget the text so far.
    Reset,
    /// Why there is no answer, for people.
    Error,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Reset => "reset",
            Self::Error => "error",
        }
    }
}

/// What a client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Welcome {
        session: &'a str,
        /// Seconds of silence after which the session ends, as text.
        lease: &'a str,
        heartbeat_s: u64,
    },
    /// The request is stored and will be answered.
    Accepted {
        req: &'a str,
        run: &'a str,
    },
    Token {
        req: &'a str,
        seq: usize,
        kind: Kind,
        text: &'a str,
    },
    /// `total` token messages belong to the answer.
    Done {
        req: &'a str,
        total: usize,
        status: &'a str,
    },
    Error {
        req: &'a str,
        code: &'a str,
        message: &'a str,
    },
    Pong {
        session: &'a str,
    },
}

impl Reply<'_> {
    /// The datagram.
    pub(crate) fn encode(self) -> Vec<u8> {
        let (address, arguments) = match self {
            Self::Welcome { session, lease, heartbeat_s } => {
                ("/nexus/1/welcome", vec![session.into(), lease.into(), int(heartbeat_s)])
            }
            Self::Accepted { req, run } => ("/nexus/1/accepted", vec![req.into(), run.into()]),
            Self::Token { req, seq, kind, text } => {
                ("/nexus/1/token", vec![req.into(), int(seq), kind.as_str().into(), text.into()])
            }
            Self::Done { req, total, status } => {
                ("/nexus/1/done", vec![req.into(), int(total), status.into()])
            }
            Self::Error { req, code, message } => {
                ("/nexus/1/error", vec![req.into(), code.into(), message.into()])
            }
            Self::Pong { session } => ("/nexus/1/pong", vec![session.into()]),
        };
        let message = Message::new(address, arguments);
        encode_message(&message).unwrap_or_else(|_| encode_without_zeros(message))
    }
}

/// Texts of others may hold zeros, which OSC strings cannot carry; nothing else can fail.
fn encode_without_zeros(mut message: Message) -> Vec<u8> {
    for argument in &mut message.arguments {
        if let Argument::String(text) = argument {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    encode_message(&message).unwrap_or_default()
}

fn int(number: impl TryInto<i32>) -> Argument {
    Argument::Int(number.try_into().unwrap_or(i32::MAX))
}

/// Most bytes of text in one token message of this request.
pub(crate) fn token_capacity(req: &str) -> usize {
    let empty = Reply::Token { req, seq: 0, kind: Kind::Reset, text: "" }.encode().len();
    // The empty text's four zeros are counted already; one has to stay.
    MAX_DATAGRAM.saturating_sub(empty) + 3
}
