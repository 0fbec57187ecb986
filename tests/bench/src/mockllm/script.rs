//! What the mock does with a request: model-name directives and faults.

use std::str::FromStr;
use std::time::Duration;

use super::Options;

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this HTTP status and an error body.
    Status(u16),
    /// Never answer.
    Hang,
    /// Break the connection in the middle of the answer.
    Cut,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "400" | "429" | "500" | "503" => {
                text.parse().map(Self::Status).map_err(|_| text.into())
            }
            "hang" => Ok(Self::Hang),
            "cut" => Ok(Self::Cut),
            _ => Err(format!("no fault is called {text:?}: 400, 429, 500, 503, hang or cut")),
        }
    }
}

/// Options with the directives of a model name applied.
pub(super) struct Script {
    /// Tool rounds before the final text.
    pub(super) rounds: usize,
    /// Tool calls in each round.
    pub(super) parallel: usize,
    pub(super) latency: Duration,
    pub(super) token_pause: Duration,
    pub(super) tokens: usize,
    /// Tokens say when they are sent.
    pub(super) stamped: bool,
    pub(super) fault: Option<Fault>,
}

impl Script {
    /// Reads `mock-tools2-lat20`: parts between `-` or `/`, unknown ones ignored.
    pub(super) fn new(options: &Options, model: &str) -> Self {
        let mut script = Self {
            rounds: 1,
            parallel: 1,
            latency: options.latency,
            token_pause: options.token_pause,
            tokens: options.tokens,
            stamped: false,
            fault: None,
        };
        for part in model.split(['-', '/']) {
            let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (word, number) = part.split_at(digits);
            match (word, number.parse::<u16>().ok()) {
                ("plain", None) => script.rounds = 0,
                ("stamp", None) => script.stamped = true,
                ("tool", None) => script.rounds = 1,
                ("tools", Some(n)) => script.rounds = n.into(),
                ("parallel", Some(n)) => script.parallel = n.into(),
                ("lat", Some(ms)) => script.latency = Duration::from_millis(ms.into()),
                ("itl", Some(ms)) => script.token_pause = Duration::from_millis(ms.into()),
                ("tok", Some(n)) => script.tokens = n.into(),
                ("e", Some(_)) => script.fault = number.parse().ok(),
                ("hang" | "cut", None) => script.fault = word.parse().ok(),
                _ => {}
            }
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_override_options() {
        let script =
            Script::new(&Options::default(), "mock/mock-tools2-parallel3-lat5-itl7-tok9-e429");
        assert_eq!((script.rounds, script.parallel, script.tokens), (2, 3, 9));
        assert_eq!((script.latency.as_millis(), script.token_pause.as_millis()), (5, 7));
        assert_eq!(script.fault, Some(Fault::Status(429)));
    }

    #[test]
    fn names_that_only_look_like_directives_change_nothing() {
        let script = Script::new(&Options::default(), "gpt-4o-mini-latest-e5-explain");
        assert_eq!((script.rounds, script.parallel, script.tokens, script.fault), (1, 1, 1, None));
    }
}
