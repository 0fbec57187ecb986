//! Packets for other addresses than ours, kept as events: with their types and their timing, so that
//! they can be sent again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use nexus_bus::{Bus, Chain};
use nexus_contracts::{
    Event, Metadata, OscArgument, OscMessage, OscReceived, Timestamp, Token, TokenError,
    traceparent,
};
use nexus_osc_codec::{Argument, Timed};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::schedule::Due;
use crate::session::Taken;

/// Events that wait for their confirmation at once.
const IN_FLIGHT: usize = 64;

/// A packet on its way to the log.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) session: Uuid,
    pub(crate) event: Event<OscReceived>,
}

/// A packet that could not be stored.
#[derive(Debug)]
pub(crate) struct NotRecorded {
    pub(crate) session: Uuid,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// The event that a packet is, in the conversation of its session.
pub(crate) fn event(
    id: Uuid,
    taken: &Taken,
    channel: &Token,
    messages: &[Timed],
    at: Timestamp,
) -> Result<Event<OscReceived>, TokenError> {
    let conversation = Token::encode(&taken.session.to_string())?;
    let metadata = Metadata {
        user: Some(taken.user.clone()),
        traceparent: Some(traceparent(id, id)),
        ..Metadata::at(taken.tenant, channel.clone(), conversation)
    };
    let messages = messages.iter().map(|timed| message(timed, at)).collect();
    let payload = OscReceived { peer: taken.client.clone(), messages };
    Ok(Event::new(id, id, metadata, at, payload))
}

fn message(timed: &Timed, at: Timestamp) -> OscMessage {
    let due_us = match Due::of(timed.due, at) {
        Due::Now | Due::Late => 0,
        Due::At(due) => due.as_micros() - at.as_micros(),
        // Such packets are refused before.
        Due::TooFar => 0,
    };
    let arguments = timed.message.arguments.iter().map(argument).collect();
    OscMessage { address: timed.message.address.clone(), arguments, due_us }
}

/// Calls itself for arrays, which the decoder's limit keeps flat.
fn argument(argument_: &Argument) -> OscArgument {
    match argument_ {
        Argument::Int(int) => OscArgument::Int(*int),
        Argument::Long(long) => OscArgument::Long(long.to_string()),
        Argument::Float(float) if float.is_finite() => OscArgument::Float(*float),
        Argument::Double(double) if double.is_finite() => OscArgument::Double(*double),
        // JSON has no such numbers; a text at least says what came.
        Argument::Float(float) => OscArgument::String(float.to_string()),
        Argument::Double(double) => OscArgument::String(double.to_string()),
        Argument::String(text) => OscArgument::String(text.clone()),
        Argument::Symbol(text) => OscArgument::Symbol(text.clone()),
        Argument::Blob(blob) => OscArgument::Blob(STANDARD.encode(blob)),
        Argument::TimeTag(tag) => OscArgument::TimeTag(tag.0.to_string()),
        Argument::Char(char) => OscArgument::Char(*char),
        Argument::Color(color) => OscArgument::Color(*color),
        Argument::Midi(midi) => OscArgument::Midi(*midi),
        Argument::True => OscArgument::Bool(true),
        Argument::False => OscArgument::Bool(false),
        Argument::Nil => OscArgument::Nil,
        Argument::Impulse => OscArgument::Impulse,
        Argument::Array(array) => OscArgument::Array(array.iter().map(argument).collect()),
    }
}

/// Stores packets in their order until there are no more, and reports those that cannot be.
pub(crate) async fn run(
    bus: Bus,
    mut packets: mpsc::Receiver<Recorded>,
    mut failed: impl AsyncFnMut(NotRecorded),
) {
    let mut storing = FuturesOrdered::new();
    let mut open = true;
    while open || !storing.is_empty() {
        tokio::select! {
            packet = packets.recv(), if open && storing.len() < IN_FLIGHT => match packet {
                Some(packet) => storing.push_back(store(&bus, packet)),
                None => open = false,
            },
            Some(stored) = storing.next() => match stored {
                Ok(()) => metrics::counter!("nexus_osc_recorded_total").increment(1),
                Err(not) => failed(not).await,
            },
        }
    }
}

async fn store(bus: &Bus, packet: Recorded) -> Result<(), NotRecorded> {
    let Recorded { session, event } = packet;
    bus.publish(&event).await.map(drop).map_err(|error| {
        tracing::warn!(error = %Chain(&error), event_id = %event.id, "an OSC packet could not be recorded");
        NotRecorded { session, code: error.code(), message: error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use nexus_contracts::LOCAL_TENANT;
    use nexus_osc_codec::{Message, TimeTag};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_packet_keeps_its_types_and_its_timing() {
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        let due = |micros| TimeTag::from_unix_micros(at.as_micros() + micros);
        let all = vec![
            Argument::Int(1),
            Argument::Long(1 << 53),
            Argument::Float(0.5),
            Argument::Float(f32::NAN),
            Argument::Symbol("s".to_owned()),
            Argument::Blob(vec![0, 255]),
            Argument::TimeTag(TimeTag(1)),
            Argument::True,
            Argument::Array(vec![Argument::Nil, Argument::Impulse]),
        ];
        let messages = [
            Timed { due: due(250_000), message: Message::new("/note", all) },
            Timed { due: due(-5), message: Message::new("/late", Vec::new()) },
        ];
        let taken = Taken {
            session: Uuid::from_u128(7),
            client: "pd".to_owned(),
            tenant: LOCAL_TENANT,
            user: "ada".to_owned(),
        };
        let channel = Token::parse("osc").unwrap();
        let event = event(Uuid::from_u128(9), &taken, &channel, &messages, at).unwrap();
        assert_eq!(event.metadata.conversation.as_str(), Uuid::from_u128(7).to_string());
        assert_eq!(event.metadata.user.as_deref(), Some("ada"));
        let payload: serde_json::Value = serde_json::from_slice(&event.encode()).unwrap();
        assert_eq!(
            payload["payload"],
            json!({ "peer": "pd", "messages": [
                { "address": "/note", "due_us": 250_000, "arguments": [
                    { "type": "int", "value": 1 },
                    { "type": "long", "value": "9007199254740992" },
                    { "type": "float", "value": 0.5 },
                    { "type": "string", "value": "NaN" },
                    { "type": "symbol", "value": "s" },
                    { "type": "blob", "value": "AP8=" },
                    { "type": "time_tag", "value": "1" },
                    { "type": "bool", "value": true },
                    { "type": "array", "value": [{ "type": "nil" }, { "type": "impulse" }] },
                ]},
                { "address": "/late" },
            ]})
        );
    }
}
