//! Files that come with a request.

use nexus_contracts::Attachment;
use serde::Deserialize;

use crate::app::App;
use crate::door::offers::MOST_FILES;
use crate::keys::Principal;

use super::dialect::Refused;

/// What bytes are whose sender says nothing about them; the store looks at them too.
const ANY_TYPE: &str = "application/octet-stream";

/// A file as a client attaches it: its bytes, or one that it has uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AttachmentRef {
    #[serde(default)]
    base64: Option<String>,
    /// As `POST /v1/files` returned it.
    #[serde(default)]
    file_id: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl App {
    /// Keeps the files of a request and returns their claim checks.
    pub(super) async fn attach(
        &self,
        who: &Principal,
        files: Vec<AttachmentRef>,
    ) -> Result<Vec<Attachment>, Refused> {
        let bad = |message: String| Refused::new("bad_attachment", message);
        if files.len() > MOST_FILES {
            return Err(bad(format!("at most {MOST_FILES} files go with one request")));
        }
        let mut kept = Vec::with_capacity(files.len());
        for (index, file) in files.into_iter().enumerate() {
            let place = format!("attachments[{index}]");
            let done = match (file.base64, file.file_id) {
                (Some(data), None) => {
                    let media_type = file.media_type.as_deref().unwrap_or(ANY_TYPE);
                    self.take_base64(who, &data, media_type, file.name, &place).await
                }
                (None, Some(id)) => self.uploaded(who, &id).await,
                _ => return Err(bad(format!("{place}: give base64 or file_id, one of the two"))),
            };
            kept.push(done.map_err(|refused| bad(refused.body().message.clone()))?);
        }
        Ok(kept)
    }
}
