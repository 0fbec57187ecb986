//! What was said, as OpenAI's clients write it.

use axum::http::StatusCode;
use nexus_blobs::VIEWABLE_IMAGES;
use nexus_contracts::Attachment;
use serde_json::Value;

use crate::app::App;
use crate::dialogue::{Answered, Called, Dialogue, Said};
use crate::door::offers::MOST_FILES;
use crate::keys::Principal;
use crate::openai::ChatMessage;
use crate::refused::Refused;

/// The messages of a request; the files in them are kept.
pub(super) async fn dialogue(
    app: &App,
    who: &Principal,
    messages: &[ChatMessage],
) -> Result<Dialogue, Refused> {
    let mut said = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        let (text, attachments) = content(app, who, &message.content, &place).await?;
        if message.role != "user" && !attachments.is_empty() {
            return Err(Refused::invalid(format!(
                "{place}.content: only a user's message has files"
            )));
        }
        said.push(match message.role.as_str() {
            "system" | "developer" => Said::Instructions(text),
            "user" => Said::User { text, attachments },
            "assistant" => {
                let calls = message.tool_calls.iter().flatten().map(|call| Called {
                    id: call.id.clone(),
                    tool: call.function.name.clone(),
                    arguments: call.function.arguments.clone(),
                });
                Said::Assistant { text, calls: calls.collect() }
            }
            "tool" => {
                let missing = || Refused::invalid(format!("{place}.tool_call_id: it is missing"));
                let id = message.tool_call_id.clone().ok_or_else(missing)?;
                Said::Result(Answered { id, text, is_error: false })
            }
            other => {
                return Err(Refused::invalid(format!(
                    "{place}.role: {other:?} is not supported; use system, developer, user, assistant or tool"
                )));
            }
        });
    }
    Ok(Dialogue(said))
}

/// The text and the files of a message.
async fn content(
    app: &App,
    who: &Principal,
    content: &Value,
    place: &str,
) -> Result<(String, Vec<Attachment>), Refused> {
    let parts = match content {
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        Value::Null => return Ok((String::new(), Vec::new())),
        Value::Array(parts) => parts,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Refused::invalid(format!(
                "{place}.content: it is text, or a list of parts"
            )));
        }
    };
    let (mut text, mut files) = (String::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let place = format!("{place}.content[{index}]");
        let field = |path: &str| part.pointer(path).and_then(Value::as_str);
        let named = field("/file/filename").map(str::to_owned);
        let file = match field("/type").unwrap_or_default() {
            "text" => {
                text.push_str(field("/text").unwrap_or_default());
                continue;
            }
            "image_url" => {
                let url = field("/image_url/url").unwrap_or_default();
                let taken = app.take_data_url(who, url, None, &place).await?;
                if !VIEWABLE_IMAGES.contains(&taken.media_type.as_str()) {
                    let message = format!(
                        "{place}: {} is no image that models see; these are {}",
                        taken.media_type,
                        VIEWABLE_IMAGES.join(", ")
                    );
                    return Err(Refused::new(StatusCode::BAD_REQUEST, "not_an_image", message));
                }
                taken
            }
            "input_audio" => {
                let (data, format) =
                    (field("/input_audio/data"), field("/input_audio/format").unwrap_or("wav"));
                let media_type = format!("audio/{format}");
                app.take_base64(who, data.unwrap_or_default(), &media_type, None, &place).await?
            }
            "file" => match (field("/file/file_id"), field("/file/file_data")) {
                (Some(id), _) => app.uploaded(who, id).await?,
                (None, Some(data)) => app.take_data_url(who, data, named, &place).await?,
                (None, None) => {
                    return Err(Refused::invalid(format!(
                        "{place}: it has neither file_id nor file_data"
                    )));
                }
            },
            other => {
                return Err(Refused::invalid(format!(
                    "{place}.type: {other:?} is not supported; use text, image_url, input_audio or file"
                )));
            }
        };
        files.push(file);
        if files.len() > MOST_FILES {
            return Err(Refused::invalid(format!(
                "{place}: at most {MOST_FILES} files in one message"
            )));
        }
    }
    Ok((text, files))
}
