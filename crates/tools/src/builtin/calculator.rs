//! Arithmetic with units, by fend.
//!
//! fend is trusted with nothing: it overflows its stack on nesting and on recursive functions
//! (which ends a process), does not look at its interrupt while it shifts or counts days, and
//! panics on some powers. So the text is short and without functions, shifts, dates and dice; it
//! is worked out on a thread with a large stack; and few such threads live at once, because one
//! that does not hear its interrupt works on until it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use fend_core::{Context, Interrupt, evaluate_with_interrupt};
use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use crate::tool::{CallContext, Output, Tool, ToolError};

/// With the stack below, enough for nesting at every character (measured: 50 KiB each unoptimised).
const MAX_CHARS: usize = 500;
const STACK_BYTES: usize = 128 * 1024 * 1024;
const THREADS: usize = 4;
const SYMBOLS: &str = "+-*/^().,!%_×÷−°'\"";

pub(crate) struct Calculator {
    threads: Arc<Semaphore>,
}

impl Calculator {
    pub(crate) fn new() -> Self {
        Self { threads: Arc::new(Semaphore::new(THREADS)) }
    }
}

impl Tool for Calculator {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "calculator".to_owned(),
            description: "Calculates exactly: arithmetic, powers, roots, logarithms, trigonometry, percentages, \
                          number bases, and units with their conversion. Knows no dates, no currencies and no variables."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "expression": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_CHARS,
                    "description": "For example `17 * 23`, `sqrt(2) to 5 dp`, `15% of 80`, `60 miles per hour to m/s`, `255 to hex`.",
                } },
                "required": ["expression"],
                "additionalProperties": false,
            }),
            effect: Effect::Read,
            timeout_ms: 3_000,
            client: None,
        }
    }

    fn call(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        let expression =
            arguments.get("expression").and_then(Value::as_str).unwrap_or_default().to_owned();
        Box::pin(async move { Ok(self.calculate(expression, context.deadline).await?.into()) })
    }
}

impl Calculator {
    async fn calculate(&self, expression: String, deadline: Instant) -> Result<String, ToolError> {
        check(&expression)?;
        let broke = || ToolError::failed("unavailable", "the calculator is not available");
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| broke())?;
        let (sender, receiver) = oneshot::channel();
        let left = Left(Arc::new(AtomicBool::new(false)));
        let interrupt = Stop { deadline, left: Arc::clone(&left.0) };
        let work = move || {
            let _permit = permit;
            let mut context = Context::new();
            context.disable_rng();
            let result = evaluate_with_interrupt(&expression, &mut context, &interrupt);
            // Nobody listens any more when the call was cancelled.
            let _ = sender.send(result.map(|result| result.get_main_result().to_owned()));
        };
        thread::Builder::new()
            .name("calculator".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(work)
            .map_err(|_| broke())?;
        match receiver.await {
            Ok(Ok(result)) if result.is_empty() => Err(wrong("the expression has no value")),
            Ok(Ok(result)) => Ok(result),
            Ok(Err(message)) if message == "interrupted" => {
                Err(ToolError::failed("timeout", "the calculation takes too long; make it smaller"))
            }
            Ok(Err(message)) => Err(wrong(&message)),
            Err(_) => Err(ToolError::failed(
                "crashed",
                "the calculator crashed on this expression; write it in another way",
            )),
        }
    }
}

/// Tells fend to stop when its call is dropped.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Stop {
    deadline: Instant,
    left: Arc<AtomicBool>,
}

