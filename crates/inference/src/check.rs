//! Tests keys for those who know no provider: the key is found in the vault, never in the question.

use futures_util::StreamExt as _;
use futures_util::stream;
use nexus_bus::{Bus, Questions};
use nexus_vault::check::{Answer, Question, SUBJECT};

use crate::call::{CallError, Class};
use crate::providers::Providers;
use crate::settings::Patience;

/// Keys that are tested at once; each is a request to a provider.
const AT_ONCE: usize = 8;

/// What has to be served.
pub(crate) async fn questions(bus: &Bus) -> Result<Questions, nexus_bus::Error> {
    Questions::serve(bus, SUBJECT).await
}

/// Answers for as long as the connection lives.
pub(crate) async fn serve(questions: Questions, providers: &Providers) {
    let asked = stream::unfold(questions, |mut questions| async move {
        let question = questions.next::<Question>().await?;
        Some((question, questions))
    });
    asked
        .for_each_concurrent(AT_ONCE, async |question| {
            let answer = match test(providers, &question.asked).await {
                Ok(models) => Answer::Accepted { models },
                Err(error) => Answer::Failed {
                    class: error.class.as_str().to_owned(),
                    message: error.message,
                },
            };
            question.answer(&answer).await;
        })
        .await;
    // A closed connection ends the worker by other ways.
    std::future::pending::<()>().await;
}

/// Asks the provider for its models with this key: costs nothing. Returns how many it has.
async fn test(providers: &Providers, question: &Question) -> Result<usize, CallError> {
    let gone = || CallError::new(Class::Invalid, "there is no such provider");
    let entry = providers.entry(&question.provider).ok_or_else(gone)?;
    let credential = providers.wallet().kept(&question.owner, &question.service).await?;
    let models = entry.provider.discover(&credential, Patience::FOR_A_KEY).await?;
    Ok(models.len())
}
