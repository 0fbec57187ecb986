use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file that belongs to an event; its bytes are in the blob store (claim check).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// `blob:TENANT/SHA256`: where the blob store keeps it.
    pub uri: String,
    /// Of the bytes, in hexadecimal.
    pub sha256: String,
    /// As sniffed from the bytes, for example `image/png`.
    pub media_type: String,
    pub bytes: u64,
    pub kind: AttachmentKind,
    /// File name, when the sender gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Attachment {
    /// What a model that cannot open it is told.
    #[must_use]
    pub fn note(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
        format!("[{}{name}: {}, {} bytes]", self.kind.as_str(), self.media_type, self.bytes)
    }
}

/// How people see an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentKind {
    Photo,
    Voice,
    Audio,
    Document,
}

impl AttachmentKind {
    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Voice => "voice",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }
}
