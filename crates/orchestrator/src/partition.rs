use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nexus_bus::{
    Bus, Chain, Checkpoint, Checkpoints, EVENTS, Fence, Filter, Message, Reader, Start, failpoint,
};
use nexus_contracts::{
    Event, EventType, Metadata, Outcome, Partition, ProcessedRequest, RunCancel, Subject,
    Timestamp, derived_id, traceparent,
};
use nexus_conversation::{Body, Command, ConversationKey, ENGINE, State, Verdict};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::configuration::Configuration;
use crate::deadlines::Deadlines;
use crate::error::Error;
use crate::recovery::{Seen, Tail, recognises, take};

/// What all partitions of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) configuration: Configuration,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) member: Uuid,
    pub(crate) now: fn() -> Timestamp,
}

/// One partition in our hands: from the claim to the release.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    bus: Bus,
    fence: Fence,
    state: State,
    deadlines: Deadlines,
    /// Last event folded.
    position: Option<(u64, Uuid, Timestamp)>,
    /// Revision of the checkpoint in the bucket.
    revision: u64,
    /// Inputs since that checkpoint.
    unsaved: u64,
}

impl Owner {
    /// Takes a partition, folds its log and publishes what is missing in it.
    pub(crate) async fn take_over(
        shared: Arc<Shared>,
        bus: Bus,
        partition: Partition,
    ) -> Result<Self, Error> {
        let (checkpoint, expired) = load(&shared, &bus, partition).await?;
        let (state, from, revision) = match checkpoint {
            Some((state, checkpoint)) => (state, checkpoint.sequence + 1, checkpoint.revision()),
            None => (State::default(), 1, revision_of(&shared, partition).await?),
        };
        // What was open behind a gap in the log can neither go on nor be decided on again.
        let (mut state, lost) =
            if expired { (State::default(), state.open_requests()) } else { (state, Vec::new()) };
        let fence = Fence::claim(&bus, partition, shared.member, ENGINE, (shared.now)()).await?;
        failpoint::hit("orchestrator.after_claim");
        let filter = Filter::Partition(partition);
        let mut reader = Reader::open(&bus, EVENTS, filter, Start::At(from)).await?;
        let mut tail = Tail::default();
        loop {
            let message = reader.next().await?;
            let reached = message.sequence;
            tail.fold(&mut state, message);
            if reached >= fence.epoch().get() {
                break;
            }
        }
        failpoint::hit("orchestrator.after_fold");
        let owner = Self {
            deadlines: Deadlines::of(&state, Instant::now()),
            position: tail.last,
            unsaved: 0,
            shared,
            bus,
            fence,
            state,
            revision,
        };
        owner.catch_up(tail, &lost).await?;
        Ok(owner)
    }

    /// Publishes what the log should have and does not.
    async fn catch_up(
        &self,
        mut tail: Tail,
        lost: &[(ConversationKey, Uuid)],
    ) -> Result<(), Error> {
        for (message, reason) in std::mem::take(&mut tail.malformed) {
            self.bury(&message, reason).await;
        }
        for (key, run) in tail.diverged() {
            tracing::error!(%run, "this engine decides otherwise than the log; the run is failed");
            let text = "The system was changed while it worked on this request. Please ask again.";
            self.give_up(&key, run, "engine_changed", text).await?;
        }
        for (key, request) in lost {
            self.end_lost(key, *request).await?;
        }
        let missing = tail.missing(&self.state);
        if !missing.is_empty() {
            tracing::info!(partition = %self.fence.partition(), commands = missing.len(), "publishing commands that the log lacks");
        }
        for command in missing {
            self.command(command).await?;
        }
        Ok(())
    }

