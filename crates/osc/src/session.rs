//! Who is connected, and what they have asked. Pure: time comes in.
//!
//! Invariants: only the host that said hello speaks for a session, and only it is answered; a key
//! is asked about again while its session lives; sessions, requests and the answers kept for
//! `resend` are bounded, and nothing is kept of those who have no session.

mod recording;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use nexus_contracts::{TenantId, Timestamp, Token, derived_id, edge_id};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::answer::Answer;
use crate::peer::Peer;
use crate::protocol::{Hello, Key};
use crate::speaker::Speaker;
pub(crate) use recording::{Recording, Taken};
pub(crate) use requests::{Asked, GATHER_MS};

/// How long an answer can be asked for again, in milliseconds.
const KEPT_MS: u64 = 600_000;
/// Bytes of all kept answers; the oldest go first.
const KEPT_BYTES: usize = 64 << 20;
/// Between two looks at the key of a session that goes on: with heartbeats every 20 s, a revoked
/// key ends its session within a minute.
const RECHECK_MS: u64 = 30_000;

/// A client that has shown its key.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the client calls it: only who has the key can make it.
    pub(crate) wire: String,
    /// The client's own name.
    pub(crate) client: String,
    pub(crate) tenant: TenantId,
    pub(crate) user: String,
    key: Key,
    /// When the key was last asked about.
    checked: Timestamp,
    /// Where replies go.
    pub(crate) reply: Peer,
    /// Where its last packet came from; same host as `reply`.
    source: Peer,
    expires: Timestamp,
    recording: recording::Pace,
    /// Runs, oldest first.
    requests: VecDeque<Uuid>,
}

/// Something that a session has asked.
#[derive(Debug)]
pub(crate) struct Request {
    session: Uuid,
    pub(crate) req: String,
    pub(crate) tenant: TenantId,
    pub(crate) conversation: Token,
    digest: [u8; 32],
    /// The event is stored.
    accepted: bool,
    answer: Answer,
    ended: Option<Timestamp>,
    /// Nothing of the answer is sent before.
    quiet_until: Timestamp,
}

/// All sessions and their requests.
#[derive(Debug)]
pub(crate) struct Table {
    lease_ms: u64,
    max_sessions: usize,
    sessions: HashMap<Uuid, Session>,
    wires: HashMap<String, Uuid>,
    /// Sessions by where they last spoke from.
    sources: HashMap<Peer, Vec<Uuid>>,
    requests: HashMap<Uuid, Request>,
    /// Requests with something to send.
    due: BTreeSet<Uuid>,
}

