//! What is remembered, over restarts, of what a chat has been shown.

use std::collections::BTreeSet;

use nexus_bus::Records;
use nexus_contracts::Decision;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chat::Chat;
use crate::error::Error;

/// How one answer comes into its chat; fixed with its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    /// Each message is sent empty, its number kept, then filled: filling may be repeated.
    Placeholder,
    /// Each message is sent as it is; one whose sending is not confirmed may come twice.
    Plain,
}

/// What a chat has been shown of one answer or notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) style: Style,
    /// Numbers of its messages, in the order of its text.
    pub(crate) messages: Vec<i64>,
    /// Files that Telegram has taken.
    pub(crate) files: usize,
    /// Where it goes after its chat has become another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<Chat>,
    /// What the buttons of its question carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Everything is shown.
    pub(crate) over: bool,
}

impl Record {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, messages: Vec::new(), files: 0, moved: None, token: None, over: false }
    }

    /// Key of the record of an answer (`id` is its run) or of a notice (`id` is its event).
    pub(crate) fn key(bot: i64, id: Uuid) -> String {
        format!("telegram.{bot}.{id}")
    }
}

/// A question that somebody may answer with a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) tenant: nexus_contracts::TenantId,
    pub(crate) bot: i64,
    pub(crate) chat: Chat,
    /// Who may answer.
    pub(crate) users: BTreeSet<String>,
    /// Id of the `notify.deliver` that asked.
    pub(crate) question: Uuid,
    pub(crate) run: Uuid,
    pub(crate) tool: String,
    /// As shown.
    pub(crate) text: String,
    pub(crate) arguments_sha256: String,
    /// Microseconds since 1970.
    pub(crate) expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
}

/// The one answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The update that brought it: the same update may come again.
    pub(crate) update: i64,
    pub(crate) user: String,
    pub(crate) name: String,
    pub(crate) decision: Decision,
    /// The stream has it.
    pub(crate) stored: bool,
}

impl Ask {
    pub(crate) fn key(token: &str) -> String {
        format!("telegram.ask.{token}")
    }

    /// What stands below the question once it is answered.
    pub(crate) fn verdict(&self) -> Option<String> {
        self.answer.as_ref().map(|answer| match answer.decision {
            Decision::Approved => format!("Allowed by {}.", answer.name),
            Decision::Denied => format!("Denied by {}.", answer.name),
        })
    }
}

/// A record as it is stored, to be written over by whoever has read it last.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    pub(crate) key: String,
    pub(crate) value: T,
    /// 0 while it is not stored.
    revision: u64,
}

impl<T: Serialize + serde::de::DeserializeOwned + Sync> Kept<T> {
    /// Loads a record, or begins one that is stored with its first change.
    pub(crate) async fn load_or(records: &Records<T>, key: String, new: T) -> Result<Self, Error> {
        Ok(match records.load(&key).await? {
            Some((value, revision)) => Self { key, value, revision },
            None => Self { key, value: new, revision: 0 },
        })
    }

    pub(crate) async fn load(records: &Records<T>, key: String) -> Result<Option<Self>, Error> {
        let found = records.load(&key).await?;
        Ok(found.map(|(value, revision)| Self { key, value, revision }))
    }

    /// Stores a record that was begun just now.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn keep_if_new(&mut self, records: &Records<T>) -> Result<(), Error> {
        if self.revision == 0 { self.save(records).await } else { Ok(()) }
    }

    /// # Errors
    /// [`Error::RecordMoved`] when somebody else has written meanwhile.
    pub(crate) async fn save(&mut self, records: &Records<T>) -> Result<(), Error> {
        let saved = match self.revision {
            0 => records.create(&self.key, &self.value).await?,
            revision => records.save(&self.key, &self.value, revision).await?,
        };
        self.revision = saved.ok_or_else(|| Error::RecordMoved { key: self.key.clone() })?;
        Ok(())
    }
}
