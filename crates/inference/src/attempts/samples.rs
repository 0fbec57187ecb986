//! Several answers to one question, of which the one that most agree on is given.

use std::pin::pin;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nexus_contracts::{Consensus, Usage};
use tokio::sync::Notify;

use super::{Answer, Ended, Job};
use crate::call::Completion;
use crate::choice::Choice;
use crate::consensus;
use crate::live::Live;

impl Job<'_> {
    /// Asks so many times, until the majority is settled. The first call goes alone until its
    /// answer begins, so that the others find its prompt in the provider's cache.
    pub(crate) async fn samples(&self, asked: u32, choices: &[Choice], live: &mut Live) -> Ended {
        let begun = Notify::new();
        let first = Job { sample: Some(0), begun: Some(&begun), ..self.again() };
        let mut quiet = live.quiet();
        let mut first_call = pin!(first.run(choices, &mut quiet));
        let early = tokio::select! {
            biased;
            ended = &mut first_call => Some(ended),
            () = begun.notified() => None,
        };
        // What no model answered once it would not answer more often.
        let early = match early {
            Some(failed @ Ended { result: Err(_), .. }) => return failed,
            early => early,
        };
        let same = choices.get(first.current()..=first.current()).unwrap_or_default();
        let others = (1..asked).map(|sample| {
            let mut quiet = live.quiet();
            let job = Job { sample: Some(sample), begun: None, ..self.again() };
            async move { (sample, job.run(same, &mut quiet).await) }
        });
        let others: FuturesUnordered<_> = others.collect();
        let mut tally = Tally { asked, answers: Vec::new(), failed: None };
        let mut first_open = early.is_none();
        if let Some(ended) = early {
            tally.take(0, ended);
        }
        let mut others = pin!(others);
        while !tally.is_settled() {
            tokio::select! {
                biased;
                ended = &mut first_call, if first_open => {
                    first_open = false;
                    tally.take(0, ended);
                }
                Some((sample, ended)) = others.next() => tally.take(sample, ended),
                else => break,
            }
        }
        tally.end().unwrap_or_else(|| self.nobody(choices))
    }
}

/// The answers so far.
struct Tally {
    asked: u32,
    answers: Vec<(u32, Choice, String, Answer)>,
    /// The failure of the earliest sample.
    failed: Option<(u32, Ended)>,
}

impl Tally {
    fn take(&mut self, sample: u32, ended: Ended) {
        match ended {
            Ended { choice, place, result: Ok(answer) } => {
                self.answers.push((sample, choice, place, answer));
            }
            failed => {
                if self.failed.as_ref().is_none_or(|(earliest, _)| sample < *earliest) {
                    self.failed = Some((sample, failed));
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        let completions: Vec<&Completion> = self.completions().collect();
        !completions.is_empty() && consensus::settled(&completions, self.asked)
    }

    fn completions(&self) -> impl Iterator<Item = &Completion> {
        self.answers.iter().map(|(_, _, _, answer)| &answer.completion)
    }

    /// The answer that most agree on, with what all of them used.
    fn end(mut self) -> Option<Ended> {
        // Which one stands for its group does not depend on who was faster.
        self.answers.sort_by_key(|(sample, ..)| *sample);
        let completions: Vec<&Completion> = self.completions().collect();
        if completions.is_empty() {
            return self.failed.map(|(_, ended)| ended);
        }
        let (chosen, consensus) = consensus::weigh(&completions, self.asked);
        let usages = self.answers.iter().map(|(_, _, _, answer)| answer.usage);
        let usage = usages.reduce(Usage::plus).unwrap_or_default();
        let chosen = chosen.min(self.answers.len().saturating_sub(1));
        let (_, choice, place, answer) = self.answers.swap_remove(chosen);
        tell(&choice, &consensus);
        let answer = Answer { usage, consensus: Some(consensus), ..answer };
        Some(Ended { choice, place, result: Ok(answer) })
    }
}

fn tell(choice: &Choice, consensus: &Consensus) {
    let Consensus { asked, answered, disagreement, .. } = consensus;
    tracing::info!(model = %choice.full_name(), asked, answered, disagreement, "samples weighed");
    metrics::histogram!("nexus_inference_disagreement", "provider" => choice.provider.clone())
        .record(*disagreement);
}
