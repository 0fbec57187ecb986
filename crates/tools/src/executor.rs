use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_bus::{Delivery, Handler, failpoint};
use nexus_contracts::{Effect, Event, Timestamp, ToolExecute, ToolOutcome, ToolResult};
use serde_json::Value;

use crate::calls::{Calls, InFlight};
use crate::error::Error;
use crate::ledger::{Claim, Ended, Key, Ledger};
use crate::outcome::{Ending, Made, Stakes, bounded, broken};
use crate::registry::{Entry, Registry};
use crate::tool::{CallContext, Repeat};

/// How often the end of a call that had its effect is written before its record is given up.
const RECORDINGS: u32 = 5;

/// Answers tool calls: one event in, its result out.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) registry: Arc<Registry>,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) max_output_bytes: usize,
    pub(crate) effect_delay: Duration,
    pub(crate) now: fn() -> Timestamp,
}

/// A call that can be made.
struct Ready<'a> {
    event: &'a Event<ToolExecute>,
    entry: Arc<Entry>,
    arguments: Value,
    limit: Duration,
}

impl Handler for Executor {
    type In = ToolExecute;
    type Out = ToolResult;
    type Error = Error;

    #[tracing::instrument(skip_all, fields(tool = %event.payload.tool))]
    async fn handle(
        &self,
        event: &Event<ToolExecute>,
        delivery: Delivery,
    ) -> Result<Option<Event<ToolResult>>, Error> {
        if event.payload.client.is_some() {
            // The speaker's own program answers it, through its adapter.
            return Ok(None);
        }
        let flight = self.calls.enter(event.metadata.tenant, event.correlation_id, event.id);
        let flight = flight.ok_or(Error::InFlight)?;
        let ended = match self.registry.effect(&event.payload) {
            Effect::Read => self.read(event, delivery, &flight).await,
            // A future of this size is moved once instead of with every poll of the runner.
            Effect::Write | Effect::Spend | Effect::Exec => {
                Box::pin(self.effect(event, delivery, &flight)).await?
            }
        };
        self.count(event, &ended);
        Ok(Some(self.answer(event, ended)))
    }

    fn give_up(&self, event: &Event<ToolExecute>, reason: &str) -> Option<Event<ToolResult>> {
        if event.payload.client.is_some() {
            return None;
        }
        let stakes = stakes(self.registry.effect(&event.payload));
        let ended =
            Ended::at_once(broken(stakes, "given_up", &format!("the call was given up: {reason}")));
        self.count(event, &ended);
        Some(self.answer(event, ended))
    }
}

impl Executor {
    /// A call without effects: it may be made any number of times.
    async fn read(
        &self,
        event: &Event<ToolExecute>,
        delivery: Delivery,
        flight: &InFlight,
    ) -> Ended {
        let ready = match self.ready(event) {
            Ok(ready) => ready,
            Err(refused) => return Ended::at_once(refused),
        };
        if self.too_late(event, delivery) {
            return Ended::at_once(ToolOutcome::Expired);
        }
        let started = Instant::now();
        let made = tokio::select! {
            biased;
            () = flight.cancelled.cancelled() => ToolOutcome::Cancelled.into(),
            ending = ready.call() => self.settle(ending, Stakes::Nothing).unwrap_or_else(|error| {
                broken(Stakes::Nothing, "unavailable", &error.to_string()).into()
            }),
        };
        since(started, made)
    }

