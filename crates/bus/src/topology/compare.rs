use std::fmt;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Config as StreamConfig;

/// A difference between what is described and what is there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Create { what: String },
    Update { what: String, field: String, from: String, to: String, destroys: bool },
}

impl Change {
    /// Whether stored events may be lost by it.
    #[must_use]
    pub fn destroys(&self) -> bool {
        matches!(self, Self::Update { destroys: true, .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { what } => write!(f, "+ {what}"),
            Self::Update { what, field, from, to, destroys } => {
                let mark = if *destroys { "!" } else { "~" };
                write!(f, "{mark} {what}: {field} {from} -> {to}")
            }
        }
    }
}

pub(crate) fn stream(wanted: &StreamConfig, live: Option<&StreamConfig>) -> Vec<Change> {
    let what = format!("stream {}", wanted.name);
    let Some(live) = live else { return vec![Change::Create { what }] };
    let mut changes = Changes { what, all: Vec::new() };
    let removed = live.subjects.iter().any(|subject| !wanted.subjects.contains(subject));
    changes.field("subjects", &live.subjects, &wanted.subjects, removed);
    let shorter = |live: u128, wanted: u128| wanted != 0 && (live == 0 || wanted < live);
    let (from, to) = (live.max_age, wanted.max_age);
    changes.field("max_age", &from, &to, shorter(from.as_nanos(), to.as_nanos()));
    let smaller =
        wanted.max_bytes > 0 && (live.max_bytes <= 0 || wanted.max_bytes < live.max_bytes);
    changes.field("max_bytes", &live.max_bytes, &wanted.max_bytes, smaller);
    changes.field("max_message_bytes", &live.max_message_size, &wanted.max_message_size, false);
    changes.field("duplicate_window", &live.duplicate_window, &wanted.duplicate_window, false);
    changes.field("storage", &live.storage, &wanted.storage, true);
    changes.field("retention", &live.retention, &wanted.retention, true);
    changes.field("discard", &live.discard, &wanted.discard, false);
    changes.field("replicas", &live.num_replicas, &wanted.num_replicas, false);
    changes.field("deny_delete", &live.deny_delete, &wanted.deny_delete, false);
    changes.field("deny_purge", &live.deny_purge, &wanted.deny_purge, false);
    let transform = |config: &StreamConfig| {
        config.subject_transform.as_ref().map(|transform| transform.destination.clone())
    };
    changes.field("partitioning", &transform(live), &transform(wanted), true);
    changes.all
}

pub(crate) fn consumer(wanted: &pull::Config, live: Option<&pull::Config>) -> Vec<Change> {
    let what = format!("consumer {}", wanted.durable_name.as_deref().unwrap_or_default());
    let Some(live) = live else { return vec![Change::Create { what }] };
    let mut changes = Changes { what, all: Vec::new() };
    changes.field("filter", &live.filter_subject, &wanted.filter_subject, false);
    changes.field("ack_wait", &live.ack_wait, &wanted.ack_wait, false);
    changes.field("max_ack_pending", &live.max_ack_pending, &wanted.max_ack_pending, false);
    changes.field("max_deliver", &live.max_deliver, &wanted.max_deliver, false);
    changes.all
}

struct Changes {
    what: String,
    all: Vec<Change>,
}

impl Changes {
    fn field<T: PartialEq + fmt::Debug>(
        &mut self,
        field: &str,
        live: &T,
        wanted: &T,
        destroys: bool,
    ) {
        if live != wanted {
            self.all.push(Change::Update {
                what: self.what.clone(),
                field: field.to_owned(),
                from: format!("{live:?}"),
                to: format!("{wanted:?}"),
                destroys,
            });
        }
    }
}
