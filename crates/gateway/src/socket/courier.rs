//! Brings the calls of one run to the programs that run its tools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Chain, Message};
use nexus_contracts::{
    Event, EventType, ProcessedRequest, StoredSubject, ToolExecute, ToolOutcome, ToolResult,
    ToolSpec,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::accept::{self, ClientCall};
use crate::app::App;
use crate::hub::{Item, Subscription};
use crate::keys::Principal;
use crate::room::Room;

use super::answer::failed;
use super::clients::{Client, Delivery};
use super::dialect::Call;
use super::offer::Offer;

/// The tools that a request offers, each with the client that runs it.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers(Vec<(Client, Arc<Offer>)>);

impl Offers {
    pub(super) fn new(offers: Vec<(Client, Arc<Offer>)>) -> Self {
        Self(offers)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the request; of two tools with one name, the first counts.
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        let mut specs: Vec<ToolSpec> = Vec::new();
        for (client, offer) in &self.0 {
            for spec in offer.specs(&client.name()) {
                if !specs.iter().any(|known| known.name == spec.name) {
                    specs.push(spec);
                }
            }
        }
        specs
    }

    fn of(&self, client: &str) -> Option<&(Client, Arc<Offer>)> {
        self.0.iter().find(|(known, _)| known.name() == client)
    }
}

/// Follows one run until it ends, whether or not somebody still watches it.
pub(super) struct Courier {
    pub(super) app: Arc<App>,
    pub(super) who: Principal,
    pub(super) room: Room,
    pub(super) offers: Offers,
    /// Begun before the request was stored, so that nothing is missed.
    pub(super) subscription: Subscription,
}

impl Courier {
    /// Brings this run's calls to their clients, and tells the model where that cannot be.
    pub(super) async fn carry(mut self, run: Uuid) {
        if !self.app.clients.carry(run) {
            return;
        }
        let mut open: BTreeMap<Uuid, Instant> = BTreeMap::new();
        loop {
            let due = open.values().min().copied();
            let item = tokio::select! {
                () = self.app.stop.cancelled() => break,
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    let now = Instant::now();
                    open.extract_if(.., |_, due| *due <= now).for_each(|(call, _)| self.expired(call));
                    continue;
                }
                item = self.subscription.next() => item,
            };
            let message = match item {
                Some(Item::Event(message)) => message,
                Some(Item::Chunk(_)) => continue,
                None => {
                    tracing::warn!(%run, "lost sight of a run; its clients' tools will time out");
                    break;
                }
            };
            match kind(&message) {
                Some(EventType::ToolsExecute) => {
                    if let Some((call, allowed)) = self.execute(run, &message).await {
                        open.insert(call, Instant::now() + allowed);
                    }
                }
                Some(EventType::ToolsResults) => {
                    if let Ok(event) = Event::<ToolResult>::decode(&message.bytes) {
                        open.remove(&event.payload.call);
                        self.app.clients.close(event.payload.call);
                    }
                }
                Some(EventType::RequestsProcessed) => {
                    let event = Event::<ProcessedRequest>::decode(&message.bytes);
                    if event.is_ok_and(|event| event.payload.request == run) {
                        break;
                    }
                }
                _ => {}
            }
        }
        for call in open.into_keys() {
            self.app.clients.close(call);
        }
        self.app.clients.carried(run);
    }

    /// Sends a call to its client; how long it may take, when it was sent or waits.
    async fn execute(&self, run: Uuid, message: &Message) -> Option<(Uuid, Duration)> {
        let event = Event::<ToolExecute>::decode(&message.bytes).ok()?;
        let execute = event.payload.known;
        let client = execute.client.as_deref()?;
        if event.correlation_id != run {
            return None;
        }
        let (client, offer) = self.offers.of(client)?;
        let ours = ClientCall { run, call: event.id, tool: execute.tool.clone() };
        let arguments = match offer.check(&execute.tool, &execute.arguments) {
            Ok(arguments) => arguments,
            Err(outcome) => {
                metrics::counter!("nexus_gateway_client_calls_total", "end" => "refused")
                    .increment(1);
                self.answer(ours, outcome).await;
                return None;
            }
        };
        let call = Call {
            conversation: self.room.name.clone(),
            run,
            call: event.id,
            tool: execute.tool,
            arguments,
            timeout_ms: execute.timeout_ms,
            device: match client {
                Client::Device(device) => Some(device.clone()),
                Client::Connection(_) => None,
            },
        };
        match self.app.clients.deliver(&self.who, client, &self.room, call) {
            Delivery::Sent | Delivery::Waits => {
                Some((event.id, Duration::from_millis(execute.timeout_ms)))
            }
            Delivery::Gone => {
                self.answer(ours, gone()).await;
                None
            }
        }
    }

    async fn answer(&self, call: ClientCall, outcome: ToolOutcome) {
        answer(&self.app, &self.who, &self.room, call, outcome).await;
    }

    /// The engine has given the call up by now.
    fn expired(&self, call: Uuid) {
        if self.app.clients.close(call) {
            metrics::counter!("nexus_gateway_client_calls_total", "end" => "expired").increment(1);
            tracing::info!(%call, "a client did not answer a call in time");
        }
    }
}

/// Publishes what came of a call; one that cannot be published times out.
pub(super) async fn answer(
    app: &App,
    who: &Principal,
    room: &Room,
    call: ClientCall,
    outcome: ToolOutcome,
) {
    let id = call.call;
    let now = (app.now)();
    let done = accept::answer_call(&app.bus, &app.channel, who, room, call, outcome, now).await;
    if let Err(error) = done {
        tracing::warn!(call = %id, error = %Chain(&error), "the result of a client's tool was not stored");
    }
}

/// What the model is told when the client has left.
pub(super) fn gone() -> ToolOutcome {
    failed("client_gone", "the program that runs this tool has disconnected")
}

fn kind(message: &Message) -> Option<EventType> {
    StoredSubject::parse(&message.subject).ok()?.kind.parse().ok()
}
