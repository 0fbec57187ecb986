//! What clients bring along: tools that their own programs run, and files.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nexus_blobs::{MAX_IMAGE_BYTES, VIEWABLE_IMAGES, is_false_image, viewable_image};
use nexus_contracts::{Attachment, AttachmentKind, Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::keys::Principal;
use crate::refused::Refused;

/// Most tools that one request may offer.
const MOST_TOOLS: usize = 64;
/// Longest name of a tool.
///
/// # Source
/// OpenAI, chat completions, `tools.function.name`.
const LONGEST_NAME: usize = 64;
/// Most files in one message.
pub(crate) const MOST_FILES: usize = 16;

/// A tool that a client's own program runs.
pub(crate) struct Offer<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
    /// JSON Schema of the arguments.
    pub(crate) parameters: Option<&'a Value>,
    pub(crate) timeout_ms: Option<u64>,
}

/// A tool that a page runs, as AG-UI's and Vercel's clients describe it.
#[derive(Debug, Deserialize)]
pub(crate) struct PageTool {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
}

impl PageTool {
    pub(crate) fn offer(&self) -> Offer<'_> {
        Offer {
            name: &self.name,
            description: self.description.as_deref(),
            parameters: self.parameters.as_ref(),
            timeout_ms: None,
        }
    }
}

impl App {
    /// The tools of one request, as the run is told of them; `client` is who runs them.
    pub(crate) fn offers(
        &self,
        client: &str,
        agent: Option<&str>,
        offers: &[Offer<'_>],
    ) -> Result<Vec<ToolSpec>, Refused> {
        if offers.len() > MOST_TOOLS {
            return Err(Refused::invalid(format!("tools: at most {MOST_TOOLS} can be offered")));
        }
        let agents = self.agents.entries();
        let agent = agents.get(agent.unwrap_or(&self.config.default_agent));
        let mut specs: Vec<ToolSpec> = Vec::with_capacity(offers.len());
        for (index, offer) in offers.iter().enumerate() {
            let wrong = |why: &str| Refused::invalid(format!("tools[{index}]: {why}"));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            let name = offer.name;
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
                return Err(wrong("a name has 1 to 64 letters, digits, '_' and '-'"));
            }
            if agent.is_some_and(|agent| agent.tools.iter().any(|tool| tool == name)) {
                return Err(wrong(&format!(
                    "the agent has a tool {name:?} itself; choose another name"
                )));
            }
            if specs.iter().any(|spec| spec.name == name) {
                return Err(wrong(&format!("the name {name:?} is given twice")));
            }
            let empty = json!({ "type": "object", "properties": {} });
            let parameters = offer.parameters.filter(|schema| !schema.is_null()).unwrap_or(&empty);
            if !parameters.is_object() {
                return Err(wrong("parameters has to be a JSON Schema, an object"));
            }
            let patience =
                u64::try_from(self.config.answer_timeout.as_millis()).unwrap_or(u64::MAX);
            specs.push(ToolSpec {
                name: name.to_owned(),
                description: offer.description.unwrap_or_default().to_owned(),
                parameters: parameters.clone(),
                // What a client's program does is not for us to know.
                effect: Effect::Write,
                timeout_ms: offer.timeout_ms.unwrap_or(patience).min(patience),
                client: Some(client.to_owned()),
            });
        }
        Ok(specs)
    }

    /// Keeps a file that came within a request as a `data:` URL.
    pub(crate) async fn take_data_url(
        &self,
        who: &Principal,
        url: &str,
        name: Option<String>,
        place: &str,
    ) -> Result<Attachment, Refused> {
        let Some(rest) = url.strip_prefix("data:") else {
            let message = format!(
                "{place}: files at other places are not fetched; send the bytes as a data: URL, or upload them with POST /v1/files"
            );
            return Err(Refused::invalid(message));
        };
        let wrong = || Refused::invalid(format!("{place}: that is no data:TYPE;base64,... URL"));
        let (head, data) = rest.split_once(',').ok_or_else(wrong)?;
        let media_type = head.strip_suffix(";base64").ok_or_else(wrong)?;
        let media_type = media_type.split(';').next().unwrap_or_default();
        self.take_base64(who, data, media_type, name, place).await
    }

    /// Keeps a file that came within a request in base64.
    pub(crate) async fn take_base64(
        &self,
        who: &Principal,
        data: &str,
        media_type: &str,
        name: Option<String>,
        place: &str,
    ) -> Result<Attachment, Refused> {
        let bytes = STANDARD.decode(data).or_else(|_| STANDARD_NO_PAD.decode(data));
        let bytes = bytes.map_err(|_| Refused::invalid(format!("{place}: that is no base64")))?;
        check_image(&bytes, media_type, place)?;
        let sent_as = kind(media_type);
        let kept =
            self.blobs.put(who.tenant, sent_as, name, Some(media_type), bytes.into()).await?;
        // What it is seen as follows from its bytes, not from what the sender says.
        let kept = Attachment { kind: kind(&kept.media_type), ..kept };
        self.threads.keep(who, &kept).await?;
        Ok(kept)
    }

    /// A file that this user has uploaded.
    pub(crate) async fn uploaded(&self, who: &Principal, id: &str) -> Result<Attachment, Refused> {
        let id = id.strip_prefix("file-").unwrap_or(id);
        self.threads.file(who, id).await?.ok_or_else(|| Refused::not_found("file"))
    }
}

/// Refuses what calls itself an image and is none, and images that no model takes.
pub(crate) fn check_image(bytes: &[u8], claimed: &str, place: &str) -> Result<(), Refused> {
    if is_false_image(bytes, claimed) {
        let message = format!(
            "{place}: it says that it is {claimed}, but it is an image that is not one; an image is one of {}",
            VIEWABLE_IMAGES.join(", ")
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, "not_an_image", message));
    }
    if viewable_image(bytes).is_some() && bytes.len() > MAX_IMAGE_BYTES {
        let message = format!(
            "{place}: the image has {} bytes, it may have {MAX_IMAGE_BYTES}; send it smaller",
            bytes.len()
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, "image_too_large", message));
    }
    Ok(())
}

/// How people see a file of this type.
pub(crate) fn kind(media_type: &str) -> AttachmentKind {
    match media_type.split_once('/') {
        Some(("image", _)) => AttachmentKind::Photo,
        Some(("audio", _)) => AttachmentKind::Audio,
        _ => AttachmentKind::Document,
    }
}
