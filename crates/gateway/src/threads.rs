//! Which conversation a client means that resends all of it, and where a run belongs.

use nexus_bus::{Bus, Chain, Records, Shelf};
use nexus_contracts::TenantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::App;
use crate::dialogue::Canon;
use crate::keys::Principal;

/// Tries to mark a record while others do the same.
const TRIES: u32 = 4;

/// The durable records of the gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    places: Records<Place>,
    tips: Records<Tip>,
    files: Records<nexus_contracts::Attachment>,
}

/// Where a run belongs, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) tenant: TenantId,
    pub(crate) user: String,
    pub(crate) conversation: String,
    /// Stream sequence of the request.
    pub(crate) sequence: u64,
    /// Whether the conversation has all that its client has.
    pub(crate) complete: bool,
}

/// The end of what was said in a conversation, as its client has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tip {
    conversation: String,
    /// Whether the conversation has all that was said before.
    complete: bool,
    /// The request that went on from here; another one begins a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Where a request goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Onward {
    /// `None`: in a conversation of its own.
    pub(crate) conversation: Option<String>,
    /// Whether what the client resends need not be looked at.
    pub(crate) complete: bool,
}

impl Threads {
    pub(crate) async fn open(bus: &Bus) -> Result<Self, nexus_bus::Error> {
        Ok(Self {
            places: Records::open(bus, Shelf::Threads).await?,
            tips: Records::open(bus, Shelf::Threads).await?,
            files: Records::open(bus, Shelf::Threads).await?,
        })
    }

    pub(crate) async fn place(&self, run: Uuid, place: &Place) -> Result<(), nexus_bus::Error> {
        self.places.put(&format!("run.{run}"), place).await.map(drop)
    }

    /// Where this run belongs; `None` also when it is somebody else's.
    pub(crate) async fn find(
        &self,
        who: &Principal,
        run: Uuid,
    ) -> Result<Option<Place>, nexus_bus::Error> {
        let found = self.places.load(&format!("run.{run}")).await?;
        let is_theirs = |place: &Place| place.tenant == who.tenant && place.user == who.user;
        Ok(found.map(|(place, _)| place).filter(is_theirs))
    }

    /// Whether the conversation of this run has all that its client has.
    pub(crate) async fn is_complete(
        &self,
        who: &Principal,
        run: Uuid,
    ) -> Result<bool, nexus_bus::Error> {
        Ok(self.find(who, run).await?.is_some_and(|place| place.complete))
    }

    /// Notes that a user may read a file.
    pub(crate) async fn keep(
        &self,
        who: &Principal,
        file: &nexus_contracts::Attachment,
    ) -> Result<(), nexus_bus::Error> {
        self.files.put(&file_key(who, &file.sha256), file).await.map(drop)
    }

    /// A file that this user may read.
    pub(crate) async fn file(
        &self,
        who: &Principal,
        sha256: &str,
    ) -> Result<Option<nexus_contracts::Attachment>, nexus_bus::Error> {
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        Ok(self.files.load(&file_key(who, sha256)).await?.map(|(file, _)| file))
    }

    /// Where a request goes on that follows on what has been said so far.
    ///
    /// `scope` is the client's name of the conversation, if it has one; `by` the request.
    pub(crate) async fn onward(
        &self,
        who: &Principal,
        scope: Option<&str>,
        said: &Canon,
        by: &str,
    ) -> Result<Onward, nexus_bus::Error> {
        let key = tip_key(who, scope, said);
        let named = || scope.map(str::to_owned);
        for _ in 0..TRIES {
            let Some((tip, revision)) = self.tips.load(&key).await? else {
                let Some(name) = scope.filter(|_| said.is_empty()) else {
                    return Ok(Onward { conversation: named(), complete: said.is_empty() });
                };
                let next = Some(by.to_owned());
                let first = Tip { conversation: name.to_owned(), complete: true, next };
                if self.tips.create(&key, &first).await?.is_some() {
                    return Ok(Onward { conversation: named(), complete: true });
                }
                continue;
            };
            match &tip.next {
                Some(next) if next == by => {}
                Some(_) => return Ok(Onward { conversation: named(), complete: false }),
                None => {
                    let taken = Tip { next: Some(by.to_owned()), ..tip.clone() };
                    if self.tips.save(&key, &taken, revision).await?.is_none() {
                        continue;
                    }
                }
            }
            return Ok(Onward { conversation: Some(tip.conversation), complete: tip.complete });
        }
        Ok(Onward { conversation: named(), complete: false })
    }
}

/// What is to be remembered of a conversation once its next answer has been given.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) who: Principal,
    pub(crate) scope: Option<String>,
    /// Everything up to the answer.
    pub(crate) said: Canon,
    pub(crate) conversation: String,
    pub(crate) complete: bool,
}

impl Thread {
    /// Remembers it under what the client will resend.
    pub(crate) async fn answered(mut self, app: &App, text: &str) {
        self.said.assistant(text);
        let key = tip_key(&self.who, self.scope.as_deref(), &self.said);
        let tip = Tip { conversation: self.conversation, complete: self.complete, next: None };
        // The same answer again, as after a retry, changes nothing.
        if let Err(error) = app.threads.tips.create(&key, &tip).await {
            tracing::warn!(error = %Chain(&error), "conversation not remembered; its next turn begins a branch");
        }
    }
}

fn tip_key(who: &Principal, scope: Option<&str>, said: &Canon) -> String {
    let said = said.digest();
    let scope = scope.map_or_else(String::new, |scope| format!("named {scope}"));
    format!("tip.{}", hash(&[&who.tenant.to_string(), &who.user, &scope, &said]))
}

fn file_key(who: &Principal, sha256: &str) -> String {
    format!("file.{}", hash(&[&who.tenant.to_string(), &who.user, &sha256.to_ascii_lowercase()]))
}

/// Lengths go before the parts, so that no two lists of parts give one key.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
