//! From packets to calls: at once, at their time, or kept for others.

use nexus_contracts::Timestamp;
use nexus_osc_codec::framing::FrameError;
use nexus_osc_codec::{Message, Timed, decode, encode_message};
use uuid::Uuid;

use super::calls::Origin;
use super::{LIMITS, Server};
use crate::peer::Peer;
use crate::protocol::{Addressed, Call, Method, Refusal};
use crate::recording::{self, Recorded};
use crate::schedule::{Due, Held, MAX_AHEAD_MS};
use crate::session::{Recording, Taken};

impl Server {
    pub(super) fn packet(&mut self, bytes: &[u8], source: Peer) {
        let mut origin = Origin { source, allowance: bytes.len() };
        let messages = match decode(bytes, &LIMITS) {
            Ok(messages) => messages,
            Err(error) => {
                let refusal = Refusal::new("", "malformed", error.to_string());
                return self.unread(&mut origin, &refusal);
            }
        };
        let now = (self.now)();
        let late = messages.iter().filter(|timed| Due::of(timed.due, now) == Due::Late).count();
        metrics::counter!("nexus_osc_late_messages_total").increment(late as u64);
        if messages.iter().any(|timed| Due::of(timed.due, now) == Due::TooFar) {
            let message =
                format!("a time tag lies over {MAX_AHEAD_MS} ms ahead; is the clock right?");
            return self.unread(&mut origin, &Refusal::new("", "time_tag", message));
        }
        metrics::counter!("nexus_osc_packets_total", "result" => "read").increment(1);
        let mut elsewhere = Vec::new();
        for timed in messages {
            match Method::addressed(&timed.message.address) {
                Addressed::Methods(methods) => self.methods(&methods, timed, &mut origin),
                Addressed::Elsewhere => elsewhere.push(timed),
                Addressed::Nothing => self.refuse(&mut origin, None, &unknown_address()),
                Addressed::Malformed(error) => {
                    let refusal = Refusal::new("", "bad_address", error.to_string());
                    self.refuse(&mut origin, None, &refusal);
                }
            }
        }
        if !elsewhere.is_empty() {
            self.record(&elsewhere, &mut origin);
        }
    }

    /// Part of a stream that is no packet.
    pub(super) fn broken(&mut self, source: Peer, error: FrameError) {
        let refusal = Refusal::new("", "malformed", error.to_string());
        // Whoever has a connection has shown where it is, so its answer needs no allowance.
        self.unread(&mut Origin { source, allowance: usize::MAX }, &refusal);
    }

    fn unread(&mut self, origin: &mut Origin, refusal: &Refusal) {
        metrics::counter!("nexus_osc_packets_total", "result" => refusal.code).increment(1);
        self.refuse(origin, None, refusal);
    }

    fn methods(&mut self, methods: &[Method], timed: Timed, origin: &mut Origin) {
        let at = match Due::of(timed.due, (self.now)()) {
            Due::At(at) => at,
            Due::Now | Due::Late | Due::TooFar => {
                return self.call_all(methods, &timed.message, origin);
            }
        };
        // Only who has a session takes up memory.
        let Some(session) = self.session_of(methods, &timed.message, origin.source) else {
            let refusal = Refusal::new("", "unknown_session", "say hello first, and at once");
            return self.refuse(origin, None, &refusal);
        };
        let bytes = size(&timed.message);
        let held = Held { session, source: origin.source, message: timed.message, bytes };
        if self.schedule.hold(at, held) {
            metrics::counter!("nexus_osc_held_total").increment(1);
        } else {
            let refusal = Refusal::new("", "busy", "too many messages wait for their time");
            self.refuse(origin, None, &refusal);
        }
    }

    fn call_all(&mut self, methods: &[Method], message: &Message, origin: &mut Origin) {
        for method in methods {
            let call = Call::read(*method, &message.arguments);
            if let Err(refusal) = call.and_then(|call| self.call(call, origin)) {
                self.refuse(origin, None, &refusal);
            }
        }
    }

    /// The session that a call names, or else the one that speaks from there.
    fn session_of(&self, methods: &[Method], message: &Message, source: Peer) -> Option<Uuid> {
        let now = (self.now)();
        let calls =
            methods.iter().filter_map(|method| Call::read(*method, &message.arguments).ok());
        let mut named =
            calls.filter_map(|call| self.table.named(call.session()?, source.host(), now));
        named.next().or_else(|| self.table.at(source, now).next().map(|(id, _)| id))
    }

    /// Carries out what waited for this moment.
    pub(super) fn take_held(&mut self) {
        while let Some(held) = self.schedule.take_due((self.now)()) {
            let mut origin = Origin { source: held.source, allowance: 0 };
            if let Addressed::Methods(methods) = Method::addressed(&held.message.address) {
                self.call_all(&methods, &held.message, &mut origin);
            }
        }
    }

    /// Keeps messages for other addresses, one event for each packet.
    fn record(&mut self, messages: &[Timed], origin: &mut Origin) {
        let now = (self.now)();
        let (code, message) = match self.table.record(origin.source, now) {
            Recording::Take(taken) => {
                self.recheck(taken.session, now);
                if self.queued(&taken, messages, now) {
                    return;
                }
                let told = self.table.may_tell(taken.session, now);
                ("busy", told.then_some("packets come faster than they are stored"))
            }
            Recording::TooMany => ("rate", Some("too many packets a second are not recorded")),
            Recording::Drop => ("rate", None),
            Recording::Stranger => return self.refuse(origin, None, &unknown_address()),
        };
        metrics::counter!("nexus_osc_not_recorded_total", "code" => code).increment(1);
        if let Some(message) = message {
            self.refuse(origin, None, &Refusal::new("", code, message));
        }
    }

    /// Whether the packet is on its way to the log.
    fn queued(&self, taken: &Taken, messages: &[Timed], now: Timestamp) -> bool {
        let event = recording::event(Uuid::now_v7(), taken, &self.channel, messages, now);
        event.ok().zip(self.recorder.as_ref()).is_some_and(|(event, queue)| {
            queue.try_send(Recorded { session: taken.session, event }).is_ok()
        })
    }
}

/// About what a message takes in memory.
fn size(message: &Message) -> usize {
    size_of::<Held>() + encode_message(message).map_or(0, |bytes| 2 * bytes.len())
}

fn unknown_address() -> Refusal {
    let known = "known addresses: /nexus/1/hello, ask, resend, cancel, ping; others after hello";
    Refusal::new("", "unknown_address", known)
}
