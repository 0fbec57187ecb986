//! One attempt.

use nexus_contracts::Finish;
use tokio::time::{Instant, sleep_until};

use super::Job;
use super::ledger::{Ear, Seen};
use super::target::{Target, Waits};
use super::telemetry::Pace;
use crate::breaker::Verdict;
use crate::call::{Call, CallError, Class, Completion, Special};
use crate::live::Live;

impl Job<'_> {
    /// Asks a target once.
    pub(super) async fn ask(
        &self,
        target: &Target<'_>,
        waits: Waits,
        seen: &Seen,
        live: &mut Live,
    ) -> Result<Completion, CallError> {
        let began = Instant::now();
        let call = Call {
            full_name: &target.full_name,
            model: &target.choice.model,
            request: &target.request,
            files: self.files,
            credential: &target.credential,
            patience: waits.patience,
        };
        let mut pace = Pace::of(target, live);
        let mut ear = Ear { seen, begun: self.begun, next: &mut pace };
        let answering = target.entry.provider.complete(call, &mut ear);
        // Other events of an answer reset its idle time, never this.
        let silent = async {
            match waits.first_token {
                Some(first_token) => {
                    sleep_until(began + first_token).await;
                    if seen.first_ms().is_some() {
                        std::future::pending::<()>().await;
                    }
                    first_token
                }
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = answering => result,
            () = sleep_until(self.deadline) => {
                let limit = self.deadline.saturating_duration_since(self.started).as_secs_f32();
                Err(CallError::new(Class::Timeout, &format!("no whole answer within {limit} s")))
            }
            limit = silent => {
                let limit = limit.as_secs_f32();
                Err(CallError::new(Class::Timeout, &format!("nothing of the answer within {limit} s")))
            }
        };
        match result {
            Ok(completion) if is_empty(&completion) => Err(CallError {
                usage: completion.usage,
                provider_request_id: completion.provider_request_id,
                special: Some(Special::EmptyAnswer),
                ..CallError::new(Class::Truncated, "the answer was empty")
            }),
            result => result,
        }
    }
}

/// An empty answer is a failure that calls itself success.
fn is_empty(completion: &Completion) -> bool {
    completion.finish == Finish::Stop
        && completion.text.trim().is_empty()
        && completion.tool_calls.is_empty()
}

/// What a failure says about the model, whoever asks it.
pub(crate) fn verdict(error: &CallError, waits: Waits, deadline: Instant) -> Verdict {
    match error.class {
        Class::Overloaded | Class::Transport => Verdict::Fails,
        // One question may have no answer.
        Class::Truncated if error.special == Some(Special::EmptyAnswer) => Verdict::Nothing,
        Class::Truncated => Verdict::Fails,
        // The caller waited no longer.
        Class::Timeout if waits.hurried || Instant::now() >= deadline => Verdict::Nothing,
        Class::Timeout => Verdict::Fails,
        Class::RateLimited
        | Class::QuotaExhausted
        | Class::Auth
        | Class::NoKey
        | Class::Invalid
        | Class::ContextLength
        | Class::ContentFilter => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Patience;

    #[tokio::test]
    async fn empty_answer_says_nothing_about_a_model_and_its_words_decide_nothing() {
        let second = Duration::from_secs(1);
        let patience = Patience { first_byte: second, idle: second };
        let waits = Waits { patience, first_token: None, hurried: false };
        let cut = CallError::new(Class::Truncated, "the answer was empty");
        let empty = CallError { special: Some(Special::EmptyAnswer), ..cut.clone() };
        let verdict = |error| verdict(error, waits, Instant::now() + second);
        assert_eq!((verdict(&empty), verdict(&cut)), (Verdict::Nothing, Verdict::Fails));
    }
}
