//! One answer in its chat, from the first sign of it to its last file.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_bus::{Records, failpoint};
use nexus_contracts::Attachment;
use uuid::Uuid;

use crate::bot::Bot;
use crate::chat::Chat;
use crate::client::Urgency;
use crate::error::Error;
use crate::files;
use crate::pace::Permit;
use crate::piece::Piece;
use crate::plan::{self, Shows, Slot, Stage, Step};
use crate::record::{Kept, Record, Style};

/// What an answer's message shows until there is something to show.
const PLACEHOLDER: &str = "…";

/// Longest caption of a file, in UTF-16 code units.
///
/// # Source
/// Bot API, `sendPhoto`: "0-1024 characters after entities parsing".
const LONGEST_CAPTION: usize = 1024;

/// What a chat shows of one answer or notice.
#[derive(Debug)]
pub(crate) struct Display {
    bot: Arc<Bot>,
    chat: Chat,
    records: Records<Record>,
    pub(crate) kept: Kept<Record>,
    slots: Vec<Slot>,
    /// Pieces whose entities Telegram does not like.
    unmarked: BTreeSet<usize>,
}

impl Display {
    /// Opens what is known of it.
    pub(crate) async fn open(
        bot: Arc<Bot>,
        chat: Chat,
        id: Uuid,
        records: Records<Record>,
    ) -> Result<Self, Error> {
        let new = Record::new(bot.style(chat));
        let kept = Kept::load_or(&records, Record::key(bot.id, id), new).await?;
        let unknown = |message: &i64| Slot { message: *message, shows: Shows::Unknown };
        let slots = kept.value.messages.iter().map(unknown).collect();
        let chat = kept.value.moved.unwrap_or(chat);
        Ok(Self { bot, chat, records, kept, slots, unmarked: BTreeSet::new() })
    }

    /// Whether everything has been shown.
    pub(crate) fn is_over(&self) -> bool {
        self.kept.value.over
    }

    /// Shows all of it; may be called again after an error.
    pub(crate) async fn finish(
        &mut self,
        wanted: Vec<Piece>,
        attachments: &[Attachment],
    ) -> Result<(), Error> {
        let (wanted, caption) = self.captioned(wanted, attachments);
        loop {
            let marked = self.allowed(&wanted);
            let style = self.kept.value.style;
            let Some(step) = plan::next(style, Stage::Final, &self.slots, &marked) else { break };
            let permit = self.admit().await?;
            self.perform(step, &marked, permit, Urgency::Final).await?;
        }
        while let Some(file) = attachments.get(self.kept.value.files) {
            self.show_file(file, caption.as_ref()).await?;
        }
        self.kept.value.over = true;
        self.save().await
    }

    /// Shows a little more of an answer that grows; at most one call, and none that an answer
    /// would have to wait for. Returns whether there is more to show.
    pub(crate) async fn grow(&mut self, wanted: &[Piece]) -> Result<bool, Error> {
        let style = self.kept.value.style;
        if style == Style::Plain || self.is_over() {
            return Ok(false);
        }
        let marked = self.allowed(wanted);
        let Some(step) = plan::next(style, Stage::Growing, &self.slots, &marked) else {
            return Ok(false);
        };
        if let Some(permit) = self.bot.pace.try_admit(self.chat.id) {
            self.perform(step, &marked, permit, Urgency::Live).await?;
        }
        Ok(true)
    }

    /// Remembers what the buttons of this question carry.
    pub(crate) async fn keep_token(&mut self, token: String) -> Result<String, Error> {
        self.kept.value.token = Some(token.clone());
        self.save().await?;
        Ok(token)
    }

    async fn admit(&self) -> Result<Permit, Error> {
        self.bot.pace.admit(self.chat.id).await.map_err(|wait| Error::Busy { wait })
    }

    /// A short text goes with its only file, where nothing has been shown before.
    fn captioned(
        &self,
        mut wanted: Vec<Piece>,
        attachments: &[Attachment],
    ) -> (Vec<Piece>, Option<Piece>) {
        let is_short = |piece: &Piece| {
            piece.buttons.is_empty() && piece.text.encode_utf16().count() <= LONGEST_CAPTION
        };
        let is_caption = attachments.len() == 1
            && wanted.len() == 1
            && self.kept.value.style == Style::Plain
            && self.slots.is_empty()
            && wanted.first().is_some_and(is_short);
        let caption = if is_caption { wanted.pop() } else { None };
        (wanted, caption)
    }