    /// A call with an effect: at most one recorded outcome, however often it is delivered.
    async fn effect(
        &self,
        event: &Event<ToolExecute>,
        delivery: Delivery,
        flight: &InFlight,
    ) -> Result<Ended, Error> {
        let tool = event.payload.tool.replace('\0', "\u{fffd}");
        let key = Key {
            tenant: event.metadata.tenant.0,
            call: event.id,
            tool: &tool,
            attempt: delivery.attempt,
        };
        let absent = || Error::NoStore { tool: tool.clone(), attempt: delivery.attempt };
        let ledger = self.ledger.as_ref().ok_or_else(absent)?;
        let begun = || broken(Stakes::Effect, "", "an earlier attempt was interrupted");
        let ready = match self.ready(event) {
            Ok(ready) => ready,
            Err(refused) => return ledger.refuse(key, refused, begun()).await,
        };
        let repeat = ready.entry.repeat();
        // Without its record a transaction had no effect, so it is known that nothing happened.
        let not_now = |outcome: ToolOutcome| {
            let begun = if repeat == Repeat::Transactional { outcome.clone() } else { begun() };
            ledger.refuse(key, outcome, begun)
        };
        tokio::select! {
            biased;
            () = flight.cancelled.cancelled() => return not_now(ToolOutcome::Cancelled).await,
            () = tokio::time::sleep(self.wait(delivery)) => {}
        }
        if self.too_late(event, delivery) {
            return not_now(ToolOutcome::Expired).await;
        }
        if failpoint::ablated("ledger") {
            return self.unguarded(ledger, key, ready).await;
        }
        let claim = ledger.claim(key).await?;
        failpoint::hit("tools.after_claim");
        match (claim, repeat) {
            (Claim::Ended(ended), _) => Ok(ended),
            (Claim::New | Claim::Begun, Repeat::Transactional) => {
                self.transact(ledger, key, ready).await
            }
            (Claim::New, Repeat::Safe | Repeat::Never) | (Claim::Begun, Repeat::Safe) => {
                self.perform(ledger, key, ready).await
            }
            (Claim::Begun, Repeat::Never) => ledger.end(key, Ended::at_once(begun())).await,
        }
    }