impl Interrupt for Stop {
    fn should_interrupt(&self) -> bool {
        self.left.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Lets through what cannot define functions, shift, make dates or throw dice.
fn check(expression: &str) -> Result<(), ToolError> {
    if expression.chars().count() > MAX_CHARS {
        return Err(wrong(&format!("the expression is longer than {MAX_CHARS} characters")));
    }
    // The letter lambda begins a function.
    let allowed =
        |c: char| c.is_whitespace() || SYMBOLS.contains(c) || (c.is_alphanumeric() && c != 'λ');
    if let Some(symbol) = expression.chars().find(|c| !allowed(*c)) {
        return Err(wrong(&format!("the calculator does not know {symbol:?}")));
    }
    if expression.contains(['\'', '"']) {
        return Err(wrong("write feet and inches, minutes and seconds in words"));
    }
    let words = expression.split(|c: char| !c.is_alphanumeric());
    if let Some(dice) = words.into_iter().find(|word| is_dice(word)) {
        return Err(wrong(&format!("the calculator throws no dice: {dice:?}")));
    }
    Ok(())
}

/// `d6`, `2d20`; but `0xd6` is a number.
fn is_dice(word: &str) -> bool {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    word.split_once(['d', 'D'])
        .is_some_and(|(count, sides)| digits(count) && !sides.is_empty() && digits(sides))
}

fn wrong(message: &str) -> ToolError {
    ToolError::failed("invalid_expression", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn calculate(expression: &str) -> Result<String, ToolError> {
        Calculator::new()
            .calculate(expression.to_owned(), Instant::now() + Duration::from_millis(500))
            .await
    }

    #[tokio::test]
    async fn results() {
        let cases = [
            ("17*23", "391"),
            ("2^64", "18446744073709551616"),
            ("0.1 + 0.2", "0.3"),
            ("15% of 80", "12"),
            ("255 to hex", "ff"),
            ("0xd6", "0xd6"),
            ("1 mile to km", "1.609344 km"),
            ("10 nCr 3", "120"),
            ("20!", "2432902008176640000"),
            ("6 × 7", "42"),
        ];
        for (expression, expected) in cases {
            assert_eq!(calculate(expression).await.unwrap(), expected, "{expression}");
        }
    }

    #[tokio::test]
    async fn what_is_no_expression_is_told() {
        for expression in [
            "1+",
            "(",
            "foo",
            "1 kg to m",
            "2 USD to EUR",
            "roll d6",
            "2d20",
            "x = 5",
            "1;2",
            "@2020-01-01",
            "5'10\"",
            " ",
        ] {
            let error = calculate(expression).await.unwrap_err();
            assert!(
                matches!(error, ToolError::Failed { code: "invalid_expression", .. }),
                "{expression}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn functions_and_shifts_never_reach_fend() {
        for expression in [
            "(\\x. x x)(\\x. x x)",
            "(λx. x x)(λx. x x)",
            "f = x: f x; f 1",
            "x => x",
            "1 << 10000000000",
            "d1000000",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }

    #[tokio::test]
    async fn deepest_nesting_fits_the_stack() {
        let cases = [
            format!("{}1{}", "(".repeat(249), ")".repeat(249)),
            "(".repeat(500),
            format!("{}1", "-".repeat(499)),
            format!("1{}", "!".repeat(499)),
            format!("2{}", "^2".repeat(249)),
            format!("1{}", "+1".repeat(249)),
            format!("{}1", "ln ".repeat(166)),
            format!("1{}", " to m".repeat(99)),
            format!("{}true", "not ".repeat(124)),
            "a ".repeat(250),
        ];
        for expression in cases {
            let _ = calculate(&expression).await;
        }
    }

    #[tokio::test]
    async fn endless_calculations_end() {
        for expression in
            ["10^10^10", "9^9^9^9", "99999999!", "1e1000000000", "10000000000 nCr 5000000000"]
        {
            let started = Instant::now();
            let error = calculate(expression).await.unwrap_err();
            assert!(
                matches!(error, ToolError::Failed { code: "timeout", .. }),
                "{expression}: {error:?}"
            );
            assert!(started.elapsed() < Duration::from_secs(3), "{expression}");
        }
    }

    #[tokio::test]
    async fn a_crash_of_fend_is_an_answer() {
        let error = calculate("i^-1").await.unwrap_err();
        assert!(matches!(error, ToolError::Failed { code: "crashed", .. }), "{error:?}");
    }
}
