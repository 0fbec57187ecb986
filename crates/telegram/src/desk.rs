//! The answers that this process is showing, by run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::Records;
use nexus_contracts::Metadata;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bot::Bot;
use crate::chat::Address;
use crate::display::Display;
use crate::error::Error;
use crate::recent::Recent;
use crate::record::Record;

/// Runs that are shown at once; far more than can be.
const MOST: usize = 10_000;
/// A run of which nothing was heard for so long is given up here; its answer still comes.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// Bots, and what their chats are being shown. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    bots: Arc<HashMap<i64, Arc<Bot>>>,
    records: Records<Record>,
    entries: Arc<Mutex<HashMap<Uuid, Entry>>>,
    /// Runs that are over: pieces of their answers may still come.
    over: Arc<Recent>,
}

#[derive(Debug)]
struct Entry {
    view: Arc<View>,
    heard: Instant,
}

/// One answer on its way into a chat.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) bot: Arc<Bot>,
    pub(crate) address: Address,
    /// Whoever holds it is the only one who changes the chat; opened by the first.
    pub(crate) display: tokio::sync::Mutex<Option<Display>>,
}

impl Desk {
    pub(crate) fn new(bots: &[Arc<Bot>], records: Records<Record>) -> Self {
        let bots = bots.iter().map(|bot| (bot.id, Arc::clone(bot))).collect();
        let entries = Arc::default();
        Self { bots: Arc::new(bots), records, entries, over: Arc::default() }
    }

    /// The bot and the chat of a conversation.
    ///
    /// # Errors
    /// [`Error::NoChat`], [`Error::NoBot`], and [`Error::Foreign`] when the bot belongs to another
    /// tenant: what one tenant says must not reach another's chats.
    pub(crate) fn find(&self, place: &Metadata) -> Result<(Arc<Bot>, Address), Error> {
        let address = Address::from_token(&place.conversation)?;
        let bot = self.bots.get(&address.bot).ok_or(Error::NoBot { bot: address.bot })?;
        if bot.tenant != place.tenant {
            return Err(Error::Foreign { bot: bot.id });
        }
        Ok((Arc::clone(bot), address))
    }

    /// The view of a run or notice; made when there is none.
    pub(crate) fn view(&self, id: Uuid, bot: &Arc<Bot>, address: Address) -> Arc<View> {
        let now = Instant::now();
        let mut entries = self.entries();
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.heard + FORGOTTEN > now);
        }
        let entry = entries.entry(id).or_insert_with(|| {
            let display = tokio::sync::Mutex::new(None);
            Entry { view: Arc::new(View { bot: Arc::clone(bot), address, display }), heard: now }
        });
        entry.heard = now;
        Arc::clone(&entry.view)
    }

    /// The runs that a chat is being shown now.
    pub(crate) fn runs_of(&self, address: Address) -> Vec<Uuid> {
        let entries = self.entries();
        let of_chat = entries.iter().filter(|(_, entry)| entry.view.address == address);
        of_chat.map(|(run, _)| *run).collect()
    }

    /// Whether this process has shown everything of it.
    pub(crate) fn is_over(&self, id: Uuid) -> bool {
        self.over.contains(id)
    }

    /// Everything is shown, or never will be.
    pub(crate) fn close(&self, id: Uuid) {
        self.over.insert(id);
        self.entries().remove(&id);
    }

    /// What a record says of a run or notice, from this process or an earlier one.
    pub(crate) async fn was_shown(&self, bot: i64, id: Uuid) -> Result<bool, Error> {
        if self.is_over(id) {
            return Ok(true);
        }
        let record = self.records.load(&Record::key(bot, id)).await?;
        Ok(record.is_some_and(|(record, _)| record.over))
    }

    /// Opens the display of a view if it is not open.
    pub(crate) async fn open<'d>(
        &self,
        view: &View,
        id: Uuid,
        display: &'d mut Option<Display>,
    ) -> Result<&'d mut Display, Error> {
        if display.is_none() {
            let (bot, records) = (Arc::clone(&view.bot), self.records.clone());
            *display = Some(Display::open(bot, view.address.chat, id, records).await?);
        }
        display.as_mut().ok_or_else(|| Error::RecordMoved { key: Record::key(view.bot.id, id) })
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
