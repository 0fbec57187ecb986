//! What a model does, by its name.

use std::time::Duration;

use crate::refusal::{Kind, Refusal, RetryAfter};

/// Every model with a scenario or a plain answer; directives may follow after each.
pub const NAMES: &[&str] = &[
    "fb-ok",
    "fb-ok-noprefill",
    "fb-s01-429-retry-after",
    "fb-s02-429-persistent",
    "fb-s03-500-once",
    "fb-s04-503-persistent",
    "fb-s05-reset-once",
    "fb-s06-no-response",
    "fb-s07-slow-first-token",
    "fb-s08-cut-mid-stream",
    "fb-s09-stall-mid-stream",
    "fb-s10-malformed-event",
    "fb-s11-no-done",
    "fb-s12-context-length",
    "fb-s13-content-policy",
    "fb-s14-cut-no-prefill",
    "fb-s15-outage",
    "fb-s16-503-billing",
    "fb-x01-tool-cut",
    "fb-x02-usage-after-finish",
    "fb-x03-429-in-band",
    "fb-x04-retry-hint",
    "fb-x05-empty-answer",
    "fb-x06-529-overloaded",
    "fb-x07-quota",
    "fb-x08-reset-mid-stream",
    "fb-x09-clean-eof-mid-stream",
    "fb-x10-wrong-key-echo",
];

/// Seconds that S01 asks to wait, as published.
const RETRY_AFTER_S: u64 = 2;
/// Milliseconds that `fb-x04` asks to wait in the provider's own place for it.
const RETRY_HINT_MS: u64 = 700;
/// S07: first token, as published.
const SLOW_FIRST_TOKEN: Duration = Duration::from_secs(20);
/// S09: silence, as published.
const STALL: Duration = Duration::from_secs(30);
/// S11: the connection stays open where the end should be; the published limit is 8 s.
const HOLD: Duration = Duration::from_secs(30);
/// S15 in its short form; `for60` in the name makes it the published minute.
const OUTAGE: Duration = Duration::from_secs(6);
/// S08 and S14: tokens before the cut, of 60.
const CUT_AFTER: usize = 40;
/// S09, and ours that fail in the middle.
const STALL_AFTER: usize = 20;
/// S10: the event that is no JSON, from 0.
const GARBLED: usize = 9;
/// Between the reason to finish and the usage of `fb-x02`.
const LATE_USAGE: Duration = Duration::from_millis(200);

/// What a model does with a request that keeps the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Refuse(Refusal),
    /// TCP reset before any header.
    Reset,
    /// Takes the request and never answers.
    Silence,
    Answer(Bend),
}

/// What goes wrong within an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bend {
    Straight,
    /// The first token comes late.
    Slow(Duration),
    /// Ends after so many tokens.
    Cut(usize, Ending),
    /// Ends in the middle of a tool call's arguments.
    CutInCall,
    /// Says nothing after so many tokens, then ends.
    Stall(usize, Duration),
    /// This event is cut in half, the stream goes on.
    Garble(usize),
    /// All but the sentinel; the connection stays open.
    NoSentinel(Duration),
    LateUsage(Duration),
    /// After so many tokens the stream says an error.
    InBand(usize, Refusal),
    /// A whole answer that says nothing.
    Empty,
}

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN within the chunked body.
    Fin,
    /// TCP reset.
    Rst,
    /// The body ends as if it were whole.
    Clean,
}

/// What a model refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Traits {
    pub(crate) no_prefill: bool,
    pub(crate) no_temperature: bool,
    pub(crate) no_forced_tool: bool,
    pub(crate) no_images: bool,
    pub(crate) no_tools: bool,
}

/// A model's name, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    scenario: String,
    outage: Duration,
    pub(crate) traits: Traits,
    pub(crate) tokens: Option<usize>,
    pub(crate) pause: Duration,
    pub(crate) latency: Duration,
    pub(crate) rounds: usize,
    pub(crate) parallel: usize,
    pub(crate) thinks: bool,
    pub(crate) cached: bool,
}

impl Script {
    /// Reads `fb-s08-cut-mid-stream-itl5`: the second word is the scenario.
    pub(crate) fn of(model: &str) -> Self {
        let mut script = Self {
            scenario: model.split('-').nth(1).unwrap_or_default().to_owned(),
            outage: OUTAGE,
            traits: Traits::default(),
            tokens: None,
            pause: Duration::ZERO,
            latency: Duration::ZERO,
            rounds: 0,
            parallel: 1,
            thinks: false,
            cached: false,
        };
        for part in model.split('-').skip(2) {
            let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (word, number) = part.split_at(digits);
            match (word, number.parse::<u32>().ok()) {
                ("noprefill", None) => script.traits.no_prefill = true,
                ("notemp", None) => script.traits.no_temperature = true,
                ("noforce", None) => script.traits.no_forced_tool = true,
                ("noimages", None) => script.traits.no_images = true,
                ("notools", None) => script.traits.no_tools = true,
                ("tool", None) => script.rounds = 1,
                ("tools", Some(n)) => script.rounds = n as usize,
                ("parallel", Some(n)) => script.parallel = n as usize,
                ("think", None) => script.thinks = true,
                ("cached", None) => script.cached = true,
                ("tok", Some(n)) => script.tokens = Some(n as usize),
                ("itl", Some(ms)) => script.pause = Duration::from_millis(ms.into()),
                ("lat", Some(ms)) => script.latency = Duration::from_millis(ms.into()),
                ("for", Some(s)) => script.outage = Duration::from_secs(s.into()),
                _ => {}
            }
        }
        if script.scenario == "x01" {
            script.rounds = script.rounds.max(1);
        }
        script
    }

