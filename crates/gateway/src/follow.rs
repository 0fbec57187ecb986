//! Following a conversation: what is stored, then what happens, as frames.

use std::collections::HashMap;

use nexus_bus::{CHUNKS, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{Event, InferenceChunk, Pattern};

use crate::app::App;
use crate::cursor::Cursor;
use crate::feed::Feed;
use crate::frames::ServerFrame;
use crate::hub::{Item, Subscription};
use crate::room::Room;

/// A conversation that is being followed.
pub(crate) struct Follow {
    pub(crate) feed: Feed,
    pub(crate) subscription: Subscription,
    /// Frames that are known already.
    pub(crate) ready: Vec<ServerFrame>,
}

impl Follow {
    /// The next frames; `None` when we were too slow.
    pub(crate) async fn next(&mut self) -> Option<Vec<ServerFrame>> {
        if !self.ready.is_empty() {
            return Some(std::mem::take(&mut self.ready));
        }
        Some(match self.subscription.next().await? {
            Item::Event(message) => self.feed.event(&message),
            Item::Chunk(chunk) => self.feed.chunk(&chunk),
        })
    }
}

impl App {
    /// Follows a conversation from a cursor: the frames of what is stored are ready at once.
    pub(crate) async fn follow(
        &self,
        room: &Room,
        cursor: Cursor,
        timeline: bool,
    ) -> Result<Follow, nexus_bus::Error> {
        // First the subscription, then the log: what is stored in between comes twice, not never.
        let subscription = self.hub.subscribe(room.tenant, &room.token);
        let mut feed = Feed::after(room.name.clone(), cursor, timeline);
        // Thousands that come back at once, as after a restart, take turns at the server.
        let _turn = self.reads.acquire().await;
        let from = cursor.sequence + u64::from(!cursor.owes);
        let mut ready = Vec::new();
        for message in self.stored_since(room, from).await? {
            ready.extend(feed.event(&message));
        }
        if feed.is_thinking() {
            let filter = Filter::Chunks(room.tenant, self.channel.clone(), room.token.clone());
            let mut reader = Reader::open(&self.bus, CHUNKS, filter, Start::First).await?;
            let pieces = reader.read_to_end().await?;
            let pieces = pieces.iter().filter_map(|piece| Event::decode(&piece.bytes).ok());
            let pieces =
                pieces.filter(|piece: &Event<InferenceChunk>| feed.awaits(piece.payload.call));
            for chunk in last_attempts(pieces.collect()) {
                ready.extend(feed.chunk(&chunk));
            }
        }
        Ok(Follow { feed, subscription, ready })
    }

    /// What is stored of a conversation from a sequence on. Nothing is cheap to find out.
    async fn stored_since(&self, room: &Room, from: u64) -> Result<Vec<Message>, nexus_bus::Error> {
        let pattern = Pattern::conversation(room.tenant, &self.channel, &room.token);
        let last = self.bus.last_on(EVENTS, &pattern.to_string()).await?;
        if last.is_none_or(|(last, _)| last < from) {
            return Ok(Vec::new());
        }
        let filter = Filter::Patterns(vec![pattern]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::At(from)).await?;
        reader.read_to_end().await
    }
}

/// The pieces that no later attempt has made void.
fn last_attempts(mut pieces: Vec<Event<InferenceChunk>>) -> Vec<Event<InferenceChunk>> {
    let mut last = HashMap::new();
    for piece in &pieces {
        let attempt = last.entry(piece.payload.call).or_insert(0);
        *attempt = piece.payload.attempt.max(*attempt);
    }
    pieces.retain(|piece| last.get(&piece.payload.call) == Some(&piece.payload.attempt));
    pieces
}
