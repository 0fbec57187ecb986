//! What each scenario has to come to. Nothing here waits.

use std::time::Duration;

use nexus_contracts::{Finish, InferenceOutcome, Usage};
use nexus_wall::CANON;

use super::{Played, Scenario, full};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Published limit, or what it comes to with the short times of the providers here.
fn limit(published: u64) -> Duration {
    if full() { s(published) } else { s(published.min(15)) }
}

/// All but S15, which asks many times, and `x11`, which asks twice.
pub(super) const SCENARIOS: [Scenario; 25] = [
    Scenario::new("s01", "fb-s01-429-retry-after", s01),
    Scenario::new("s02", "fb-s02-429-persistent", s02),
    Scenario::new("s03", "fb-s03-500-once", s03),
    Scenario::new("s04", "fb-s04-503-persistent", s04),
    Scenario::new("s05", "fb-s05-reset-once", s05),
    Scenario::new("s06", "fb-s06-no-response", s06),
    Scenario::new("s07", "fb-s07-slow-first-token", s07),
    Scenario::new("s08", "fb-s08-cut-mid-stream", cut),
    Scenario::new("s09", "fb-s09-stall-mid-stream", s09),
    Scenario::new("s10", "fb-s10-malformed-event", cut),
    Scenario::new("s11", "fb-s11-no-done", s11),
    Scenario::new("s12", "fb-s12-context-length", s12),
    Scenario::new("s13", "fb-s13-content-policy", s13),
    Scenario::new("s14", "fb-s14-cut-no-prefill", cut).with_spare("fb-ok-noprefill"),
    Scenario::new("s16", "fb-s16-503-billing", s16),
    Scenario::new("x01", "fb-x01-tool-cut", x01).with_spare("fb-ok-tool").with_tools(),
    Scenario::new("x02", "fb-x02-usage-after-finish", x02),
    Scenario::new("x03", "fb-x03-429-in-band", x03),
    Scenario::new("x04", "fb-x04-retry-hint", x04),
    Scenario::new("x05", "fb-x05-empty-answer", spare_answers),
    Scenario::new("x06", "fb-x06-529-overloaded", s04),
    Scenario::new("x07", "fb-x07-quota", once_then_spare),
    Scenario::new("x08", "fb-x08-reset-mid-stream", cut),
    Scenario::new("x09", "fb-x09-clean-eof-mid-stream", cut),
    Scenario::new("x10", "fb-x10-wrong-key-echo", x10),
];

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

impl Played {
    /// The canonical answer, whole, stored and shown.
    fn canonical(&self) -> Result<Usage, String> {
        let InferenceOutcome::Completed { text, finish, usage, .. } = &self.response.outcome else {
            return Err("no answer".to_owned());
        };
        ensure(text == CANON && *finish == Finish::Stop, || format!("another answer: {text}"))?;
        ensure(self.shown == CANON, || format!("shown was: {}", self.shown))?;
        ensure(usage.output_tokens == 60, || format!("{usage:?}"))?;
        Ok(*usage)
    }

    fn by_main(&self) -> Result<(), String> {
        self.canonical()?;
        ensure(self.response.model == self.main_name, || "another model answered".to_owned())?;
        ensure(self.spare.is_empty(), || "the spare was asked".to_owned())
    }

    fn by_spare(&self) -> Result<(), String> {
        self.canonical()?;
        ensure(self.response.model == self.spare_name, || "another model answered".to_owned())?;
        ensure(self.spare.len() == 1, || format!("the spare was asked {} times", self.spare.len()))
    }

    fn main_asked(&self, least: usize, most: usize) -> Result<(), String> {
        let asked = self.main.len();
        ensure((least..=most).contains(&asked), || format!("the primary was asked {asked} times"))?;
        let listed = self.response.attempts.iter();
        let listed = listed.filter(|attempt| attempt.model == self.main_name).count();
        ensure(listed == asked, || format!("{listed} of {asked} attempts are listed"))
    }

    /// At most so many requests to the primary within any such time.
    fn paced(&self, most: usize, within: Duration) -> Result<(), String> {
        let mut windows = self.main.windows(most + 1);
        let burst = windows.any(|seen| seen[most].at - seen[0].at < within);
        ensure(!burst, || format!("more than {most} requests within {within:?}"))
    }

    /// What the primary's first attempt failed with.
    fn failed_with(&self, class: &str) -> Result<(), String> {
        let first = self.response.attempts.first().and_then(|attempt| attempt.failure.as_deref());
        ensure(first == Some(class), || format!("the first attempt failed with {first:?}"))
    }

    fn within(&self, limit: Duration) -> Result<(), String> {
        ensure(self.took <= limit, || format!("it took {:?}", self.took))
    }
}

/// 429 with `Retry-After: 2`, then healthy.
fn s01(played: &Played) -> Result<(), String> {
    played.by_main()?;
    played.main_asked(2, 6)?;
    played.paced(2, Duration::from_millis(1500))?;
    let gap = played.main[1].at - played.main[0].at;
    ensure(gap >= Duration::from_millis(1800), || format!("asked again after {gap:?}"))
}

