use std::fmt;

use crate::event_type::EventType;
use crate::ids::TenantId;
use crate::metadata::Metadata;
use crate::token::{Token, TokenError};

/// Number of partitions. Changing it reorders conversations in flight, so it does not change.
pub const PARTITIONS: u16 = 64;

/// A slice of all conversations that has one owner at a time; below [`PARTITIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// Every partition, lowest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    #[must_use]
    pub fn new(index: u16) -> Option<Self> {
        (index < PARTITIONS).then_some(Self(index))
    }

    #[must_use]
    pub fn index(self) -> u16 {
        self.0
    }

    /// The partition that the server's `partition(64, tenant, channel, conversation)` gives.
    ///
    /// # Source
    /// nats-server `subject_transform.go`: FNV-1a, 32 bits, over the tokens without separators.
    #[must_use]
    pub fn of(tenant: TenantId, channel: &Token, conversation: &Token) -> Self {
        let tenant = tenant.to_string();
        let bytes =
            tenant.bytes().chain(channel.as_str().bytes()).chain(conversation.as_str().bytes());
        let hash = bytes
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self(u16::try_from(hash % u32::from(PARTITIONS)).unwrap_or(0))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an event is published: `<domain>.<action>.<tenant>.<channel>.<conversation>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub kind: EventType,
    pub tenant: TenantId,
    pub channel: Token,
    pub conversation: Token,
}

impl Subject {
    /// The subject that an event with this metadata belongs on.
    #[must_use]
    pub fn of(kind: EventType, metadata: &Metadata) -> Self {
        Self {
            kind,
            tenant: metadata.tenant,
            channel: metadata.channel.clone(),
            conversation: metadata.conversation.clone(),
        }
    }

    #[must_use]
    pub fn partition(&self) -> Partition {
        Partition::of(self.tenant, &self.channel, &self.conversation)
    }

    /// The subject as EVENTS stores it, with the partition.
    #[must_use]
    pub fn stored(&self) -> String {
        let Self { kind, tenant, channel, conversation } = self;
        format!("{kind}.{}.{tenant}.{channel}.{conversation}", self.partition())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.kind, self.tenant, self.channel, self.conversation)
    }
}

/// Subject of a partition's epochs.
#[must_use]
pub fn epoch_subject(partition: Partition) -> String {
    format!("{}.{partition}", EventType::OrchestratorEpoch)
}

/// A subject as the stream stores it, with the partition after the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubject {
    /// The first two tokens; perhaps a type that this version does not know.
    pub kind: String,
    pub partition: Partition,
    pub tenant: TenantId,
    pub channel: Token,
    pub conversation: Token,
}

/// Why a subject is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error(
        "subject {0:?} has not the six tokens domain.action.partition.tenant.channel.conversation"
    )]
    Shape(String),
    #[error("subject {subject:?} names no tenant")]
    Tenant { subject: String },
    #[error("subject {subject:?}")]
    Token { subject: String, source: TokenError },
}

impl StoredSubject {
    /// Reads a stored subject.
    ///
    /// # Errors
    /// [`SubjectError`] naming the subject and what is wrong with it.
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let &[domain, action, partition, tenant, channel, conversation] = tokens.as_slice() else {
            return Err(SubjectError::Shape(subject.to_owned()));
        };
        let partition = partition.parse().ok().and_then(Partition::new);
        let token = |text| {
            Token::parse(text)
                .map_err(|source| SubjectError::Token { subject: subject.to_owned(), source })
        };
        Ok(Self {
            kind: format!("{domain}.{action}"),
            partition: partition.ok_or_else(|| SubjectError::Shape(subject.to_owned()))?,
            tenant: tenant
                .parse()
                .map_err(|_| SubjectError::Tenant { subject: subject.to_owned() })?,
            channel: token(channel)?,
            conversation: token(conversation)?,
        })
    }

    /// Whether an event's metadata belongs on this subject.
    #[must_use]
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.tenant == metadata.tenant
            && self.channel == metadata.channel
            && self.conversation == metadata.conversation
    }
}

/// A filter over stored subjects; what is `None` matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    pub kind: Option<EventType>,
    pub partition: Option<Partition>,
    pub tenant: Option<TenantId>,
    pub channel: Option<Token>,
    pub conversation: Option<Token>,
}

impl Pattern {
    /// Every event of one type.
    #[must_use]
    pub fn kind(kind: EventType) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// Every event of one type in one channel.
    #[must_use]
    pub fn kind_in(kind: EventType, channel: &Token) -> Self {
        Self { kind: Some(kind), channel: Some(channel.clone()), ..Self::default() }
    }

    /// Everything of one conversation.
    #[must_use]
    pub fn conversation(tenant: TenantId, channel: &Token, conversation: &Token) -> Self {
        Self {
            kind: None,
            partition: Some(Partition::of(tenant, channel, conversation)),
            tenant: Some(tenant),
            channel: Some(channel.clone()),
            conversation: Some(conversation.clone()),
        }
    }

    /// Everything of one partition.
    #[must_use]
    pub fn partition(partition: Partition) -> Self {
        Self { partition: Some(partition), ..Self::default() }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_any<T: fmt::Display>(part: Option<&T>) -> String {
            part.map_or_else(|| "*".to_owned(), ToString::to_string)
        }
        let kind = self.kind.map_or("*.*", EventType::as_str);
        let (partition, tenant) = (or_any(self.partition.as_ref()), or_any(self.tenant.as_ref()));
        let (channel, conversation) =
            (or_any(self.channel.as_ref()), or_any(self.conversation.as_ref()));
        write!(f, "{kind}.{partition}.{tenant}.{channel}.{conversation}")
    }
}