    /// The pieces, without the entities that were refused.
    fn allowed(&self, wanted: &[Piece]) -> Vec<Piece> {
        let allow = |(index, piece): (usize, &Piece)| {
            if self.unmarked.contains(&index) { piece.unmarked() } else { piece.clone() }
        };
        wanted.iter().enumerate().map(allow).collect()
    }

    async fn perform(
        &mut self,
        step: Step,
        wanted: &[Piece],
        permit: Permit,
        urgency: Urgency,
    ) -> Result<(), Error> {
        let done = match step {
            Step::Open => self.send(&Piece::plain(PLACEHOLDER), Shows::Placeholder).await,
            Step::Send => {
                let Some(piece) = wanted.get(self.slots.len()) else { return Ok(()) };
                self.send(piece, Shows::Surely(piece.clone())).await
            }
            Step::Edit(index) => self.edit(index, wanted, urgency).await,
            Step::Drop => self.drop_last().await,
        };
        drop(permit);
        let Err(error) = done else { return Ok(()) };
        let index = match step {
            Step::Edit(index) => index,
            Step::Open | Step::Send | Step::Drop => self.slots.len(),
        };
        self.recover(index, error).await
    }

    /// Finds a way around a refusal, if there is one.
    async fn recover(&mut self, index: usize, error: Error) -> Result<(), Error> {
        if let Some(wait) = error.retry_after() {
            self.bot.pace.block(self.chat.id, wait);
            return Err(error);
        }
        if error.is_about_entities() && self.unmarked.insert(index) {
            metrics::counter!("nexus_telegram_entities_refused_total").increment(1);
            tracing::warn!(%error, "entities refused, sending plain text");
            return Ok(());
        }
        if error.is_topic_gone() && self.chat.topic.is_some() {
            self.chat.topic = None;
            self.kept.value.moved = Some(self.chat);
            return self.save().await;
        }
        if let Error::Refused { migrated_to: Some(id), .. } = error
            && id != self.chat.id
        {
            // A group that has become a supergroup has another id, and none of the messages.
            self.chat = Chat { id, topic: None };
            self.kept.value.moved = Some(self.chat);
            self.slots.clear();
            return self.save().await;
        }
        Err(error)
    }

    async fn send(&mut self, piece: &Piece, shows: Shows) -> Result<(), Error> {
        let message = self.bot.client.send(self.chat, piece).await?;
        failpoint::hit("telegram.after_send");
        self.slots.push(Slot { message, shows });
        metrics::counter!("nexus_telegram_messages_total").increment(1);
        self.save().await
    }

    async fn edit(
        &mut self,
        index: usize,
        wanted: &[Piece],
        urgency: Urgency,
    ) -> Result<(), Error> {
        let (Some(slot), Some(piece)) = (self.slots.get_mut(index), wanted.get(index)) else {
            return Ok(());
        };
        match self.bot.client.edit(self.chat, slot.message, piece, urgency).await {
            Err(error) if error.is_not_modified() => {}
            Err(error) if error.is_message_gone() => {
                slot.shows = Shows::Nothing;
                return Ok(());
            }
            Err(error) => {
                if error.is_ambiguous() {
                    slot.shows = Shows::Perhaps(piece.clone());
                }
                return Err(error);
            }
            Ok(()) => {}
        }
        failpoint::hit("telegram.after_edit");
        slot.shows = Shows::Surely(piece.clone());
        metrics::counter!("nexus_telegram_edits_total").increment(1);
        Ok(())
    }

    async fn drop_last(&mut self) -> Result<(), Error> {
        let Some(slot) = self.slots.last() else { return Ok(()) };
        if slot.shows != Shows::Nothing {
            match self.bot.client.delete(self.chat, slot.message).await {
                Err(error) if !error.is_message_gone() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.slots.pop();
        self.save().await
    }

    async fn show_file(&mut self, file: &Attachment, caption: Option<&Piece>) -> Result<(), Error> {
        let permit = self.admit().await?;
        let index = self.kept.value.files;
        let caption = caption.map(|caption| self.allowed(std::slice::from_ref(caption)));
        let caption = caption.as_ref().and_then(|pieces| pieces.first());
        let sent = files::send(&self.bot, self.chat, file, caption).await;
        drop(permit);
        if let Err(error) = sent {
            return self.recover(0, error).await;
        }
        self.kept.value.files = index + 1;
        self.save().await
    }

    async fn save(&mut self) -> Result<(), Error> {
        self.kept.value.messages = self.slots.iter().map(|slot| slot.message).collect();
        self.kept.save(&self.records).await
    }
}
