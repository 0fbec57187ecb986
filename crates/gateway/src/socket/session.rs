//! Carries out what a client wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::app::App;
use crate::cursor::Cursor;
use crate::frames::ServerFrame;
use crate::keys::Principal;
use crate::room::Room;

use super::courier::{answer, gone};
use super::dialect::{Command, Dialect, Happening, Refused};
use super::errand::{Errand, Errands};
use super::outgoing::Outgoing;

/// Conversations followed by one connection.
const MAX_FOLLOWED: usize = 512;
/// Frames of all followed conversations that wait for room among the outgoing ones.
const ARRIVING: usize = 64;

/// One client, from its welcome on.
pub(super) struct Session {
    pub(super) app: Arc<App>,
    who: Principal,
    id: Uuid,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) out: Outgoing,
    errands: Errands,
    followed: HashMap<String, DropGuard>,
    gone: CancellationToken,
    arriving: mpsc::Sender<ServerFrame>,
    happened: mpsc::UnboundedSender<Happening>,
}

/// What reaches a session from elsewhere.
pub(super) struct Arrivals {
    /// Taken only while there is room for more frames.
    pub(super) frames: mpsc::Receiver<ServerFrame>,
    /// Few, and each answers something that the client asked for.
    pub(super) happenings: mpsc::UnboundedReceiver<Happening>,
}

impl Session {
    pub(super) fn begin(
        app: Arc<App>,
        who: Principal,
        dialect: Box<dyn Dialect>,
        out: Outgoing,
        gone: CancellationToken,
    ) -> (Self, Arrivals) {
        let id = Uuid::now_v7();
        let (arriving, frames) = mpsc::channel(ARRIVING);
        let (happened, happenings) = mpsc::unbounded_channel();
        app.clients.connect(id, happened.clone());
        let errands = Errands::new(Arc::clone(&app), who.clone(), id, happened.clone());
        let followed = HashMap::new();
        let session =
            Self { app, who, id, dialect, out, errands, followed, gone, arriving, happened };
        (session, Arrivals { frames, happenings })
    }

    pub(super) fn welcome(&self, heartbeat: Duration) -> Happening {
        let (user, agents) = (self.who.user.clone(), self.app.agents());
        Happening::Welcome { session: self.id, user, agents, heartbeat }
    }

    pub(super) async fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.command(command).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Idle => {}
            Command::Send(text) => self.out.send(text),
            Command::Close(code) => self.out.close(code),
            Command::Follow { conversation, cursor, timeline } => {
                self.follow(conversation, cursor, timeline);
            }
            Command::KeepUp { conversation, cursor } => {
                if !self.followed.contains_key(&conversation) {
                    self.follow(conversation, cursor, true);
                }
            }
            Command::Unfollow { conversation } => drop(self.followed.remove(&conversation)),
            Command::Answer { call, outcome } => self.answer(call, outcome),
            Command::Attach { device, offer } => {
                let tools = offer.len();
                self.say(Happening::Attached { device: device.clone(), tools });
                self.app.clients.attach(&self.who, self.id, device, offer);
            }
            Command::Find { run } => {
                self.errands.give(&run.to_string(), Errand::Find { run }).await;
            }
            Command::Ask(asking) => {
                let conversation = asking.conversation.clone();
                self.errands.give(&conversation, Errand::Ask(asking)).await;
            }
            Command::Cancel { conversation, run } => {
                self.errands
                    .give(&conversation.clone(), Errand::Cancel { conversation, run })
                    .await;
            }
            Command::Decide { conversation, run, approval } => {
                let place = conversation.clone();
                self.errands.give(&place, Errand::Decide { conversation, run, approval }).await;
            }
            Command::Recall { conversation } => {
                self.errands.give(&conversation.clone(), Errand::Recall { conversation }).await;
            }
            Command::Save { npc, save } => {
                self.errands.give(&npc.clone(), Errand::Save { npc, save }).await;
            }
            Command::Load { npc, token } => {
                self.errands.give(&npc.clone(), Errand::Load { npc, token }).await;
            }
        }
    }

    fn say(&self, what: Happening) {
        let _ = self.happened.send(what);
    }

    fn answer(&self, call: Uuid, outcome: nexus_contracts::ToolOutcome) {
        let Some((room, ours)) = self.app.clients.answered(&self.who, self.id, call) else {
            tracing::info!(%call, "a client answered a call that is not open");
            let message = "this call is not open: answered before, too late, or not yours";
            return self.say(Happening::Refused(Refused::new("unknown_call", message)));
        };
        let (app, who) = (Arc::clone(&self.app), self.who.clone());
        tokio::spawn(async move { answer(&app, &who, &room, ours, outcome).await });
    }

    fn follow(&mut self, conversation: String, cursor: Cursor, timeline: bool) {
        self.followed.remove(&conversation);
        let refused = if self.followed.len() >= MAX_FOLLOWED {
            let message = format!("one connection follows at most {MAX_FOLLOWED} conversations");
            Some(Refused::new("rate", message))
        } else {
            None
        };
        let room = Room::of(&self.who, &conversation).map_err(|error| {
            let message = format!("the conversation's id cannot be used: {error}");
            Refused::new("unknown_conversation", message)
        });
        let room = match (refused, room) {
            (None, Ok(room)) => room,
            (Some(refused), _) | (None, Err(refused)) => {
                return self.say(Happening::Refused(refused.conversation(conversation)));
            }
        };
        let stop = self.gone.child_token();
        self.followed.insert(conversation, stop.clone().drop_guard());
        let app = Arc::clone(&self.app);
        let (arriving, happened) = (self.arriving.clone(), self.happened.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed(app, room, cursor, timeline, arriving, happened) => {}
            }
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (room, call) in self.app.clients.disconnect(self.id) {
            let (app, who) = (Arc::clone(&self.app), self.who.clone());
            tokio::spawn(async move {
                answer(&app, &who, &room, call, gone()).await;
            });
        }
    }
}

/// Sends a conversation's frames: what is stored, then what happens.
async fn feed(
    app: Arc<App>,
    room: Room,
    cursor: Cursor,
    timeline: bool,
    arriving: mpsc::Sender<ServerFrame>,
    happened: mpsc::UnboundedSender<Happening>,
) {
    let conversation = room.name.clone();
    let mut follow = match app.follow(&room, cursor, timeline).await {
        Ok(follow) => follow,
        Err(error) => {
            let refused = Refused::new(error.code(), error.to_string());
            let _ = happened.send(Happening::Refused(refused.conversation(conversation)));
            return;
        }
    };
    let cursor = follow.feed.cursor();
    follow.ready.push(ServerFrame::CaughtUp { conversation: conversation.clone(), cursor });
    while let Some(frames) = follow.next().await {
        for frame in frames {
            if arriving.send(frame).await.is_err() {
                return;
            }
        }
    }
    let cursor = follow.feed.cursor();
    let _ = arriving.send(ServerFrame::Resume { conversation, cursor }).await;
}