/// What a client calls its session: the same after a restart, for the same key.
pub(crate) fn wire_name(hello: &Hello) -> String {
    let digest = hash(&["nexus osc session", &hello.token.0, &hello.client]);
    Uuid::from_slice(&digest[..16]).unwrap_or_default().simple().to_string()
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Table {
    pub(crate) fn new(lease_ms: u64, max_sessions: usize) -> Self {
        Self {
            lease_ms,
            max_sessions,
            sessions: HashMap::new(),
            wires: HashMap::new(),
            sources: HashMap::new(),
            requests: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Opens a session or finds it again; `None` when there are too many.
    pub(crate) fn hello(
        &mut self,
        speaker: &Speaker,
        hello: &Hello,
        channel: &Token,
        source: Peer,
        now: Timestamp,
    ) -> Option<&Session> {
        // Another key of the same user finds the same session, so that no request is asked twice.
        let id = derived_id(
            edge_id(speaker.tenant, channel, &speaker.user, &hello.client),
            "osc.session",
        );
        if !self.sessions.contains_key(&id) && self.sessions.len() >= self.max_sessions {
            self.expire(now);
            if self.sessions.len() >= self.max_sessions {
                return None;
            }
        }
        let wire = wire_name(hello);
        let (requests, recording) = match self.close(id) {
            Some(old) => (old.requests, old.recording),
            None => Default::default(),
        };
        self.wires.insert(wire.clone(), id);
        self.sources.entry(source).or_default().push(id);
        let session = Session {
            wire,
            client: hello.client.clone(),
            tenant: speaker.tenant,
            user: speaker.user.clone(),
            key: hello.token.clone(),
            checked: now,
            reply: source.replying_to(hello.reply_port),
            source,
            expires: now.plus_millis(self.lease_ms),
            recording,
            requests,
        };
        Some(self.sessions.entry(id).insert_entry(session).into_mut())
    }

    /// The session of that name, if it may speak from that host.
    pub(crate) fn named(&self, wire: &str, host: IpAddr, now: Timestamp) -> Option<Uuid> {
        let id = *self.wires.get(wire)?;
        let session = self.sessions.get(&id)?;
        (session.expires > now && session.source.host() == host).then_some(id)
    }

    /// As [`Self::named`]; the session lives on then, and is answered where it speaks.
    pub(crate) fn touch(&mut self, wire: &str, source: Peer, now: Timestamp) -> Option<Uuid> {
        let id = self.named(wire, source.host(), now)?;
        self.renew(id, source, now);
        Some(id)
    }

    fn renew(&mut self, id: Uuid, source: Peer, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.expires = now.plus_millis(self.lease_ms);
        // Over UDP replies go to the port that was named, whichever port was spoken from.
        if !matches!((session.reply, source), (Peer::Udp(_), Peer::Udp(_))) {
            session.reply = source;
        }
        let before = std::mem::replace(&mut session.source, source);
        if before != source {
            self.leave(before, id);
            self.sources.entry(source).or_default().push(id);
        }
    }

    /// Forgets that a session spoke from there.
    fn leave(&mut self, source: Peer, id: Uuid) {
        if let Some(there) = self.sources.get_mut(&source) {
            there.retain(|other| *other != id);
            if there.is_empty() {
                self.sources.remove(&source);
            }
        }
    }

    /// Takes a session out; what it has asked stays until the next [`Self::expire`].
    fn close(&mut self, id: Uuid) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.wires.remove(&session.wire);
        self.leave(session.source, id);
        Some(session)
    }

    /// The key of a session, when it is time to ask about it again; said once each time.
    pub(crate) fn key_to_check(&mut self, id: Uuid, now: Timestamp) -> Option<Key> {
        let session = self.sessions.get_mut(&id)?;
        (now.millis_since(session.checked) >= RECHECK_MS).then(|| {
            session.checked = now;
            session.key.clone()
        })
    }

    /// The key could not be looked up: at the next message it is tried again.
    pub(crate) fn check_soon(&mut self, id: Uuid) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.checked = Timestamp::from_micros(0);
        }
    }

    /// Ends a session whose key opens nothing any more, unless it has another key by now.
    pub(crate) fn revoke(&mut self, id: Uuid, key: &Key) -> Option<Session> {
        self.sessions.get(&id).filter(|session| session.key == *key)?;
        self.requests.retain(|_, request| request.session != id);
        self.close(id)
    }

    /// Whether a session of that name is open.
    pub(crate) fn knows(&self, wire: &str) -> bool {
        self.wires.contains_key(wire)
    }

    pub(crate) fn session(&self, id: Uuid) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Sessions that last spoke from exactly there.
    pub(crate) fn at(
        &self,
        source: Peer,
        now: Timestamp,
    ) -> impl Iterator<Item = (Uuid, &Session)> {
        let there = self.sources.get(&source).into_iter().flatten();
        there
            .filter_map(|id| Some((*id, self.sessions.get(id)?)))
            .filter(move |(_, session)| session.expires > now)
    }

    /// Id of the run that a session's request is.
    pub(crate) fn run(&self, id: Uuid, channel: &Token, req: &str) -> Option<Uuid> {
        self.sessions.get(&id).map(|session| edge_id(session.tenant, channel, &id.to_string(), req))
    }

    /// Forgets sessions whose lease has ended, and answers that have been kept long enough.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let ended = self.sessions.iter().filter(|(_, session)| session.expires <= now);
        for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(id);
        }
        let (sessions, requests) = (&mut self.sessions, &mut self.requests);
        requests.retain(|_, request| {
            let kept = request.ended.is_none_or(|ended| now.millis_since(ended) < KEPT_MS);
            kept && sessions.contains_key(&request.session)
        });
        let mut bytes: usize = requests.values().map(|request| request.answer.bytes()).sum();
        if bytes > KEPT_BYTES {
            let ended = requests.iter().filter_map(|(run, request)| Some((request.ended?, *run)));
            for (_, run) in ended.collect::<BTreeSet<_>>() {
                if bytes <= KEPT_BYTES {
                    break;
                }
                bytes -= requests.remove(&run).map_or(0, |request| request.answer.bytes());
            }
        }
        for session in sessions.values_mut() {
            session.requests.retain(|run| requests.contains_key(run));
        }
        self.due.retain(|run| requests.contains_key(run));
    }

    /// Open sessions and remembered requests.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.requests.len())
    }
}
