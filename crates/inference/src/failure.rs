//! What went wrong, in words for people.

use std::time::Duration;

use nexus_contracts::{InferenceError, InferenceOutcome};

use crate::call::{CallError, Class, Special};
use crate::cooling::Rest;
use crate::fit::Unfit;

/// What somebody reads for whom no provider may be asked with anybody's key (VLT-04).
const NO_KEY: &str = "No LLM key configured. Provide your own key or request operator access.";

/// Why a target did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    Call(CallError),
    /// It was not asked: it does not take this request.
    Unfit(Unfit),
    /// It was not asked: it fails again and again.
    Open {
        again: Duration,
    },
    /// It was not asked: the credential rests.
    Resting {
        class: Class,
        message: String,
        again: Duration,
    },
    /// It was not asked: that could cost more than the call may.
    Dear {
        microusd: u64,
        left: u64,
    },
    /// It was not asked: the call has used up its attempts.
    Exhausted {
        attempts: u32,
    },
    /// It is not there any more.
    Gone,
}

impl Cause {
    pub(crate) fn resting(rest: &Rest, again: Duration) -> Self {
        Self::Resting { class: rest.class, message: rest.message.clone(), again }
    }

    /// Whether a provider said it.
    pub(crate) fn was_asked(&self) -> bool {
        matches!(self, Self::Call(error) if error.class != Class::NoKey)
    }

    /// Bounded name, for attempts and metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Call(error) => error.class.as_str(),
            Self::Unfit(_) => "unfit",
            Self::Open { .. } => "breaker_open",
            Self::Resting { .. } => "resting",
            Self::Dear { .. } => "over_budget",
            Self::Exhausted { .. } => "exhausted",
            Self::Gone => "gone",
        }
    }

    /// The outcome of a call that ends with this. `model` is `provider/model`.
    pub(crate) fn outcome(&self, provider: &str, place: &str, model: &str) -> InferenceOutcome {
        match self {
            Self::Call(error) => of_call(provider, place, error),
            Self::Resting { class, message, again } => {
                let error =
                    CallError { retry_after: Some(*again), ..CallError::new(*class, message) };
                of_call(provider, place, &error)
            }
            Self::Open { again } => {
                let message = format!(
                    "The model provider {provider} fails again and again, so {model} is left alone for {} s. Please try again then, or choose another model.",
                    again.as_secs().max(1)
                );
                later("provider_overloaded", message, Some(*again))
            }
            Self::Unfit(unfit) => {
                let too_long = matches!(unfit, Unfit::Context { .. });
                let code = if too_long { "provider_context_length" } else { "model_unfit" };
                let message = format!("{model} cannot answer this: {unfit}. {}", unfit.advice());
                failed(code, message)
            }
            Self::Dear { microusd, left } => failed(
                "over_budget",
                format!(
                    "An answer of {model} may cost {microusd} millionths of a dollar, and this call may cost {left} more. Raise max_cost_microusd, or choose another model."
                ),
            ),
            Self::Exhausted { attempts } => failed(
                "attempts_exhausted",
                format!("The model call has used up its {attempts} attempts. Please try again."),
            ),
            Self::Gone => {
                failed("unknown_model", format!("The model provider {provider} was removed."))
            }
        }
    }
}

fn of_call(provider: &str, place: &str, error: &CallError) -> InferenceOutcome {
    let code = match error.class {
        Class::NoKey => "no_llm_key".to_owned(),
        class => format!("provider_{}", class.as_str()),
    };
    later(&code, explain(provider, place, error), error.retry_after)
}

pub(crate) fn failed(code: &str, message: String) -> InferenceOutcome {
    later(code, message, None)
}

fn later(code: &str, message: String, again: Option<Duration>) -> InferenceOutcome {
    let retry_after_ms =
        again.map(|again| u64::try_from(again.as_millis()).unwrap_or(u64::MAX).max(1));
    InferenceOutcome::Failed(InferenceError {
        retry_after_ms,
        ..InferenceError::new(code, message)
    })
}

