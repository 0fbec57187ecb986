//! The programs that run tools for their user, and the calls that they have not answered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_contracts::TenantId;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::accept::ClientCall;
use crate::keys::Principal;
use crate::room::Room;

use super::dialect::{Call, Happening};
use super::offer::Offer;

/// Who runs a tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A connection, which is gone when it closes.
    Connection(Uuid),
    /// A user's device, which may come back.
    Device(String),
}

impl Client {
    /// As it stands in the events.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Connection(session) => format!("session:{session}"),
            Self::Device(device) => format!("device:{device}"),
        }
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Sent,
    /// The device is away; it gets the call when it comes back.
    Waits,
    /// The connection is closed.
    Gone,
}

/// All connected programs of this gateway. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients {
    inner: Arc<Mutex<Inner>>,
}

type Owner = (TenantId, String);

#[derive(Debug, Default)]
struct Inner {
    connections: HashMap<Uuid, mpsc::UnboundedSender<Happening>>,
    devices: HashMap<(Owner, String), Device>,
    calls: HashMap<Uuid, Open>,
    /// Runs whose calls are being brought to their clients.
    carried: HashSet<Uuid>,
}

#[derive(Debug)]
struct Device {
    /// Its connection, while it has one.
    session: Option<Uuid>,
    offer: Arc<Offer>,
}

/// A call that is not answered.
#[derive(Debug)]
struct Open {
    owner: Owner,
    client: Client,
    room: Room,
    call: Call,
}

impl Open {
    fn answer(self) -> (Room, ClientCall) {
        let Call { run, call, tool, .. } = self.call;
        (self.room, ClientCall { run, call, tool })
    }
}

fn owner(who: &Principal) -> Owner {
    (who.tenant, who.user.clone())
}

impl Clients {
    /// A connection begins.
    pub(super) fn connect(&self, session: Uuid, happenings: mpsc::UnboundedSender<Happening>) {
        self.lock().connections.insert(session, happenings);
    }

    /// A connection has ended: its own calls, which nobody will answer now.
    pub(super) fn disconnect(&self, session: Uuid) -> Vec<(Room, ClientCall)> {
        let mut inner = self.lock();
        inner.connections.remove(&session);
        let mut away = Vec::new();
        for (name, device) in &mut inner.devices {
            if device.session == Some(session) {
                device.session = None;
                away.push(name.clone());
            }
        }
        for name in away {
            inner.forget_if_idle(&name);
        }
        let lost = inner.calls.extract_if(|_, open| open.client == Client::Connection(session));
        lost.map(|(_, open)| open.answer()).collect()
    }

    /// A device is there, now on this connection; it gets the calls that it has not answered.
    pub(super) fn attach(&self, who: &Principal, session: Uuid, device: String, offer: Arc<Offer>) {
        let mut inner = self.lock();
        let client = Client::Device(device.clone());
        let name = (owner(who), device);
        if let Some(connection) = inner.connections.get(&session) {
            for open in inner.calls.values() {
                if open.owner == name.0 && open.client == client {
                    let _ = connection.send(Happening::Call(open.call.clone()));
                }
            }
        }
        inner.devices.insert(name, Device { session: Some(session), offer });
    }

    /// The user's devices that are there, with what they can do.
    pub(super) fn devices(&self, who: &Principal) -> Vec<(Client, Arc<Offer>)> {
        let (inner, owner) = (self.lock(), owner(who));
        let mine = inner
            .devices
            .iter()
            .filter(|((of, _), device)| *of == owner && device.session.is_some());
        let mut found: Vec<(String, Arc<Offer>)> =
            mine.map(|((_, name), device)| (name.clone(), Arc::clone(&device.offer))).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.into_iter().map(|(name, offer)| (Client::Device(name), offer)).collect()
    }

    /// Brings a call to its client, once.
    pub(super) fn deliver(
        &self,
        who: &Principal,
        client: &Client,
        room: &Room,
        call: Call,
    ) -> Delivery {
        let mut inner = self.lock();
        let owner = owner(who);
        let session = match client {
            Client::Connection(session) => Some(*session),
            Client::Device(device) => {
                let device = inner.devices.get(&(owner.clone(), device.clone()));
                device.and_then(|device| device.session)
            }
        };
        let connection = session.and_then(|session| inner.connections.get(&session)).cloned();
        if connection.is_none() && matches!(client, Client::Connection(_)) {
            return Delivery::Gone;
        }
        let id = call.call;
        let open = Open { owner, client: client.clone(), room: room.clone(), call: call.clone() };
        let is_new = inner.calls.insert(id, open).is_none();
        match connection {
            Some(connection) => {
                if is_new {
                    let _ = connection.send(Happening::Call(call));
                }
                Delivery::Sent
            }
            None => Delivery::Waits,
        }
    }

    /// The call that this connection answers; `None` when it may not, or when it is too late.
    pub(super) fn answered(
        &self,
        who: &Principal,
        session: Uuid,
        call: Uuid,
    ) -> Option<(Room, ClientCall)> {
        let mut inner = self.lock();
        let open = inner.calls.get(&call)?;
        let is_theirs = open.owner == owner(who)
            && match &open.client {
                Client::Connection(of) => *of == session,
                Client::Device(device) => {
                    let device = inner.devices.get(&(open.owner.clone(), device.clone()));
                    device.is_some_and(|device| device.session == Some(session))
                }
            };
        if !is_theirs {
            return None;
        }
        inner.close(call).map(Open::answer)
    }

    /// Nobody waits for this call any more.
    pub(super) fn close(&self, call: Uuid) -> bool {
        self.lock().close(call).is_some()
    }

    /// Whether somebody has to bring this run's calls to their clients: the first who asks.
    pub(super) fn carry(&self, run: Uuid) -> bool {
        self.lock().carried.insert(run)
    }

    pub(super) fn carried(&self, run: Uuid) {
        self.lock().carried.remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&mut self, call: Uuid) -> Option<Open> {
        let open = self.calls.remove(&call)?;
        if let Client::Device(device) = &open.client {
            self.forget_if_idle(&(open.owner.clone(), device.clone()));
        }
        Some(open)
    }

    /// A device that is away and for which nothing waits is not kept.
    fn forget_if_idle(&mut self, name: &(Owner, String)) {
        let is_away = self.devices.get(name).is_some_and(|device| device.session.is_none());
        let is_called =
            |open: &Open| open.owner == name.0 && open.client == Client::Device(name.1.clone());
        if is_away && !self.calls.values().any(is_called) {
            self.devices.remove(name);
        }
    }
}

#[cfg(test)]
#[path = "clients/tests.rs"]
mod tests;