    /// Works until stopped, fenced or cut off; an error means: claim again if it is still ours.
    pub(crate) async fn run(
        mut self,
        mut live: mpsc::UnboundedReceiver<Message>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (taken, mut saved) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = live.recv() => match message {
                    // What was folded at the take-over comes again here.
                    Some(message) if message.sequence <= self.fence.epoch().get() => {}
                    Some(message) => self.input(message).await?,
                    None => break,
                },
                _ = ticks.tick() => {
                    self.keep_deadlines().await?;
                    if saved.elapsed() >= self.shared.config.checkpoint_every && self.unsaved > 0 {
                        self.save().await;
                        saved = Instant::now();
                    }
                    if taken.elapsed() >= self.shared.config.renew_epoch_after {
                        break;
                    }
                }
            }
        }
        if self.unsaved > 0 {
            self.save().await;
        }
        Ok(())
    }

    async fn input(&mut self, message: Message) -> Result<(), Error> {
        failpoint::hit("orchestrator.after_receive");
        match take(&mut self.state, &message) {
            Seen::Input { key, id, step } => {
                if let Verdict::Panicked(reason) = step.verdict {
                    self.bury(&message, format!("the engine panicked: {reason}")).await;
                }
                for command in step.commands {
                    self.command(command).await?;
                }
                self.deadlines.update(&key, self.state.waits_of(&key), Instant::now());
                self.position = Some((message.sequence, id, message.stored_at));
                self.unsaved += 1;
            }
            Seen::Epoch => {
                if message.sequence > self.fence.epoch().get() && !failpoint::ablated("fence") {
                    let partition = self.fence.partition();
                    return Err(nexus_bus::Error::Fenced { partition }.into());
                }
            }
            Seen::Other => {}
            Seen::Malformed { reason } => self.bury(&message, reason).await,
        }
        Ok(())
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        let bytes = match command.body {
            Body::Ready(bytes) => bytes,
            Body::Start(pending) => pending.now(self.shared.configuration.of(&pending)),
        };
        failpoint::hit("orchestrator.before_publish");
        self.fence.publish(&command.subject, command.id, identified(bytes)).await?;
        failpoint::hit("orchestrator.after_publish");
        Ok(())
    }

    async fn keep_deadlines(&mut self) -> Result<(), Error> {
        for timeout in self.deadlines.due(Instant::now(), (self.shared.now)()) {
            self.fence.publish(&timeout.subject, timeout.id, timeout.bytes.into()).await?;
        }
        let partition = self.fence.partition().to_string();
        let active = u32::try_from(self.deadlines.active()).unwrap_or(u32::MAX);
        metrics::gauge!("nexus_orchestrator_active_runs", "partition" => partition)
            .set(f64::from(active));
        Ok(())
    }

    /// Ends a run that cannot go on, by an input that every later replay sees too.
    async fn give_up(
        &self,
        key: &ConversationKey,
        run: Uuid,
        code: &str,
        text: &str,
    ) -> Result<(), Error> {
        let id = derived_id(run, code);
        let metadata = Metadata {
            causation_id: Some(run),
            traceparent: Some(traceparent(run, id)),
            ..Metadata::at(key.tenant, key.channel.clone(), key.conversation.clone())
        };
        let cancel = RunCancel {
            failure: Some(code.to_owned()),
            ..RunCancel::of(run, Some(text.to_owned()))
        };
        let event = Event::new(id, run, metadata, (self.shared.now)(), cancel);
        let subject = Subject::of(EventType::RunsCancel, &event.metadata);
        self.fence.publish(&subject, id, event.encode().into()).await?;
        Ok(())
    }

    /// Ends a request whose events have aged out.
    async fn end_lost(&self, key: &ConversationKey, request: Uuid) -> Result<(), Error> {
        let id = derived_id(request, "events expired");
        let metadata = Metadata {
            causation_id: Some(request),
            traceparent: Some(traceparent(request, id)),
            ..Metadata::at(key.tenant, key.channel.clone(), key.conversation.clone())
        };
        let outcome = Outcome::Failed {
            code: "events_expired".to_owned(),
            message: "The events of this request are too old. Please ask again.".to_owned(),
        };
        let payload = ProcessedRequest::of(request, outcome);
        let event = Event::new(id, request, metadata, (self.shared.now)(), payload);
        let subject = Subject::of(EventType::RequestsProcessed, &event.metadata);
        self.fence.publish(&subject, id, event.encode().into()).await?;
        Ok(())
    }

    async fn bury(&self, message: &Message, reason: String) {
        let buried =
            self.bus.bury("orchestrator", message, "malformed", reason, (self.shared.now)()).await;
        if let Err(error) = buried {
            tracing::warn!(error = %Chain(&error), "the dead letter could not be stored");
        }
    }

    /// Writes a checkpoint: every command of the inputs up to here has been confirmed.
    async fn save(&mut self) {
        let Some((sequence, id, at)) = self.position else { return };
        self.state.prune(at);
        failpoint::hit("orchestrator.before_checkpoint");
        let Ok(state) = serde_json::to_vec(&self.state) else { return };
        let next = Checkpoint::new(self.revision, sequence, id, at, ENGINE, state.into());
        match self.shared.checkpoints.save(self.fence.partition(), next).await {
            Ok(Some(revision)) => {
                self.revision = revision;
                self.unsaved = 0;
                failpoint::hit("orchestrator.after_checkpoint");
            }
            Ok(None) => {
                tracing::debug!(partition = %self.fence.partition(), "another owner wrote a checkpoint")
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "checkpoint not written; the next start takes longer")
            }
        }
    }
}

/// The checkpoint to start from, and whether events behind it are gone.
async fn load(
    shared: &Shared,
    bus: &Bus,
    partition: Partition,
) -> Result<(Option<(State, Checkpoint)>, bool), Error> {
    let Some(checkpoint) = shared.checkpoints.load(partition).await? else {
        return Ok((None, false));
    };
    if checkpoint.engine != ENGINE {
        return Ok((None, false));
    }
    let (first, _) = bus.bounds(EVENTS).await?;
    let expired = checkpoint.sequence + 1 < first;
    if !expired && checkpoint.sequence >= first {
        let bytes = bus.message_at(EVENTS, checkpoint.sequence).await;
        if !matches!(&bytes, Ok(bytes) if recognises(partition, bytes, checkpoint.event_id)) {
            return Ok((None, false));
        }
    }
    let state = serde_json::from_slice(&checkpoint.state)
        .map_err(|source| Error::Checkpoint { partition, source })?;
    Ok((Some((state, checkpoint)), expired))
}

async fn revision_of(shared: &Shared, partition: Partition) -> Result<u64, Error> {
    let checkpoint = shared.checkpoints.load(partition).await?;
    Ok(checkpoint.map_or(0, |checkpoint| checkpoint.revision()))
}

/// The bytes as they are; under the ablation of deterministic ids, with a random one.
fn identified(bytes: Vec<u8>) -> Bytes {
    if failpoint::ablated("ids")
        && let Ok(mut event) = nexus_contracts::RawEvent::decode(&bytes)
    {
        event.id = Uuid::now_v7();
        return event.encode().into();
    }
    bytes.into()
}
