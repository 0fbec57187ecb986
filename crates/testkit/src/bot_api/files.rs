//! Files that bots and users have sent.
//!
//! # Source
//! "Sending files" and "getFile" of the Bot API: 10 MB for photos, 50 MB for other uploads, 20 MB
//! for downloads. Identifiers are opaque, and each bot has its own.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::Upload;
use super::refusal::Refusal;

/// Largest file that a bot may fetch, in bytes.
pub const LARGEST_DOWNLOAD: usize = 20 << 20;
const LARGEST_PHOTO: usize = 10 << 20;

/// What a message carries besides text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    Photo,
    Document,
    Voice,
    Audio,
}

impl FileKind {
    /// Name of the argument and of the message's field.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Document => "document",
            Self::Voice => "voice",
            Self::Audio => "audio",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Photo => "photos",
            Self::Document => "documents",
            Self::Voice => "voice",
            Self::Audio => "music",
        }
    }
}

/// A file in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub kind: FileKind,
    pub file_id: String,
    pub file_unique_id: String,
    pub name: String,
    pub mime: Option<String>,
    /// In bytes.
    pub size: usize,
    /// In seconds, of voice and audio.
    pub duration: u64,
    /// In pixels, of photos.
    pub width: u32,
    pub height: u32,
}

impl Attachment {
    /// The value of the message's field.
    pub(super) fn json(&self) -> Value {
        let mut file = json!({
            "file_id": self.file_id, "file_unique_id": self.file_unique_id, "file_size": self.size,
        });
        match self.kind {
            FileKind::Photo => {
                file["width"] = self.width.into();
                file["height"] = self.height.into();
                return json!([file]);
            }
            FileKind::Document => file["file_name"] = self.name.as_str().into(),
            FileKind::Voice => file["duration"] = self.duration.into(),
            FileKind::Audio => {
                file["duration"] = self.duration.into();
                file["file_name"] = self.name.as_str().into();
            }
        }
        if let Some(mime) = &self.mime {
            file["mime_type"] = mime.as_str().into();
        }
        file
    }
}

#[derive(Debug, Clone)]
struct Stored {
    attachment: Attachment,
    content: Bytes,
    path: String,
}

#[derive(Debug, Default)]
pub(super) struct Files {
    all: BTreeMap<String, Stored>,
}

impl Files {
    pub(super) fn store(
        &mut self,
        bot: i64,
        kind: FileKind,
        upload: &Upload,
        duration: u64,
    ) -> Result<Attachment, Refusal> {
        let size = upload.content.len();
        if size == 0 {
            return Err(Refusal::rule("file must be non-empty"));
        }
        let (mut width, mut height) = (0, 0);
        if kind == FileKind::Photo {
            if size > LARGEST_PHOTO {
                return Err(Refusal::rule(format_args!(
                    "file of size {size} bytes is too big for a photo; the maximum size is {LARGEST_PHOTO} bytes"
                )));
            }
            (width, height) =
                dimensions(&upload.content).ok_or_else(|| Refusal::rule("IMAGE_PROCESS_FAILED"))?;
            // "Width and height ratio must be at most 20", their sum at most 10,000.
            if width + height > 10_000 || width.max(height) > 20 * width.min(height) {
                return Err(Refusal::rule("PHOTO_INVALID_DIMENSIONS"));
            }
        }
        let number = self.all.len() + 1;
        let ending = upload.name.rsplit_once('.').map_or("bin", |(_, ending)| ending);
        let ending: String = ending.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let attachment = Attachment {
            kind,
            file_id: format!("AgACAgIAAxk{bot}-{}-{number}", kind.name()),
            file_unique_id: format!("AQAD{number:08}"),
            name: upload.name.clone(),
            mime: upload.mime.clone(),
            size,
            duration,
            width,
            height,
        };
        let path = format!("{}/file_{number}.{ending}", kind.folder());
        let content = upload.content.clone();
        let stored = Stored { attachment: attachment.clone(), content, path };
        self.all.insert(attachment.file_id.clone(), stored);
        Ok(attachment)
    }

    /// A file that is known already, sent once more.
    pub(super) fn known(&self, kind: FileKind, file_id: &str) -> Result<Attachment, Refusal> {
        let stored = self.all.get(file_id);
        let stored =
            stored.ok_or_else(|| Refusal::rule("wrong file identifier/HTTP URL specified"))?;
        let (is, wanted) = (stored.attachment.kind, kind);
        if is != wanted {
            let name = |kind: FileKind| format!("{kind:?}");
            return Err(Refusal::rule(format_args!(
                "can't use file of type {} as {}",
                name(is),
                name(wanted)
            )));
        }
        Ok(stored.attachment.clone())
    }

    /// What `getFile` says.
    pub(super) fn describe(&self, file_id: Option<&str>) -> Result<Value, Refusal> {
        let file_id = file_id.ok_or_else(|| Refusal::rule("file_id not specified"))?;
        let stored = self.all.get(file_id).ok_or_else(|| Refusal::rule("invalid file_id"))?;
        let file = &stored.attachment;
        if file.size > LARGEST_DOWNLOAD {
            return Err(Refusal::state("file is too big"));
        }
        Ok(json!({
            "file_id": file.file_id, "file_unique_id": file.file_unique_id, "file_size": file.size,
            "file_path": stored.path,
        }))
    }

    pub(super) fn at(&self, path: &str) -> Option<Bytes> {
        let stored = self.all.values().find(|stored| stored.path == path)?;
        (stored.attachment.size <= LARGEST_DOWNLOAD).then(|| stored.content.clone())
    }

    pub(super) fn content(&self, file_id: &str) -> Option<Bytes> {
        self.all.get(file_id).map(|stored| stored.content.clone())
    }
}

/// Width and height of a PNG, GIF or JPEG; other images are not read by the stand-in.
fn dimensions(image: &[u8]) -> Option<(u32, u32)> {
    let word =
        |at: usize| Some(u32::from(u16::from_be_bytes([*image.get(at)?, *image.get(at + 1)?])));
    if image.starts_with(b"\x89PNG\r\n\x1a\n") {
        let number = |at: usize| Some(word(at)? << 16 | word(at + 2)?);
        return Some((number(16)?, number(20)?))
            .filter(|(width, height)| *width > 0 && *height > 0);
    }
    if image.starts_with(b"GIF8") {
        return Some((word(6)?.swap_bytes() >> 16, word(8)?.swap_bytes() >> 16));
    }
    if !image.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    // Segments of a JPEG: marker, length, content; SOF0 to SOF15 hold the size.
    let mut at = 2;
    loop {
        let marker = word(at)?;
        if (0xffc0..=0xffcf).contains(&marker) && !matches!(marker, 0xffc4 | 0xffc8 | 0xffcc) {
            return Some((word(at + 7)?, word(at + 5)?));
        }
        at += 2 + usize::try_from(word(at + 2)?).ok()?;
    }
}
