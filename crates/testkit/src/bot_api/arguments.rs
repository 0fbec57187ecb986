//! Arguments of a call: from the address and from a form, multipart or JSON body.
//!
//! # Source
//! "Making requests" of the Bot API; objects and lists arrive as JSON text in all but JSON bodies.

use std::collections::BTreeMap;

use axum::Form;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Multipart, Query, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refusal::{Cause, Refusal};

/// Largest body of a call: a file of 50 MB, the limit for uploads, and the rest of the form.
const MAX_BODY: usize = 51 << 20;

/// A file that came with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) mime: Option<String>,
    pub(super) content: Bytes,
}

/// Arguments of a call, all as text, as the real server takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    values: BTreeMap<String, String>,
    files: BTreeMap<String, Upload>,
}

impl Arguments {
    /// The argument; one that is empty counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        let value = self.text(name).map(str::to_lowercase);
        matches!(value.as_deref(), Some("true" | "yes" | "1"))
    }

    /// A list or an object; `what` names it in the refusal of one that is neither.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let unreadable = |_| Refusal::rule(format_args!("can't parse {what} JSON object"));
        serde_json::from_str(text).map(Some).map_err(unreadable)
    }

    /// The file of an argument: a part of that name, or the part that `attach://` points to.
    pub(super) fn file(&self, name: &str) -> Option<&Upload> {
        match self.text(name).and_then(|value| value.strip_prefix("attach://")) {
            Some(part) => self.files.get(part),
            None => self.files.get(name),
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Value) {
        let text = match value {
            Value::Null => return,
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.values.insert(name.to_owned(), text);
    }

    pub(super) fn set_file(&mut self, name: &str, upload: Upload) {
        self.values.remove(name);
        self.files.insert(name.to_owned(), upload);
    }

    /// The arguments of an object, as webhooks too may answer with.
    pub(super) fn from_object(object: Map<String, Value>) -> Self {
        let mut arguments = Self::default();
        for (name, value) in object {
            arguments.set(&name, value);
        }
        arguments
    }

    pub(super) async fn read(request: Request) -> Result<Self, Refusal> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let pairs = query.map(|Query(pairs)| pairs).unwrap_or_default();
        let mut arguments = Self { values: pairs.into_iter().collect(), files: BTreeMap::new() };
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("").to_lowercase();
        if kind.starts_with("application/json") {
            let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
            let body = body.map_err(|_| too_large())?;
            let unreadable = |_| Refusal::rule("can't parse JSON object");
            let object: Map<String, Value> = serde_json::from_slice(&body).map_err(unreadable)?;
            for (name, value) in object {
                arguments.set(&name, value);
            }
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            let Form(pairs) = form.map_err(|_| Refusal::rule("can't parse form"))?;
            arguments.values.extend(pairs);
        } else if kind.starts_with("multipart/form-data") {
            arguments.read_parts(request).await?;
        } else if !kind.is_empty() {
            return Err(Refusal::rule(format_args!("the stand-in takes no bodies of type {kind}")));
        }
        Ok(arguments)
    }

    async fn read_parts(&mut self, request: Request) -> Result<(), Refusal> {
        let broken = |_| Refusal::rule("can't parse multipart form");
        let (head, body) = request.into_parts();
        // To its very end: a client that still writes when it is answered takes that for a failure.
        let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| too_large())?;
        let request = Request::from_parts(head, body.into());
        let parts = Multipart::from_request(request, &()).await;
        let mut parts = parts.map_err(|_| Refusal::rule("can't parse multipart form"))?;
        while let Some(part) = parts.next_field().await.map_err(broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            let (file, mime) = (part.file_name().map(str::to_owned), part.content_type());
            let mime = mime.map(str::to_owned);
            let content = part.bytes().await.map_err(|_| too_large())?;
            match file {
                Some(file) => {
                    self.files.insert(name, Upload { name: file, mime, content });
                }
                None => {
                    let text = String::from_utf8(content.to_vec());
                    let text =
                        text.map_err(|_| Refusal::rule("strings must be encoded in UTF-8"))?;
                    self.values.insert(name, text);
                }
            }
        }
        Ok(())
    }
}

fn too_large() -> Refusal {
    Refusal::new(413, "Request Entity Too Large", Cause::Rule)
}

/// The limit that the router is to put on bodies.
pub(super) fn body_limit() -> axum::extract::DefaultBodyLimit {
    axum::extract::DefaultBodyLimit::max(MAX_BODY)
}