/// 429 for ever, without a hint.
fn s02(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 6)?;
    played.paced(4, s(3))?;
    played.within(limit(40))
}

/// 500 once.
fn s03(played: &Played) -> Result<(), String> {
    played.by_main()?;
    played.main_asked(2, 6)
}

/// 503 for ever.
fn s04(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 6)?;
    played.failed_with("overloaded")
}

/// TCP reset before headers, once.
fn s05(played: &Played) -> Result<(), String> {
    played.by_main()?;
    played.main_asked(2, 2)?;
    played.failed_with("transport")
}

/// No answer at all.
fn s06(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 1)?;
    played.failed_with("timeout")?;
    played.within(limit(100))
}

/// Headers, and the first token after 20 s.
fn s07(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 1)?;
    played.within(s(15))
}

/// The stream dies, or says what is no JSON: nothing of it stays.
fn cut(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    let class = played.response.attempts.first().and_then(|attempt| attempt.failure.as_deref());
    let known = matches!(class, Some("truncated" | "transport"));
    ensure(known, || format!("the first attempt failed with {class:?}"))
}

/// Twenty tokens, then silence.
fn s09(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 1)?;
    played.failed_with("timeout")?;
    played.within(limit(45))
}

/// Everything but the sentinel, and the connection stays open.
fn s11(played: &Played) -> Result<(), String> {
    played.by_main()?;
    played.main_asked(1, 1)?;
    let usage = played.canonical()?;
    ensure(!usage.estimated && usage.input_tokens > 0, || format!("{usage:?}"))?;
    played.within(s(8))
}

/// 400 `context_length_exceeded`, always.
fn s12(played: &Played) -> Result<(), String> {
    once_then_spare(played)?;
    played.failed_with("context_length")
}

/// 400 `content_policy_violation`, always: nobody else is asked.
fn s13(played: &Played) -> Result<(), String> {
    let InferenceOutcome::Failed(error) = &played.response.outcome else {
        return Err("no clean error".to_owned());
    };
    ensure(error.code == "provider_content_filter", || format!("the code is {}", error.code))?;
    let said = error.message.to_lowercase();
    let reason = ["policy", "prohibited"].iter().any(|reason| said.contains(reason));
    ensure(reason, || format!("without the provider's reason: {}", error.message))?;
    played.main_asked(1, 1)?;
    ensure(played.spare.is_empty(), || "the spare was asked".to_owned())?;
    ensure(played.shown.is_empty(), || format!("shown was: {}", played.shown))
}

/// 503 for ever: who answered is named, and nobody else is paid.
fn s16(played: &Played) -> Result<(), String> {
    s04(played)?;
    let usage = played.canonical()?;
    let failed = || played.response.attempts.iter().filter(|attempt| attempt.failure.is_some());
    ensure(failed().all(|attempt| attempt.cost.is_none() && attempt.usage.is_none()), || {
        "failed attempts are billed".to_owned()
    })?;
    // Ten dollars for a million tokens in, twenty out.
    let wanted = usage.input_tokens * 10 + usage.output_tokens * 20;
    let cost = played.response.cost.as_ref().map(|cost| cost.microusd);
    ensure(cost == Some(wanted), || format!("{cost:?} instead of {wanted}"))
}

/// One attempt at the primary, and the answer of the spare.
fn once_then_spare(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.main_asked(1, 1)
}

fn spare_answers(played: &Played) -> Result<(), String> {
    played.by_spare()
}

/// A call of a tool is cut within its arguments: the spare makes it, whole.
fn x01(played: &Played) -> Result<(), String> {
    let InferenceOutcome::Completed { text, tool_calls, finish, .. } = &played.response.outcome
    else {
        return Err("no answer".to_owned());
    };
    let calls: Vec<_> =
        tool_calls.iter().map(|call| (call.tool.as_str(), call.arguments.as_str())).collect();
    let wanted = [("echo", r#"{"text":"Tell me. 0"}"#)];
    ensure(calls == wanted && text.is_empty() && *finish == Finish::ToolCalls, || {
        format!("called {calls:?}, said {text:?}")
    })?;
    ensure(played.response.model == played.spare_name, || "another model answered".to_owned())
}

/// The usage comes after the reason to finish.
fn x02(played: &Played) -> Result<(), String> {
    played.by_main()?;
    let usage = played.canonical()?;
    ensure(!usage.estimated && usage.input_tokens > 0, || format!("{usage:?}"))
}

/// 200, twenty tokens, and then a 429 in the stream.
fn x03(played: &Played) -> Result<(), String> {
    played.by_spare()?;
    played.failed_with("rate_limited")
}

/// 429 with the provider's own hint: `retry-after-ms`, Gemini's `RetryInfo` in the body.
fn x04(played: &Played) -> Result<(), String> {
    played.by_main()?;
    played.main_asked(2, 2)?;
    let gap = played.main[1].at - played.main[0].at;
    ensure(gap >= Duration::from_millis(700), || format!("asked again after {gap:?}"))
}

/// A key that the provider does not know, and repeats.
fn x10(played: &Played) -> Result<(), String> {
    once_then_spare(played)?;
    played.failed_with("auth")
}
