//! What the attachments of a request hold, as far as a model is shown it.
//!
//! Types are read off the bytes. Images that models see become images, text is inlined, of
//! everything else a model gets [`Attachment::note`]. What the speaker sent just now and cannot be
//! shown is an error that they see; in older messages it is a note, or the conversation could
//! never go on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_blobs::{Blobs, MAX_IMAGE_BYTES, VIEWABLE_IMAGES, is_false_image, text, viewable_image};
use nexus_contracts::{
    Attachment, AttachmentKind, InferenceRequest, Message, Part, Role, TenantId,
};

/// Most bytes of a text file that a model is shown.
const MAX_TEXT_BYTES: usize = 50 * 1024;
/// Most images of one request, newest first; some providers take no more (Anthropic: 20 with
/// images beyond 2,000 pixels).
const MAX_IMAGES: usize = 20;

/// Contents by [`Attachment::uri`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    contents: HashMap<String, Content>,
}

/// What a model is shown of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Image {
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
        /// Standard alphabet, padded.
        base64: Arc<str>,
    },
    /// The text of the file, cut where it is too long, with a notice then.
    Text(Arc<str>),
}

impl Files {
    /// These contents, by [`Attachment::uri`].
    #[cfg(test)]
    pub(crate) fn of(contents: impl IntoIterator<Item = (String, Content)>) -> Self {
        Self { contents: contents.into_iter().collect() }
    }

    /// What a model is shown; `None` for a file of which it only gets [`Attachment::note`].
    pub(crate) fn content(&self, attachment: &Attachment) -> Option<&Content> {
        self.contents.get(&attachment.uri)
    }
}

impl FromIterator<(String, Content)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, Content)>>(contents: I) -> Self {
        Self { contents: contents.into_iter().collect() }
    }
}

/// Why a file that was just sent cannot be shown to a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(
        "{file} has {bytes} bytes; an image may have {MAX_IMAGE_BYTES}. Send it smaller, or as a link."
    )]
    ImageTooLarge { file: String, bytes: usize },
    #[error("{file} says that it is {says}, but it is an image that is not one. Send it again, as {}.", VIEWABLE_IMAGES.join(", "))]
    NotAnImage { file: String, says: String },
    #[error("{file} is not in the file store any more. Send it again.")]
    Gone { file: String, source: nexus_blobs::Error },
    #[error("{file} cannot be read from the file store. Try again in a while.")]
    Store { file: String, source: nexus_blobs::Error },
}

impl FileError {
    /// Bounded name, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::ImageTooLarge { .. } => "image_too_large",
            Self::NotAnImage { .. } => "not_an_image",
            Self::Gone { .. } => "attachment_gone",
            Self::Store { .. } => "attachment_unreadable",
        }
    }

    /// Whether only sending something else mends it.
    fn is_the_files(&self) -> bool {
        match self {
            Self::ImageTooLarge { .. } | Self::NotAnImage { .. } | Self::Gone { .. } => true,
            Self::Store { .. } => false,
        }
    }
}

/// Reads what a model is shown of the attachments of a request.
///
/// # Errors
/// [`FileError`] when a file of the newest turn cannot be shown, or the store does not answer.
pub(crate) async fn load(
    blobs: &Blobs,
    tenant: TenantId,
    request: &InferenceRequest,
) -> Result<Files, FileError> {
    let mut files = Files::default();
    let (mut images, mut seen) = (0, HashSet::new());
    for (attachment, newest) in newest_first(&request.messages) {
        if is_heard(attachment) || !seen.insert(attachment.uri.as_str()) {
            continue;
        }
        // What is shown as a note all the same need not be read.
        if images == MAX_IMAGES && VIEWABLE_IMAGES.contains(&attachment.media_type.as_str()) {
            continue;
        }
        match read(blobs, tenant, attachment).await {
            Ok(Some(Content::Image { .. })) if images == MAX_IMAGES => {}
            Ok(Some(content)) => {
                images += usize::from(matches!(content, Content::Image { .. }));
                files.contents.insert(attachment.uri.clone(), content);
            }
            Ok(None) => {}
            Err(error) if error.is_the_files() && !newest => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// All attachments, and whether they came with what is to be answered now.
fn newest_first(messages: &[Message]) -> impl Iterator<Item = (&Attachment, bool)> {
    let answered = messages.iter().rposition(|message| message.role == Role::Assistant);
    let is_new = move |at: usize| answered.is_none_or(|answered| at > answered);
    messages.iter().enumerate().rev().flat_map(move |(at, message)| {
        message.parts.iter().rev().filter_map(move |part| match part {
            Part::Attachment { attachment } => Some((attachment, is_new(at))),
            Part::Text { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Native { .. } => None,
        })
    })
}

/// Sounds and films are large, and no model is shown them.
fn is_heard(attachment: &Attachment) -> bool {
    let heard = matches!(attachment.kind, AttachmentKind::Voice | AttachmentKind::Audio);
    heard || ["audio/", "video/"].iter().any(|kind| attachment.media_type.starts_with(kind))
}

async fn read(
    blobs: &Blobs,
    tenant: TenantId,
    attachment: &Attachment,
) -> Result<Option<Content>, FileError> {
    let file = || describe(attachment);
    let bytes = blobs.get(tenant, &attachment.uri).await.map_err(|source| match source {
        nexus_blobs::Error::Unknown { .. } | nexus_blobs::Error::Damaged { .. } => {
            FileError::Gone { file: file(), source }
        }
        nexus_blobs::Error::Open { .. }
        | nexus_blobs::Error::TooLarge { .. }
        | nexus_blobs::Error::Store { .. } => FileError::Store { file: file(), source },
    })?;
    if let Some(media_type) = viewable_image(&bytes) {
        if bytes.len() > MAX_IMAGE_BYTES {
            return Err(FileError::ImageTooLarge { file: file(), bytes: bytes.len() });
        }
        let base64 = STANDARD.encode(&bytes).into();
        return Ok(Some(Content::Image { media_type: media_type.to_owned(), base64 }));
    }
    if is_false_image(&bytes, &attachment.media_type) {
        let says = attachment.media_type.clone();
        return Err(FileError::NotAnImage { file: file(), says });
    }
    Ok(text(&bytes).map(|text| Content::Text(cut(text).into())))
}

/// As much of a text as a model is shown.
fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let shown = text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or_default();
    format!(
        "{shown}\n[cut off here: the file has {} bytes, the first {} are shown]",
        text.len(),
        shown.len()
    )
}

/// The file, for people.
fn describe(attachment: &Attachment) -> String {
    let kind = attachment.kind.as_str();
    match &attachment.name {
        Some(name) => format!("The {kind} {name:?}"),
        None => format!("The {kind} without a name ({})", attachment.media_type),
    }
}

#[cfg(test)]
mod tests;
