use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::*;
use crate::call::{Call, Completion, Sink};

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

async fn ask(provider: &Counting, inputs: &[String], dimensions: Option<u32>) -> Asked {
    let credential = Credential::default();
    Ask {
        provider,
        model: "m",
        inputs,
        dimensions,
        credential: &credential,
        patience: Patience::OF_THE_DEMO,
        deadline: Instant::now() + Duration::from_secs(60),
        id: Uuid::nil(),
    }
    .run()
    .await
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
    assert_eq!((asked.vectors, asked.usage), (Err(auth), Usage::of(9, 0)));
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
        assert_eq!(asked.vectors.unwrap_err().class, Class::Truncated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up_in_time() {
    let provider = Counting { is_silent: true, ..Counting::default() };
    let asked = ask(&provider, &texts(1), None).await;
    assert_eq!(asked.vectors.unwrap_err().class, Class::Timeout);
}
