//! What a client wants from the log or the blob store, done beside its connection.
//!
//! Errands of one conversation are done one after another, in the order in which they were given;
//! those of others do not wait for them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use nexus_contracts::{
    AttachmentKind, Event, EventType, IncomingRequest, RequestKind, ToolApproval, ToolResult,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::accept::{self, Ask, Refusal};
use crate::app::App;
use crate::cursor::Cursor;
use crate::keys::Principal;
use crate::room::Room;
use crate::threads::Place;

use super::clients::Client;
use super::courier::{Courier, Offers};
use super::dialect::{Asking, Called, Found, Happening, Refused, Taken};
use super::npc::past::Past;
use super::npc::save::{self, Save};

/// Errands that one connection has under way at most.
const LANES: usize = 16;
/// Errands that wait in a lane before the connection is read no further.
const WAITING: usize = 64;
const MEDIA_TYPE: &str = "application/json";

pub(super) enum Errand {
    Ask(Box<Asking>),
    Cancel { conversation: String, run: Uuid },
    Decide { conversation: String, run: Uuid, approval: ToolApproval },
    Find { run: Uuid },
    Recall { conversation: String },
    Save { npc: String, save: Box<Save> },
    Load { npc: String, token: String },
}

/// The errands of one connection.
pub(super) struct Errands {
    runner: Arc<Runner>,
    lanes: [Option<mpsc::Sender<Errand>>; LANES],
}

struct Runner {
    app: Arc<App>,
    who: Principal,
    session: Uuid,
    happened: mpsc::UnboundedSender<Happening>,
}

impl Errands {
    pub(super) fn new(
        app: Arc<App>,
        who: Principal,
        session: Uuid,
        happened: mpsc::UnboundedSender<Happening>,
    ) -> Self {
        let runner = Arc::new(Runner { app, who, session, happened });
        Self { runner, lanes: [const { None }; LANES] }
    }

    /// Has it done after those of the same place; waits when there are very many.
    pub(super) async fn give(&mut self, place: &str, errand: Errand) {
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        let runner = &self.runner;
        let lane = lane.get_or_insert_with(|| {
            let (sender, mut errands) = mpsc::channel(WAITING);
            let runner = Arc::clone(runner);
            // Ends with the connection; what was given is done all the same.
            tokio::spawn(async move {
                while let Some(errand) = errands.recv().await {
                    runner.run(errand).await;
                }
            });
            sender
        });
        let _ = lane.send(errand).await;
    }
}

impl Runner {
    async fn run(&self, errand: Errand) {
        let (app, who) = (&self.app, &self.who);
        match errand {
            Errand::Ask(asking) => self.ask(*asking).await,
            Errand::Cancel { conversation, run } => {
                let done = match Room::of(who, &conversation) {
                    Ok(room) => {
                        accept::cancel(&app.bus, &app.channel, who, &room, run, (app.now)()).await
                    }
                    Err(error) => Err(error.into()),
                };
                self.refusal(done, conversation);
            }
            Errand::Decide { conversation, run, approval } => {
                let now = (app.now)();
                let done = match Room::of(who, &conversation) {
                    Ok(room) => {
                        accept::decide(&app.bus, &app.channel, who, &room, run, approval, now).await
                    }
                    Err(error) => Err(error.into()),
                };
                self.refusal(done, conversation);
            }
            Errand::Find { run } => match self.find(run).await {
                Ok(found) => self.say(Happening::Found { run, found }),
                Err(error) => self.refuse(refused(&error)),
            },
            Errand::Recall { conversation } => match self.recall(&conversation).await {
                Ok(past) => self.say(Happening::Recalled { conversation, past }),
                Err(error) => self.refusal(Err(error), conversation),
            },
            Errand::Save { npc, save } => match self.save(&npc, &save).await {
                Ok(token) => self.say(Happening::Saved { npc, token }),
                Err(refused) => self.refuse(refused.npc(npc)),
            },
            Errand::Load { npc, token } => match self.load(&token).await {
                Ok(save) => self.say(Happening::Loaded { npc, save: Box::new(save) }),
                Err(refused) => self.refuse(refused.npc(npc)),
            },
        }
    }

    async fn ask(&self, asking: Asking) {
        let (tag, conversation) = (asking.tag.clone(), asking.conversation.clone());
        match self.accept(asking).await {
            Ok(taken) => self.say(Happening::Accepted(taken)),
            Err(refused) => self.refuse(refused.tag(tag).conversation(conversation)),
        }
    }

