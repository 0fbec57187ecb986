//! What sessions have asked, and what they are told.

use nexus_contracts::{InferenceChunk, Outcome, TenantId, Timestamp, Token};
use uuid::Uuid;

use super::{Request, Table, hash};
use crate::answer::Answer;
use crate::peer::Peer;
use crate::protocol::Ask;

/// Requests that a session remembers, those in flight included.
pub(super) const KEPT_REQUESTS: usize = 64;
/// Datagrams of one answer in one flush: about a megabyte a second, which clients' buffers hold.
const BURST: usize = 32;
/// Token messages of one request are gathered for so long: 30 a second.
pub(crate) const GATHER_MS: u64 = 1000 / 30;

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is to be published.
    New,
    /// It is being published.
    Pending,
    /// It was accepted; its answer is sent again as far as it is known.
    Repeated,
    /// The same name, but another question.
    Conflict,
    TooMany,
}

impl Table {
    pub(crate) fn request(&self, run: Uuid) -> Option<&Request> {
        self.requests.get(&run)
    }

    /// Where a request's session is answered.
    pub(crate) fn reply_to(&self, run: Uuid) -> Option<Peer> {
        let request = self.requests.get(&run)?;
        self.sessions.get(&request.session).map(|session| session.reply)
    }

    /// Takes a question in.
    pub(crate) fn ask(&mut self, id: Uuid, run: Uuid, conversation: &Token, ask: &Ask) -> Asked {
        let agent = ask.agent.as_deref().unwrap_or_default();
        let digest = hash(&[&ask.text, agent, conversation.as_str()]);
        if let Some(known) = self.requests.get_mut(&run) {
            if known.digest != digest {
                return Asked::Conflict;
            }
            if !known.accepted {
                return Asked::Pending;
            }
            known.answer.replay();
            self.due.insert(run);
            return Asked::Repeated;
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Asked::TooMany;
        };
        if session.requests.len() >= KEPT_REQUESTS {
            let ended =
                |run: &Uuid| self.requests.get(run).is_none_or(|request| request.ended.is_some());
            let Some(oldest) = session.requests.iter().position(ended) else {
                return Asked::TooMany;
            };
            if let Some(oldest) = session.requests.remove(oldest) {
                self.requests.remove(&oldest);
            }
        }
        session.requests.push_back(run);
        let request = Request {
            session: id,
            req: ask.req.clone(),
            tenant: session.tenant,
            conversation: conversation.clone(),
            digest,
            accepted: false,
            answer: Answer::new(&ask.req),
            ended: None,
            quiet_until: Timestamp::from_micros(0),
        };
        self.requests.insert(run, request);
        Asked::New
    }

    /// The request's event is stored: from now on its answer is sent.
    pub(crate) fn accept(&mut self, run: Uuid) -> Option<&Request> {
        let request = self.requests.get_mut(&run)?;
        request.accepted = true;
        self.due.insert(run);
        Some(request)
    }

    /// The request's event could not be stored: it may be asked again.
    pub(crate) fn withdraw(&mut self, run: Uuid) -> Option<Request> {
        let request = self.requests.remove(&run)?;
        self.due.remove(&run);
        if let Some(session) = self.sessions.get_mut(&request.session) {
            session.requests.retain(|kept| *kept != run);
        }
        Some(request)
    }

    /// A live piece; nobody's is passed over.
    pub(crate) fn chunk(&mut self, tenant: TenantId, run: Uuid, chunk: &InferenceChunk) {
        let Some(request) = self.requests.get_mut(&run).filter(|request| request.tenant == tenant)
        else {
            return;
        };
        request.answer.chunk(chunk);
        self.due.insert(run);
    }

    /// The final word; `false` when nobody waits for it.
    pub(crate) fn end(
        &mut self,
        tenant: TenantId,
        run: Uuid,
        outcome: &Outcome,
        now: Timestamp,
    ) -> bool {
        let Some(request) = self.requests.get_mut(&run).filter(|request| request.tenant == tenant)
        else {
            return false;
        };
        if request.answer.end(outcome) {
            request.ended = Some(now);
            // What is whole need not be gathered.
            request.quiet_until = now;
            self.due.insert(run);
        }
        true
    }

    /// Part of an answer once more; `None` when the request is not known.
    pub(crate) fn again(
        &self,
        run: Uuid,
        from: usize,
        to: usize,
        max: usize,
    ) -> Option<Vec<Vec<u8>>> {
        self.requests.get(&run).map(|request| request.answer.again(&request.req, from, to, max))
    }

    /// When the next datagrams are due; `None` while there is nothing to say.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let due = self.due.iter().filter_map(|run| self.requests.get(run));
        due.map(|request| request.quiet_until).min()
    }

    /// The next datagrams of every answer that has some and has been quiet for long enough.
    ///
    /// The first words of an answer and its end go out at once; what comes in between is gathered.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Vec<(Peer, Vec<u8>)> {
        let mut datagrams = Vec::new();
        for run in std::mem::take(&mut self.due) {
            let Some(request) = self.requests.get_mut(&run).filter(|request| request.accepted)
            else {
                continue;
            };
            // A clock that was set back must not silence anybody.
            if now < request.quiet_until && request.quiet_until <= now.plus_millis(GATHER_MS) {
                self.due.insert(run);
                continue;
            }
            let Some(session) = self.sessions.get(&request.session) else {
                continue;
            };
            let next = request.answer.take_due(&request.req, BURST);
            if !next.is_empty() {
                request.quiet_until = now.plus_millis(GATHER_MS);
            }
            datagrams.extend(next.into_iter().map(|datagram| (session.reply, datagram)));
            if request.answer.is_due() {
                self.due.insert(run);
            }
        }
        datagrams
    }
}
