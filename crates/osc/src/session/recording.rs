//! What clients say to other addresses than ours, and how much of it is kept.

use nexus_contracts::{TenantId, Timestamp};
use uuid::Uuid;

use super::Table;
use crate::peer::Peer;

/// Packets of one session that are recorded in one second: a knob that is turned sends a hundred.
const PER_SECOND: u32 = 500;
const SECOND_MS: u64 = 1000;

/// What one session has had recorded in the current second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Timestamp>,
    count: u32,
    /// When the client was last told that something is missing.
    told: Option<Timestamp>,
}

impl Pace {
    fn may_tell(&mut self, now: Timestamp) -> bool {
        let may = self.told.is_none_or(|told| now.millis_since(told) >= SECOND_MS);
        if may {
            self.told = Some(now);
        }
        may
    }
}

/// What becomes of a packet for other addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recording {
    /// It is recorded, as this session's.
    Take(Taken),
    /// Too many came, and the client has not been told in the last second.
    TooMany,
    /// Too many came.
    Drop,
    /// Nobody who is known speaks from there.
    Stranger,
}

/// Whose packet is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) session: Uuid,
    pub(crate) client: String,
    pub(crate) tenant: TenantId,
    pub(crate) user: String,
}

impl Table {
    /// Whether a packet from there is recorded; its session lives on.
    pub(crate) fn record(&mut self, source: Peer, now: Timestamp) -> Recording {
        let Some(id) = self.at(source, now).next().map(|(id, _)| id) else {
            return Recording::Stranger;
        };
        self.renew(id, source, now);
        let Some(session) = self.sessions.get_mut(&id) else { return Recording::Stranger };
        let pace = &mut session.recording;
        if pace.since.is_none_or(|since| now.millis_since(since) >= SECOND_MS) {
            *pace = Pace { since: Some(now), count: 0, told: pace.told };
        }
        pace.count = pace.count.saturating_add(1);
        if pace.count <= PER_SECOND {
            return Recording::Take(Taken {
                session: id,
                client: session.client.clone(),
                tenant: session.tenant,
                user: session.user.clone(),
            });
        }
        if pace.may_tell(now) { Recording::TooMany } else { Recording::Drop }
    }

    /// Whether a client is told that a packet is missing: once a second.
    pub(crate) fn may_tell(&mut self, id: Uuid, now: Timestamp) -> bool {
        self.sessions.get_mut(&id).is_some_and(|session| session.recording.may_tell(now))
    }
}