/// Which provider, what happened, what to do.
fn explain(provider: &str, place: &str, error: &CallError) -> String {
    let who = format!("The model provider {provider}");
    let said = error.message.trim_end_matches('.');
    match error.class {
        Class::Transport => format!(
            "{who} cannot be reached at {place}. ({said}.) Check that it runs and that the address in its settings is right."
        ),
        Class::RateLimited => {
            let when = match error.retry_after {
                Some(wait) => format!("in {} s", wait.as_secs().max(1)),
                None => "in a minute".to_owned(),
            };
            format!("{who} is asked too often and wants a pause ({said}). Please try again {when}.")
        }
        Class::QuotaExhausted => {
            format!(
                "The account at {provider} is used up ({said}). Top it up there, or choose another model."
            )
        }
        Class::Overloaded => {
            format!("{who} has trouble of its own ({said}). Please try again in a while.")
        }
        Class::Timeout => format!("{who} did not answer in time ({said}). Please try again."),
        Class::Truncated => format!("{who} broke its answer off ({said}). Please try again."),
        Class::Auth => {
            format!("{who} does not let us in ({said}). Check the key, or add another one.")
        }
        Class::NoKey if error.special == Some(Special::KeyNotGranted) => NO_KEY.to_owned(),
        // The operator's own, who may be told which one is missing.
        Class::NoKey => format!("{NO_KEY} ({provider}: {said}.)"),
        Class::Invalid => format!("{who} refused the request ({said})."),
        Class::ContextLength => {
            format!("The request is too long for the model of {provider} ({said}).")
        }
        Class::ContentFilter => {
            format!("{who} declines to answer this: its content filter says no ({said}).")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cause: &Cause) -> InferenceError {
        match cause.outcome("ollama", "127.0.0.1:11434", "ollama/m") {
            InferenceOutcome::Failed(error) => error,
            other => panic!("not failed: {other:?}"),
        }
    }

    #[test]
    fn provider_that_is_down_is_named_with_its_place() {
        let failed = shown(&Cause::Call(CallError::new(
            Class::Transport,
            "Connection refused (os error 111)",
        )));
        assert_eq!(failed.code, "provider_transport");
        let begin = "The model provider ollama cannot be reached at 127.0.0.1:11434.";
        assert!(failed.message.starts_with(begin), "{}", failed.message);
    }

    #[test]
    fn who_has_no_key_reads_the_same_everywhere() {
        let special = Some(Special::KeyNotGranted);
        let not_granted = CallError { special, ..CallError::new(Class::NoKey, "whatever it says") };
        let refused = shown(&Cause::Call(not_granted));
        assert_eq!(refused, InferenceError::new("no_llm_key", NO_KEY));
        // What a message says decides nothing.
        let alike = shown(&Cause::Call(CallError::new(Class::NoKey, NO_KEY)));
        assert_ne!(alike, refused);
        let missing = shown(&Cause::Call(CallError::new(Class::NoKey, "K is not set")));
        assert_eq!(missing.message, format!("{NO_KEY} (ollama: K is not set.)"));
    }

    #[test]
    fn failure_says_when_it_may_work_again() {
        let open = shown(&Cause::Open { again: Duration::from_millis(8200) });
        assert_eq!((open.code.as_str(), open.retry_after_ms), ("provider_overloaded", Some(8200)));
        let class = Class::RateLimited;
        let resting =
            Cause::Resting { class, message: "slow down".to_owned(), again: Duration::ZERO };
        let resting = shown(&resting);
        assert_eq!(
            (resting.code.as_str(), resting.retry_after_ms),
            ("provider_rate_limited", Some(1))
        );
    }

    #[test]
    fn request_that_is_too_long_has_one_code_whoever_finds_out() {
        let ours = shown(&Cause::Unfit(Unfit::Context { tokens: 9, limit: 8 }));
        let theirs = shown(&Cause::Call(CallError::new(Class::ContextLength, "too long")));
        assert_eq!(ours.code, theirs.code);
        assert_eq!(shown(&Cause::Unfit(Unfit::Images)).code, "model_unfit");
    }
}
