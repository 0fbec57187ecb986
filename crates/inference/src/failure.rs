//! What went wrong, in words for people.

use nexus_contracts::{InferenceError, InferenceOutcome};

use crate::call::{CallError, Class};

/// The outcome of a call that its provider did not answer.
pub(crate) fn outcome(provider: &str, place: &str, error: &CallError) -> InferenceOutcome {
    failed(&format!("provider_{}", error.class.as_str()), explain(provider, place, error))
}

pub(crate) fn failed(code: &str, message: String) -> InferenceOutcome {
    InferenceOutcome::Failed(InferenceError::new(code, message))
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
            format!("{who} does not let us in ({said}). Check its key, then restart Nexus.")
        }
        Class::NoKey => format!(
            "No key for {provider} is configured ({said}). Provide your own key or request operator access."
        ),
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

    #[test]
    fn provider_that_is_down_is_named_with_its_place() {
        let error = CallError::new(Class::Transport, "Connection refused (os error 111)");
        let InferenceOutcome::Failed(failed) = outcome("ollama", "127.0.0.1:11434", &error) else {
            panic!("not failed")
        };
        assert_eq!(failed.code, "provider_transport");
        let begin = "The model provider ollama cannot be reached at 127.0.0.1:11434.";
        assert!(failed.message.starts_with(begin), "{}", failed.message);
    }
}
