use bytes::Bytes;
use futures_util::future::BoxFuture;
use nexus_blobs::{Blobs, Error};
use nexus_bus::Chain;
use nexus_contracts::{AttachmentKind, Effect, ToolSpec};
use serde_json::{Value, json};

use crate::tool::{CallContext, Output, Tool, ToolError};

/// Longest file name in bytes: what ext4, NTFS and Telegram take.
const MAX_NAME: usize = 120;

/// Gives the speaker a file with the text that the model has written.
pub(crate) struct SendFile {
    blobs: Blobs,
}

impl SendFile {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self { blobs }
    }

    async fn send(&self, arguments: &Value, context: &CallContext) -> Result<Output, ToolError> {
        let text = |name| arguments.get(name).and_then(Value::as_str);
        let name = file_name(text("name").unwrap_or_default())?;
        let content = Bytes::from(text("content").unwrap_or_default().to_owned());
        let kind = AttachmentKind::Document;
        let kept = self.blobs.put(context.tenant, kind, Some(name), text("media_type"), content);
        let attachment = kept.await.map_err(|error| match error {
            Error::TooLarge { .. } => ToolError::failed("too_large", error.to_string()),
            Error::Open { .. }
            | Error::Unknown { .. }
            | Error::Damaged { .. }
            | Error::Store { .. } => {
                ToolError::failed("store_unavailable", Chain(&error).to_string())
            }
        })?;
        let text = format!(
            "{} is attached to your reply: {}, {} bytes. Do not repeat its content.",
            attachment.name.as_deref().unwrap_or_default(),
            attachment.media_type,
            attachment.bytes
        );
        Ok(Output { text, attachments: vec![attachment] })
    }
}

impl Tool for SendFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "send_file".to_owned(),
            description:
                "Attaches a text file to your reply, for example notes, code, CSV or SVG. \
                          Use it for what the person will want to keep or open elsewhere."
                    .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": MAX_NAME,
                        "description": "File name with its ending and without folders, for example notes.md.",
                    },
                    "content": { "type": "string", "description": "The whole text of the file." },
                    "media_type": {
                        "type": "string",
                        "maxLength": 100,
                        "pattern": "^[a-z]+/[A-Za-z0-9.+-]+$",
                        "description": "For example text/markdown or text/csv; text/plain when left out.",
                    },
                },
                "required": ["name", "content"],
                "additionalProperties": false,
            }),
            // The file is named after its content and seen by nobody before the reply is given.
            effect: Effect::Read,
            timeout_ms: 10_000,
            client: None,
        }
    }

    fn call(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        Box::pin(async move { self.send(&arguments, &context).await })
    }
}

/// The name, when it names a file and no place.
fn file_name(name: &str) -> Result<String, ToolError> {
    let name = name.trim();
    let places = |c: char| c.is_control() || ['/', '\\', ':'].contains(&c);
    if name.is_empty() || name.len() > MAX_NAME || name.contains(places) || name.starts_with('.') {
        let text = format!(
            "{name:?} is no file name; give one such as notes.md, without folders, at most {MAX_NAME} bytes"
        );
        return Err(ToolError::failed("invalid_name", text));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nexus_contracts::{Attachment, LOCAL_TENANT, TenantId};
    use uuid::Uuid;

    use super::*;

    async fn send(blobs: &Blobs, arguments: Value) -> Result<Output, ToolError> {
        let context = CallContext {
            tenant: LOCAL_TENANT,
            call: Uuid::from_u128(1),
            run: Uuid::from_u128(2),
            user: None,
            deadline: Instant::now() + Duration::from_secs(10),
        };
        SendFile::new(blobs.clone()).call(arguments, context).await
    }

    fn open(folder: &std::path::Path, max_bytes: u64) -> Blobs {
        Blobs::open(&nexus_blobs::Config { folder: None, max_bytes }, folder).unwrap()
    }

    #[tokio::test]
    async fn the_file_is_kept_for_the_tenant_and_attached() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path(), 100);
        let arguments =
            json!({ "name": "notes.md", "content": "# Hi", "media_type": "text/markdown" });

        let output = send(&blobs, arguments.clone()).await.unwrap();

        let [attachment] = &output.attachments[..] else { panic!("{output:?}") };
        assert_eq!(
            attachment,
            &Attachment {
                uri: format!("blob:{LOCAL_TENANT}/{}", attachment.sha256),
                sha256: "38c64a17e33e98b7abb8edace0888dffe5918eea28fe4812281fa1ecc0664af4"
                    .to_owned(),
                media_type: "text/markdown".to_owned(),
                bytes: 4,
                kind: AttachmentKind::Document,
                name: Some("notes.md".to_owned()),
            }
        );
        assert_eq!(blobs.get(LOCAL_TENANT, &attachment.uri).await.unwrap(), "# Hi");
        assert!(blobs.get(TenantId(Uuid::from_u128(9)), &attachment.uri).await.is_err());
        assert_eq!(send(&blobs, arguments).await.unwrap(), output);
    }

    #[tokio::test]
    async fn what_is_no_file_name_or_too_large_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path(), 3);
        for name in ["", " ", "a/b", "..", ".ssh", "a\\b", "C:x", "a\nb"] {
            let refused = send(&blobs, json!({ "name": name, "content": "x" })).await.unwrap_err();
            assert!(matches!(refused, ToolError::Failed { code: "invalid_name", .. }), "{name:?}");
        }
        let refused = send(&blobs, json!({ "name": "a", "content": "1234" })).await.unwrap_err();
        assert_eq!(refused.to_string(), "the file has 4 bytes, the limit is 3; send a smaller one");
    }
}