    /// Whether such a model exists.
    pub(crate) fn exists(model: &str, more: &[String]) -> bool {
        let starts = |name: &str| {
            model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        NAMES.iter().any(|name| starts(name)) || more.iter().any(|name| name == model)
    }

    /// What it does the `attempt`th time, counted from 1, so long after the first.
    pub(crate) fn act(&self, attempt: u32, since_first: Duration) -> Act {
        let first = attempt == 1;
        let straight = Act::Answer(Bend::Straight);
        match self.scenario.as_str() {
            "s01" if first => refuse(Kind::RateLimited, Some(RetryAfter::Header(RETRY_AFTER_S))),
            "s02" => refuse(Kind::RateLimited, None),
            "s03" if first => refuse(Kind::Server, None),
            "s04" | "s16" => refuse(Kind::Unavailable, None),
            "s05" if first => Act::Reset,
            "s06" => Act::Silence,
            "s07" => Act::Answer(Bend::Slow(SLOW_FIRST_TOKEN)),
            "s08" | "s14" => Act::Answer(Bend::Cut(CUT_AFTER, Ending::Fin)),
            "s09" => Act::Answer(Bend::Stall(STALL_AFTER, STALL)),
            "s10" => Act::Answer(Bend::Garble(GARBLED)),
            "s11" => Act::Answer(Bend::NoSentinel(HOLD)),
            "s12" => refuse(Kind::ContextLength, None),
            "s13" => refuse(Kind::ContentPolicy, None),
            "s15" if since_first < self.outage => refuse(Kind::Unavailable, None),
            "x01" => Act::Answer(Bend::CutInCall),
            "x02" => Act::Answer(Bend::LateUsage(LATE_USAGE)),
            "x03" => Act::Answer(Bend::InBand(STALL_AFTER, refusal(Kind::RateLimited, None))),
            "x04" if first => refuse(Kind::RateLimited, Some(RetryAfter::Own(RETRY_HINT_MS))),
            "x05" => Act::Answer(Bend::Empty),
            "x06" => refuse(Kind::Overloaded, None),
            "x07" => refuse(Kind::Quota, None),
            "x08" => Act::Answer(Bend::Cut(CUT_AFTER, Ending::Rst)),
            "x09" => Act::Answer(Bend::Cut(CUT_AFTER, Ending::Clean)),
            "x10" => refuse(Kind::Auth, None),
            _ => straight,
        }
    }
}

fn refuse(kind: Kind, retry_after: Option<RetryAfter>) -> Act {
    Act::Refuse(refusal(kind, retry_after))
}

/// Empty texts are said in each provider's own words.
fn refusal(kind: Kind, retry_after: Option<RetryAfter>) -> Refusal {
    Refusal { retry_after, ..Refusal::of(kind, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_says_scenario_and_directives() {
        let script = Script::of("fb-ok-noprefill-tools2-parallel3-tok9-itl7-lat5-think");
        assert!(script.traits.no_prefill && script.thinks);
        assert_eq!((script.rounds, script.parallel, script.tokens), (2, 3, Some(9)));
        assert_eq!((script.pause.as_millis(), script.latency.as_millis()), (7, 5));
        assert_eq!(script.act(1, Duration::ZERO), Act::Answer(Bend::Straight));
    }

    #[test]
    fn fault_of_the_first_attempt_heals() {
        for name in ["fb-s01-429-retry-after", "fb-s03-500-once", "fb-s05-reset-once"] {
            let script = Script::of(name);
            assert_ne!(script.act(1, Duration::ZERO), Act::Answer(Bend::Straight), "{name}");
            assert_eq!(script.act(2, Duration::ZERO), Act::Answer(Bend::Straight), "{name}");
        }
    }

    #[test]
    fn outage_ends_by_the_clock() {
        let script = Script::of("fb-s15-outage-for3");
        let at = |ms| script.act(9, Duration::from_millis(ms));
        assert_ne!(at(2999), Act::Answer(Bend::Straight));
        assert_eq!(at(3000), Act::Answer(Bend::Straight));
    }

    #[test]
    fn only_named_models_exist() {
        let more = ["gpt-5.6".to_owned()];
        for name in NAMES {
            assert!(Script::exists(name, &[]), "{name}");
        }
        assert!(Script::exists("fb-ok-tok200-itl20", &more) && Script::exists("gpt-5.6", &more));
        assert!(!Script::exists("fb-okay", &more) && !Script::exists("gpt-4", &more));
    }
}