    /// Calls a tool, then records the outcome.
    async fn perform(
        &self,
        ledger: &Ledger,
        key: Key<'_>,
        ready: Ready<'_>,
    ) -> Result<Ended, Error> {
        let started = Instant::now();
        let ending = ready.call().await;
        let made =
            self.settle(ending, Stakes::Effect).map_err(|source| ledger_broke(key, source))?;
        failpoint::hit("tools.after_effect");
        let ended = since(started, made);
        for pause in 0..RECORDINGS {
            match ledger.end(key, ended.clone()).await {
                Ok(stands) => {
                    failpoint::hit("tools.after_done");
                    return Ok(stands);
                }
                Err(error) => {
                    tracing::warn!(error = %nexus_bus::Chain(&error), "recording the end of a tool call failed");
                    tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(pause)).await;
                }
            }
        }
        // The outcome is known; to try again would turn it into an unknown one.
        tracing::error!(call = %key.call, "the ledger misses the end of a tool call; its result is published all the same");
        Ok(ended)
    }

    /// Calls a tool in a transaction that also records the outcome.
    async fn transact(
        &self,
        ledger: &Ledger,
        key: Key<'_>,
        ready: Ready<'_>,
    ) -> Result<Ended, Error> {
        let mut tx = ledger.begin(key).await?;
        if let Some(ended) = ledger.lock(key, &mut tx, millis(ready.limit)).await? {
            return Ok(ended);
        }
        let started = Instant::now();
        let ending = ready.call_in(&mut tx).await;
        let made =
            self.settle(ending, Stakes::Nothing).map_err(|source| ledger_broke(key, source))?;
        let ended = since(started, made);
        if matches!(ended.outcome, ToolOutcome::Completed { .. }) {
            ledger.end_in(key, &mut tx, &ended).await?;
            failpoint::hit("tools.after_effect");
            tx.commit().await.map_err(|source| ledger_broke(key, source))?;
            failpoint::hit("tools.after_done");
            return Ok(ended);
        }
        // What it had written goes, then the failure is recorded; a failed rollback ends the connection.
        let _ = tx.rollback().await;
        let ended = ledger.end(key, ended).await?;
        failpoint::hit("tools.after_done");
        Ok(ended)
    }

    /// What would be without a ledger; for the test that proves that the ledger is needed.
    async fn unguarded(
        &self,
        ledger: &Ledger,
        key: Key<'_>,
        ready: Ready<'_>,
    ) -> Result<Ended, Error> {
        let started = Instant::now();
        let broke = |source| ledger_broke(key, source);
        let made = if ready.entry.repeat() == Repeat::Transactional {
            let mut tx = ledger.begin(key).await?;
            let made = self.settle(ready.call_in(&mut tx).await, Stakes::Nothing).map_err(broke)?;
            failpoint::hit("tools.after_effect");
            tx.commit().await.map_err(broke)?;
            made
        } else {
            let ending = ready.call().await;
            failpoint::hit("tools.after_effect");
            self.settle(ending, Stakes::Effect).map_err(broke)?
        };
        Ok(since(started, made))
    }

    fn ready<'a>(&self, event: &'a Event<ToolExecute>) -> Result<Ready<'a>, ToolOutcome> {
        let (entry, arguments) = self.registry.prepare(&event.payload)?;
        let limit = Duration::from_millis(entry.spec.timeout_ms.min(event.payload.timeout_ms));
        Ok(Ready { event, entry, arguments, limit })
    }

    fn too_late(&self, event: &Event<ToolExecute>, delivery: Delivery) -> bool {
        (self.now)() > delivery.stored_at.plus_millis(event.payload.start_within_ms)
    }

    /// Until a power cut can no longer make the command unsaid.
    fn wait(&self, delivery: Delivery) -> Duration {
        let passed = Duration::from_millis((self.now)().millis_since(delivery.stored_at));
        self.effect_delay.saturating_sub(passed)
    }

    fn settle(&self, ending: Ending, stakes: Stakes) -> Result<Made, sqlx::Error> {
        ending.outcome(stakes, self.max_output_bytes)
    }

    fn answer(&self, event: &Event<ToolExecute>, ended: Ended) -> Event<ToolResult> {
        let tool = event.payload.tool.clone();
        let result = ToolResult {
            call: event.id,
            tool,
            outcome: ended.outcome,
            duration_ms: ended.duration_ms,
            attachments: ended.attachments,
        };
        event.reply(result, (self.now)())
    }

    fn count(&self, event: &Event<ToolExecute>, ended: &Ended) {
        // A name that a model invented must not become a label.
        let tool = if self.registry.has(&event.payload.tool) {
            event.payload.tool.clone()
        } else {
            "unknown".to_owned()
        };
        metrics::counter!("nexus_tools_calls_total", "tool" => tool, "status" => ended.outcome.status()).increment(1);
    }
}

impl Ready<'_> {
    fn call(&self) -> impl Future<Output = Ending> + Send {
        let (context, arguments) = (self.context(), self.arguments.clone());
        // The tool is called inside, so that a panic before its first await is caught as well.
        bounded(self.limit, async move { self.entry.tool.call(arguments, context).await })
    }

    async fn call_in(&self, tx: &mut nexus_store::TenantTransaction) -> Ending {
        let (context, arguments) = (self.context(), self.arguments.clone());
        bounded(self.limit, async move { self.entry.tool.call_in(tx, arguments, context).await })
            .await
    }

    fn context(&self) -> CallContext {
        CallContext {
            tenant: self.event.metadata.tenant,
            call: self.event.id,
            run: self.event.correlation_id,
            user: self.event.metadata.user.clone(),
            deadline: Instant::now() + self.limit,
        }
    }
}

fn since(started: Instant, made: Made) -> Ended {
    let duration_ms = millis(started.elapsed());
    Ended { outcome: made.outcome, attachments: made.attachments, duration_ms }
}

fn stakes(effect: Effect) -> Stakes {
    match effect {
        Effect::Read => Stakes::Nothing,
        Effect::Write | Effect::Spend | Effect::Exec => Stakes::Effect,
    }
}

fn ledger_broke(key: Key<'_>, source: sqlx::Error) -> Error {
    Error::Ledger { attempt: key.attempt, source }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
