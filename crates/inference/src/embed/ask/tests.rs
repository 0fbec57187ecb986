use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::future::BoxFuture;

use super::*;
use crate::breaker::{Breakers, Line};
use crate::call::{Call, Completion, Sink};
use crate::cooling::Cooling;
use crate::credential::Credential;
use crate::settings::Patience;

/// A provider whose vectors say how many bytes their text has, after these answers.
#[derive(Default)]
struct Counting {
    first: Mutex<VecDeque<Result<Embedding, CallError>>>,
    batches: Mutex<Vec<usize>>,
    is_silent: bool,
    counts_tokens: bool,
}

impl Provider for Counting {
    fn complete<'a>(
        &'a self,
        _call: Call<'a>,
        _sink: &'a mut dyn Sink,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        unreachable!()
    }

    fn embed<'a>(&'a self, call: EmbedCall<'a>) -> BoxFuture<'a, Result<Embedding, CallError>> {
        Box::pin(async move {
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            self.batches.lock().unwrap().push(call.inputs.len());
            if let Some(first) = self.first.lock().unwrap().pop_front() {
                return first;
            }
            let length = call.dimensions.unwrap_or(3) as usize;
            let vectors = call.inputs.iter().map(|text| vec![text.len() as f32; length]).collect();
            let tokens = call.inputs.len() as u64;
            let usage = self.counts_tokens.then(|| Usage::of(tokens, 0));
            Ok(Embedding { vectors, usage })
        })
    }

    fn discover<'a>(
        &'a self,
        _credential: &'a Credential,
        _patience: Patience,
    ) -> BoxFuture<'a, Result<Vec<String>, CallError>> {
        unreachable!()
    }

    fn place(&self) -> &str {
        "here"
    }
}

/// What came of it, and what was used.
#[derive(Debug, PartialEq)]
struct Asked {
    vectors: Result<Vec<Vec<f32>>, Cause>,
    usage: Usage,
}

impl Asked {
    fn class(self) -> Class {
        match self.vectors.unwrap_err() {
            Cause::Call(error) => error.class,
            other => panic!("not asked: {other:?}"),
        }
    }
}

/// What all calls share.
#[derive(Default)]
struct Place {
    cooling: Cooling,
    breakers: Breakers,
}

impl Place {
    fn gate<'a>(&'a self, credential: &'a Credential) -> Gate<'a> {
        let [provider, base_url, model] = ["p", "", "m"].map(str::to_owned);
        Gate {
            label: "m".to_owned(),
            line: Line { provider, base_url, model },
            credential,
            cooling: &self.cooling,
            breakers: &self.breakers,
            key: None,
            patience: Patience::OF_THE_DEMO,
            deadline: Instant::now() + Duration::from_secs(60),
        }
    }

    async fn ask(&self, provider: &Counting, inputs: &[String], dimensions: Option<u32>) -> Asked {
        let (credential, mut spent) = (Credential::default(), Spent::default());
        let gate = self.gate(&credential);
        let ask = Ask { provider, model: "m", inputs, dimensions, gate, id: Uuid::nil() };
        let vectors = ask.run(&mut spent).await;
        Asked { vectors, usage: spent.total() }
    }
}

async fn ask(provider: &Counting, inputs: &[String], dimensions: Option<u32>) -> Asked {
    Place::default().ask(provider, inputs, dimensions).await
}

