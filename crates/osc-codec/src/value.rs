use crate::TimeTag;

/// One argument of a message; the letter is its type tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// `i`
    Int(i32),
    /// `h`
    Long(i64),
    /// `f`
    Float(f32),
    /// `d`
    Double(f64),
    /// `s`
    String(String),
    /// `S`, in systems that tell symbols from strings.
    Symbol(String),
    /// `b`
    Blob(Vec<u8>),
    /// `t`
    TimeTag(TimeTag),
    /// `c`, any Unicode scalar value; the specification speaks of ASCII.
    Char(char),
    /// `r`: red, green, blue, alpha.
    Color([u8; 4]),
    /// `m`: port, status, first and second data byte.
    Midi([u8; 4]),
    /// `T`
    True,
    /// `F`
    False,
    /// `N`
    Nil,
    /// `I`: "bang"; OSC 1.0 calls it infinitum.
    Impulse,
    /// `[` and `]`, at most [`DEEPEST`](crate::DEEPEST) within each other.
    Array(Vec<Argument>),
}

/// An address, or a pattern of addresses, and what is said to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Begins with `/`.
    pub address: String,
    pub arguments: Vec<Argument>,
}

impl Message {
    #[must_use]
    pub fn new(address: impl Into<String>, arguments: Vec<Argument>) -> Self {
        Self { address: address.into(), arguments }
    }
}

/// A message with the time of the bundle that it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// The innermost bundle's; [`TimeTag::IMMEDIATE`] outside bundles.
    pub due: TimeTag,
    pub message: Message,
}

impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<String> for Argument {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<&str> for Argument {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}
