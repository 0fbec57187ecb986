//! What was sent and heard, as events in the conversation that is named after the target.

use nexus_bus::{Bus, Chain};
use nexus_contracts::{
    Event, Metadata, OscMessage, OscReceived, OscSent, TenantId, Timestamp, Token, derived_id,
};
use nexus_osc_codec::{Message, TimeTag, Timed};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{CHANNEL, recorded};
use crate::tool::CallContext;

/// Packets that wait to be stored; more are dropped and counted.
const WAITING: usize = 256;

/// Where a target's events go.
#[derive(Debug)]
pub(crate) struct Log {
    bus: Bus,
    peer: String,
    place: Metadata,
    now: fn() -> Timestamp,
    waiting: mpsc::Sender<Event<OscReceived>>,
}

/// Stores what was heard, in its order.
#[derive(Debug)]
pub(crate) struct Recorder {
    bus: Bus,
    waiting: mpsc::Receiver<Event<OscReceived>>,
}

impl Log {
    /// # Errors
    /// Why the target's name cannot name a conversation.
    pub(crate) fn new(
        bus: &Bus,
        peer: &str,
        tenant: TenantId,
        now: fn() -> Timestamp,
    ) -> Result<(Self, Recorder), String> {
        let token = |text| Token::encode(text).map_err(|error| error.to_string());
        let place = Metadata::at(tenant, token(CHANNEL)?, token(peer)?);
        let (sender, waiting) = mpsc::channel(WAITING);
        let log = Self { bus: bus.clone(), peer: peer.to_owned(), place, now, waiting: sender };
        Ok((log, Recorder { bus: bus.clone(), waiting }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Keeps what a call has sent. The id follows from the call and the send's number in it, so a
    /// repeated delivery adds nothing.
    pub(crate) async fn sent(
        &self,
        context: &CallContext,
        number: usize,
        messages: &[Message],
        due_us: i64,
    ) {
        let id = derived_id(context.call, &format!("osc.sent.{number}"));
        let place = Metadata {
            user: context.user.clone(),
            causation_id: Some(context.call),
            ..self.place.clone()
        };
        let messages = messages.iter().map(|message| kept(message, due_us)).collect();
        let sent = OscSent { peer: self.peer.clone(), messages };
        let event = Event::new(id, context.run, place, self.now(), sent);
        if let Err(error) = self.bus.publish(&event).await {
            // It has been sent: the call must not fail, or it would be made again.
            tracing::error!(target_name = %self.peer, error = %Chain(&error), "what was sent over osc is not recorded");
        }
    }

    /// Hands over what was heard; whether there was room.
    pub(crate) fn heard(&self, packet: &[Timed], at: Timestamp) -> bool {
        let due_us = |due: TimeTag| {
            if due.is_immediate() { 0 } else { due.unix_micros() - at.as_micros() }
        };
        let messages = packet.iter().map(|timed| kept(&timed.message, due_us(timed.due)));
        let received = OscReceived { peer: self.peer.clone(), messages: messages.collect() };
        let id = Uuid::now_v7();
        let event = Event::new(id, id, self.place.clone(), at, received);
        self.waiting.try_send(event).is_ok()
    }
}

impl Recorder {
    /// Works until the target's link is gone.
    pub(crate) async fn run(mut self) {
        while let Some(event) = self.waiting.recv().await {
            if let Err(error) = self.bus.publish(&event).await {
                tracing::error!(target_name = %event.payload.peer, error = %Chain(&error), "a packet that was heard over osc is not recorded");
            }
        }
    }
}

fn kept(message: &Message, due_us: i64) -> OscMessage {
    OscMessage {
        address: message.address.clone(),
        arguments: message.arguments.iter().map(recorded).collect(),
        due_us,
    }
}
