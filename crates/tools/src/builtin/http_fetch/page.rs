//! From a response to text.

use std::borrow::Cow;

use reqwest::{Response, header};
use url::Url;

use super::guard::explain;
use crate::tool::ToolError;

/// Most bytes that are read of a body.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// Media types of text beside `text/*`, `*+json` and `*+xml`.
const TEXTS: [&str; 8] = [
    "application/json",
    "application/x-ndjson",
    "application/xml",
    "application/javascript",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/x-www-form-urlencoded",
];

/// Reads a response: status, address and media type in a head, then the text.
pub(super) async fn read(url: &Url, mut response: Response) -> Result<String, ToolError> {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind
        .map_or(Cow::Borrowed(""), |kind| String::from_utf8_lossy(kind.as_bytes()))
        .to_ascii_lowercase();
    let media = kind.split(';').next().unwrap_or_default().trim().to_owned();
    if !media.is_empty() && !is_text(&media) {
        return Err(ToolError::failed("not_text", format!("{url} is {media}; only text is read")));
    }
    let (body, cut) = read_body(url, &mut response).await?;
    if media.is_empty()
        && (body.contains(&0)
            || std::str::from_utf8(&body).is_err_and(|error| error.error_len().is_some()))
    {
        return Err(ToolError::failed("not_text", format!("{url} is no text")));
    }
    let text = decode(&kind, &body);
    let note = if cut { format!("\n[cut after {MAX_BODY_BYTES} bytes]") } else { String::new() };
    let status = response.status();
    let shown = if media.is_empty() { "unnamed" } else { &media };
    Ok(format!("status: {status}\nurl: {url}\ntype: {shown}\n\n{text}{note}"))
}

fn is_text(media: &str) -> bool {
    media.starts_with("text/")
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || TEXTS.contains(&media)
}

async fn read_body(url: &Url, response: &mut Response) -> Result<(Vec<u8>, bool), ToolError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| explain(url, &error))? {
        let room = MAX_BODY_BYTES - body.len();
        body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if piece.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

/// UTF-8, or Latin-1 where the server says so.
fn decode(kind: &str, body: &[u8]) -> String {
    let latin = ["iso-8859-1", "latin1", "windows-1252"].iter().any(|name| kind.contains(name));
    match std::str::from_utf8(body) {
        Err(_) if latin => body.iter().map(|byte| char::from(*byte)).collect(),
        Ok(_) | Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}