    async fn accept(&self, asking: Asking) -> Result<Taken, Refused> {
        let (app, who) = (&self.app, &self.who);
        let Asking { tag, id, conversation, agent, text, attachments, instructions, .. } = asking;
        let room = Room::of(who, &conversation).map_err(|error| refused(&error.into()))?;
        let attachments = app.attach(who, attachments).await?;
        let own = asking.tools.map(|offer| (Client::Connection(self.session), offer));
        let devices = if asking.with_devices { app.clients.devices(who) } else { Vec::new() };
        let offers = Offers::new(own.into_iter().chain(devices).collect());
        let request = IncomingRequest {
            text,
            history: asking.history,
            model: None,
            attachments,
            client_tools: offers.specs(),
            instructions,
            sampling: nexus_contracts::Sampling::default(),
            kind: RequestKind::Turn,
        };
        // Before the request is stored: its first call may come at once.
        let courier = (!offers.is_empty()).then(|| Courier {
            app: Arc::clone(app),
            who: who.clone(),
            room: room.clone(),
            offers,
            subscription: app.hub.subscribe(room.tenant, &room.token),
        });
        let ask = Ask { id, room, agent, request };
        let (limit, now) = (app.config.max_text_bytes, (app.now)());
        let accepted = accept::accept(&app.bus, &app.channel, who, ask, limit, now).await;
        let accepted = accepted.map_err(|refusal| refused(&refusal))?;
        if asking.findable {
            let place = Place {
                tenant: who.tenant,
                user: who.user.clone(),
                conversation: conversation.clone(),
                sequence: accepted.sequence,
                complete: true,
            };
            let placed = app.threads.place(accepted.run, &place).await;
            placed.map_err(|error| refused(&error.into()))?;
        }
        if let Some(courier) = courier {
            tokio::spawn(courier.carry(accepted.run));
        }
        let (run, cursor) = (accepted.run, Cursor::at(accepted.sequence));
        Ok(Taken { tag, conversation, run, cursor, repeated: accepted.repeated })
    }

    /// Reads what was asked and answered in a conversation.
    async fn recall(&self, conversation: &str) -> Result<Past, Refusal> {
        let room = Room::of(&self.who, conversation)?;
        let kinds = [EventType::RequestsIncoming, EventType::RequestsProcessed];
        Ok(Past::of(&self.app.stored(&room, &kinds, 0).await?))
    }

    /// Where a run of this user is, and the tools that it has called.
    async fn find(&self, run: Uuid) -> Result<Option<Found>, Refusal> {
        let Some(place) = self.app.threads.find(&self.who, run).await? else { return Ok(None) };
        let room = Room::of(&self.who, &place.conversation)?;
        let results = self.app.stored(&room, &[EventType::ToolsResults], place.sequence).await?;
        let results =
            results.iter().filter_map(|stored| Event::<ToolResult>::decode(&stored.bytes).ok());
        let ours = results.filter(|event| event.correlation_id == run).map(|event| {
            let ToolResult { call, tool, outcome, .. } = event.payload.known;
            Called { call, tool, status: outcome.status().to_owned() }
        });
        let called = ours.collect();
        Ok(Some(Found { conversation: place.conversation, sequence: place.sequence, called }))
    }

    async fn save(&self, npc: &str, save: &Save) -> Result<String, Refused> {
        let bytes = Bytes::from(save.keep(&self.who.user));
        let (kind, name) = (AttachmentKind::Document, Some(format!("{npc}.json")));
        let kept = self.app.blobs.put(self.who.tenant, kind, name, Some(MEDIA_TYPE), bytes).await;
        let kept = kept.map_err(|error| Refused::new("unavailable", error.to_string()))?;
        Ok(save::token(&kept.sha256))
    }

    async fn load(&self, token: &str) -> Result<Save, Refused> {
        let bad = |error: save::BadToken| Refused::new("bad_token", error.to_string());
        let hash = save::hash(token).map_err(bad)?;
        let tenant = self.who.tenant;
        let kept = self.app.blobs.get(tenant, &format!("blob:{tenant}/{hash}")).await;
        let kept = kept.map_err(|error| match error {
            nexus_blobs::Error::Unknown { .. } => bad(save::BadToken::Unknown),
            error => Refused::new("unavailable", error.to_string()),
        })?;
        Save::restore(&kept, &self.who.user).map_err(bad)
    }

    fn refusal(&self, done: Result<(), Refusal>, conversation: String) {
        if let Err(refusal) = done {
            self.refuse(refused(&refusal).conversation(conversation));
        }
    }

    fn refuse(&self, refused: Refused) {
        self.say(Happening::Refused(refused));
    }

    fn say(&self, what: Happening) {
        let _ = self.happened.send(what);
    }
}

fn refused(refusal: &Refusal) -> Refused {
    Refused::new(refusal.code(), refusal.to_string())
}
