//! Files between Telegram and the blob store.

use nexus_contracts::{Attachment, AttachmentKind};

use crate::bot::Bot;
use crate::chat::Chat;
use crate::client::Upload;
use crate::error::Error;
use crate::piece::Piece;

/// Largest photo and largest other file that a bot may send, in bytes.
///
/// # Source
/// Bot API, "Sending files": "10 MB max size for photos, 50 MB for other files".
const LARGEST_PHOTO: u64 = 10 * 1024 * 1024;
const LARGEST: u64 = 50 * 1024 * 1024;

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) kind: AttachmentKind,
    pub(crate) file_id: String,
    pub(crate) name: Option<String>,
    pub(crate) media_type: Option<String>,
    /// In bytes, as Telegram says.
    pub(crate) size: Option<u64>,
}

/// Fetches a file and keeps it.
///
/// # Errors
/// Why it cannot be had.
pub(crate) async fn fetch(bot: &Bot, file: &Incoming) -> Result<Attachment, Error> {
    let limit = crate::client::LARGEST_DOWNLOAD.min(bot.blobs.max_bytes());
    if let Some(bytes) = file.size.filter(|bytes| *bytes > limit) {
        return Err(Error::FileTooLarge { bytes, limit });
    }
    let bytes = match bot.client.fetch(&file.file_id).await {
        Err(error) if error.is_ambiguous() => bot.client.fetch(&file.file_id).await?,
        fetched => fetched?,
    };
    let claimed = file.media_type.as_deref();
    let kept = bot.blobs.put(bot.tenant, file.kind, file.name.clone(), claimed, bytes).await?;
    Ok(kept)
}

/// Sends a file; one that Telegram does not take in its kind goes as a document, one that it does
/// not take at all as a note.
pub(crate) async fn send(
    bot: &Bot,
    chat: Chat,
    file: &Attachment,
    caption: Option<&Piece>,
) -> Result<(), Error> {
    if file.bytes > LARGEST {
        return note(bot, chat, file, "is too large for Telegram", caption).await;
    }
    let bytes = match bot.blobs.get(bot.tenant, &file.uri).await {
        Ok(bytes) => bytes,
        Err(error @ (nexus_blobs::Error::Unknown { .. } | nexus_blobs::Error::Damaged { .. })) => {
            tracing::error!(%error, "a file that was to be sent is not in the blob store");
            return note(bot, chat, file, "cannot be found any more", caption).await;
        }
        Err(error) => return Err(error.into()),
    };
    let name = file.name.clone().unwrap_or_else(|| default_name(file));
    let kind = sendable(file);
    let media_type = &file.media_type;
    let upload = Upload { kind, name: &name, media_type, bytes, caption };
    let sent = match bot.client.send_file(chat, &upload).await {
        Err(error) if kind != AttachmentKind::Document && is_about_content(&error) => {
            let upload = Upload { kind: AttachmentKind::Document, ..upload };
            bot.client.send_file(chat, &upload).await
        }
        sent => sent,
    };
    sent.map(|_| ())
}

/// Says that a file does not come.
async fn note(
    bot: &Bot,
    chat: Chat,
    file: &Attachment,
    why: &str,
    caption: Option<&Piece>,
) -> Result<(), Error> {
    let text = format!("{} {why}.", file.note());
    let text = match caption {
        Some(caption) => format!("{}\n\n{text}", caption.text),
        None => text,
    };
    bot.client.send(chat, &Piece::plain(text)).await.map(|_| ())
}

/// The kind in which Telegram takes a file.
fn sendable(file: &Attachment) -> AttachmentKind {
    let media_type = file.media_type.as_str();
    let is_image = ["image/jpeg", "image/png", "image/webp"].contains(&media_type);
    let is_voice =
        ["audio/ogg", "audio/opus", "audio/mpeg", "audio/mp4", "audio/m4a", "audio/x-m4a"]
            .contains(&media_type);
    let is_audio = ["audio/mpeg", "audio/mp4", "audio/m4a", "audio/x-m4a"].contains(&media_type);
    match file.kind {
        AttachmentKind::Photo if is_image && file.bytes <= LARGEST_PHOTO => AttachmentKind::Photo,
        AttachmentKind::Voice if is_voice => AttachmentKind::Voice,
        AttachmentKind::Audio if is_audio => AttachmentKind::Audio,
        AttachmentKind::Photo
        | AttachmentKind::Voice
        | AttachmentKind::Audio
        | AttachmentKind::Document => AttachmentKind::Document,
    }
}

/// Whether the same file may go in another form: nothing is wrong with the chat.
fn is_about_content(error: &Error) -> bool {
    let Error::Refused { code: 400, description, migrated_to: None, .. } = error else {
        return false;
    };
    let description = description.to_lowercase();
    ["photo_", "image_", "voice", "audio", "file", "too big", "wrong type"]
        .iter()
        .any(|words| description.contains(words))
}

/// A name by which the person's device knows what to do with the file.
fn default_name(file: &Attachment) -> String {
    let ending = match file.media_type.as_str() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "audio/ogg" | "audio/opus" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => "m4a",
        "text/plain" => "txt",
        "application/pdf" => "pdf",
        "application/json" => "json",
        _ => "bin",
    };
    format!("{}.{ending}", file.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: AttachmentKind, media_type: &str, bytes: u64) -> Attachment {
        Attachment {
            uri: String::new(),
            sha256: String::new(),
            media_type: media_type.to_owned(),
            bytes,
            kind,
            name: None,
        }
    }

    #[test]
    fn files_go_in_the_kind_that_telegram_takes_them_in() {
        use AttachmentKind::{Audio, Document, Photo, Voice};
        for (kind, media_type, bytes, sent) in [
            (Photo, "image/png", 5, Photo),
            (Photo, "image/png", LARGEST_PHOTO + 1, Document),
            (Photo, "image/svg+xml", 5, Document),
            (Voice, "audio/ogg", 5, Voice),
            (Voice, "audio/wav", 5, Document),
            (Audio, "audio/mpeg", 5, Audio),
            (Audio, "audio/flac", 5, Document),
            (Document, "image/png", 5, Document),
        ] {
            assert_eq!(sendable(&file(kind, media_type, bytes)), sent, "{kind:?} {media_type}");
        }
    }
}
