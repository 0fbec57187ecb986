//! The file of a message: uploaded, named by `file_id`, or fetched from an address.

use std::time::Duration;

use super::arguments::{Arguments, Upload};
use super::files::{Attachment, FileKind};
use super::refusal::Refusal;
use super::state::BotState;
use axum::body::Bytes;

/// Longest wait for a file at an address.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches a file that is named by an address, as the server does; only from this machine.
pub(super) async fn fetch(kind: FileKind, arguments: &mut Arguments) -> Result<(), Refusal> {
    let name = kind.name();
    let Some(address) = arguments.text(name).filter(|value| value.starts_with("http")) else {
        return Ok(());
    };
    let failed = || Refusal::rule("failed to get HTTP URL content");
    let address = reqwest::Url::parse(address).map_err(|_| failed())?;
    if !matches!(address.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        return Err(failed());
    }
    let file = address.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or("file");
    let file = file.to_owned();
    let client = super::webhook::client().map_err(|_| failed())?;
    let response = client.get(address).timeout(FETCH_TIMEOUT).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|_| failed())?;
    let mime = response.headers().get("content-type").and_then(|mime| mime.to_str().ok());
    let mime = mime.map(str::to_owned);
    let content = response.bytes().await.map_err(|_| failed())?;
    arguments.set_file(name, Upload { name: file, mime, content });
    Ok(())
}

/// The file that a call sends.
pub(super) fn attachment(
    bot: &mut BotState,
    kind: FileKind,
    arguments: &Arguments,
) -> Result<Attachment, Refusal> {
    let name = kind.name();
    let duration = arguments.number("duration").and_then(|seconds| u64::try_from(seconds).ok());
    if let Some(upload) = arguments.file(name) {
        return bot.files.store(bot.id, kind, upload, duration.unwrap_or(0));
    }
    match arguments.text(name) {
        Some(file_id) => bot.files.known(kind, file_id),
        None => Err(Refusal::rule(format_args!("there is no {name} in the request"))),
    }
}

/// A file as a user sends it.
pub(super) fn of_user(
    bot: &mut BotState,
    kind: FileKind,
    name: &str,
    mime: &str,
    content: &[u8],
) -> Result<Attachment, Refusal> {
    let content = Bytes::copy_from_slice(content);
    let upload = Upload { name: name.to_owned(), mime: Some(mime.to_owned()), content };
    bot.files.store(bot.id, kind, &upload, u64::from(kind != FileKind::Document))
}