fn failing(errors: impl IntoIterator<Item = CallError>) -> Counting {
    Counting { first: Mutex::new(errors.into_iter().map(Err).collect()), ..Counting::default() }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| "x".repeat(number % 7 + 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn many_texts_go_in_batches_and_come_back_in_order() {
    let (provider, inputs) = (Counting { counts_tokens: true, ..Counting::default() }, texts(600));
    let asked = ask(&provider, &inputs, Some(2)).await;
    let expected: Vec<_> = inputs.iter().map(|text| vec![text.len() as f32; 2]).collect();
    assert_eq!(asked.vectors, Ok(expected));
    assert_eq!(asked.usage, Usage::of(600, 0));
    assert_eq!(*provider.batches.lock().unwrap(), [256, 256, 88]);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_what_was_used_is_counted() {
    let overloaded = CallError::new(Class::Overloaded, "");
    let cut = Embedding { vectors: vec![vec![1.0]], usage: Some(Usage::of(5, 0)) };
    let first = VecDeque::from([Err(overloaded), Ok(cut)]);
    let provider =
        Counting { first: Mutex::new(first), counts_tokens: true, ..Counting::default() };
    let asked = ask(&provider, &texts(2), None).await;
    assert_eq!(asked.vectors, Ok(vec![vec![1.0; 3], vec![2.0; 3]]));
    assert_eq!(asked.usage, Usage::of(7, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_ends_the_request_with_what_the_others_used() {
    let done = Embedding { vectors: vec![vec![1.0]; 256], usage: Some(Usage::of(9, 0)) };
    let auth = CallError::new(Class::Auth, "no");
    let first = VecDeque::from([Ok(done), Err(auth.clone())]);
    let provider = Counting { first: Mutex::new(first), ..Counting::default() };
    let asked = ask(&provider, &texts(300), None).await;
    assert_eq!((asked.vectors, asked.usage), (Err(Cause::Call(auth)), Usage::of(9, 0)));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_nobody_counted_are_estimated() {
    let asked = ask(&Counting::default(), &["x".repeat(9)], None).await;
    assert_eq!(asked.usage, Usage { estimated: true, ..Usage::of(3, 0) });
}

#[tokio::test(start_paused = true)]
async fn vectors_that_cannot_be_compared_are_no_answer() {
    for vectors in [
        vec![vec![], vec![]],
        vec![vec![1.0], vec![1.0, 2.0]],
        vec![vec![f32::NAN], vec![1.0]],
        vec![vec![f32::INFINITY], vec![1.0]],
    ] {
        let first = VecDeque::from([Ok(Embedding { vectors, usage: None })]);
        let provider = Counting { first: Mutex::new(first), ..Counting::default() };
        let asked = ask(&provider, &texts(2), None).await;
        assert_eq!(asked.class(), Class::Truncated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up_in_time() {
    let provider = Counting { is_silent: true, ..Counting::default() };
    let asked = ask(&provider, &texts(1), None).await;
    assert_eq!(asked.class(), Class::Timeout);
}

#[tokio::test(start_paused = true)]
async fn key_that_was_refused_is_not_tried_again_and_the_reason_is_told() {
    let (place, provider) = (Place::default(), failing([CallError::new(Class::Auth, "no")]));
    assert_eq!(place.ask(&provider, &texts(1), None).await.class(), Class::Auth);
    let Err(Cause::Resting { class, message, .. }) =
        place.ask(&provider, &texts(1), None).await.vectors
    else {
        panic!("a refused key was used");
    };
    assert_eq!((class, message.as_str()), (Class::Auth, "no"));
    assert_eq!(*provider.batches.lock().unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_limit_waits_for_its_end() {
    let (place, provider) = (Place::default(), Counting::default());
    let rest = Duration::from_secs(7);
    let limited = CallError { retry_after: Some(rest), ..CallError::new(Class::RateLimited, "") };
    place.cooling.note(&Credential::default(), "m", &limited);
    let started = Instant::now();
    assert!(place.ask(&provider, &texts(1), None).await.vectors.is_ok());
    assert!(started.elapsed() >= rest, "{:?}", started.elapsed());
    // Longer than there is time.
    let limited = CallError { retry_after: Some(rest * 10), ..limited };
    place.cooling.note(&Credential::default(), "m", &limited);
    let refused = place.ask(&provider, &texts(1), None).await.vectors;
    assert!(matches!(refused, Err(Cause::Resting { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn model_that_fails_again_and_again_is_left_alone_by_all() {
    let (place, overloaded) = (Place::default(), CallError::new(Class::Overloaded, ""));
    let provider = failing(vec![overloaded; 6]);
    assert_eq!(place.ask(&provider, &texts(1), None).await.class(), Class::Overloaded);
    // The fifth failure opens the breaker; what the provider said is shown.
    assert_eq!(place.ask(&provider, &texts(1), None).await.class(), Class::Overloaded);
    let left_alone = place.ask(&provider, &texts(1), None).await.vectors;
    assert!(matches!(left_alone, Err(Cause::Open { .. })), "{left_alone:?}");
    assert_eq!(provider.batches.lock().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_counts_with_the_request_in_hand() {
    let provider = Counting { is_silent: true, ..Counting::default() };
    let (place, credential, mut spent) =
        (Place::default(), Credential::default(), Spent::default());
    let (inputs, gate) = (["x".repeat(9)], place.gate(&credential));
    let ask = Ask {
        provider: &provider,
        model: "m",
        inputs: &inputs,
        dimensions: None,
        gate,
        id: Uuid::nil(),
    };
    let cut = timeout_at(Instant::now() + Duration::from_secs(1), ask.run(&mut spent)).await;
    assert!(cut.is_err());
    assert_eq!(spent.total(), Usage { estimated: true, ..Usage::of(3, 0) });
}
