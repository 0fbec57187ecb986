//! Who is connected, and what they have asked. Pure: time comes in.
//!
//! Invariants: only the address that said hello speaks for a session, and only it is answered;
//! sessions, requests and the answers kept for `resend` are bounded.

mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use nexus_contracts::{TenantId, Timestamp, Token, derived_id, edge_id};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::answer::Answer;
use crate::protocol::Hello;
use crate::server::Speaker;
pub(crate) use requests::Asked;

/// How long an answer can be asked for again, in milliseconds.
const KEPT_MS: u64 = 600_000;
/// Bytes of all kept answers; the oldest go first.
const KEPT_BYTES: usize = 64 << 20;

/// A client that has shown its key.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the client calls it: only who has the key can make it.
    pub(crate) wire: String,
    pub(crate) tenant: TenantId,
    pub(crate) user: String,
    /// Where replies go.
    pub(crate) reply: SocketAddr,
    /// Where its last datagram came from; same host as `reply`.
    source: SocketAddr,
    expires: Timestamp,
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
}

/// All sessions and their requests.
#[derive(Debug)]
pub(crate) struct Table {
    lease_ms: u64,
    max_sessions: usize,
    sessions: HashMap<Uuid, Session>,
    wires: HashMap<String, Uuid>,
    requests: HashMap<Uuid, Request>,
    /// Requests with something to send.
    due: BTreeSet<Uuid>,
}

/// What a client calls its session: the same after a restart, for the same key.
pub(crate) fn wire_name(hello: &Hello) -> String {
    let digest = hash(&["nexus osc session", &hello.token, &hello.client]);
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
        source: SocketAddr,
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
        let port = if hello.reply_port == 0 { source.port() } else { hello.reply_port };
        let wire = wire_name(hello);
        let requests = match self.sessions.remove(&id) {
            Some(old) => {
                self.wires.remove(&old.wire);
                old.requests
            }
            None => VecDeque::new(),
        };
        self.wires.insert(wire.clone(), id);
        let session = Session {
            wire,
            tenant: speaker.tenant,
            user: speaker.user.clone(),
            reply: SocketAddr::new(source.ip(), port),
            source,
            expires: now.plus_millis(self.lease_ms),
            requests,
        };
        Some(self.sessions.entry(id).insert_entry(session).into_mut())
    }

    /// The session of that name, if it may speak from there; it lives on then.
    pub(crate) fn touch(&mut self, wire: &str, source: SocketAddr, now: Timestamp) -> Option<Uuid> {
        let id = *self.wires.get(wire)?;
        let expires = now.plus_millis(self.lease_ms);
        let session = self.sessions.get_mut(&id)?;
        if session.expires <= now || session.source.ip() != source.ip() {
            return None;
        }
        session.source = source;
        session.expires = expires;
        Some(id)
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
        source: SocketAddr,
        now: Timestamp,
    ) -> impl Iterator<Item = (Uuid, &Session)> {
        let there = move |session: &Session| session.source == source && session.expires > now;
        self.sessions
            .iter()
            .filter(move |(_, session)| there(session))
            .map(|(id, session)| (*id, session))
    }

    /// Id of the run that a session's request is.
    pub(crate) fn run(&self, id: Uuid, channel: &Token, req: &str) -> Option<Uuid> {
        self.sessions.get(&id).map(|session| edge_id(session.tenant, channel, &id.to_string(), req))
    }

    /// Forgets sessions whose lease has ended, and answers that have been kept long enough.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let (sessions, requests) = (&mut self.sessions, &mut self.requests);
        sessions.retain(|_, session| session.expires > now);
        self.wires.retain(|_, id| sessions.contains_key(id));
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
