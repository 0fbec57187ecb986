use axum::body::Bytes;
use nexus_testkit::bot_api::{FileKind, LARGEST_DOWNLOAD, Said};
use serde_json::{Value, json};

use crate::{ANN, SOON, done, http, refused, start};

/// The head of a PNG with this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &size, b"\x08\x06\0\0\0"].concat()
}

/// A JPEG with one segment before the size.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
    [b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08".as_slice(), &size, b"\x01"].concat()
}

/// Uploads a file as an argument of a call.
async fn upload(
    bot: &nexus_testkit::bot_api::Bot,
    kind: &str,
    caption: &str,
    content: &[u8],
) -> Value {
    let method = format!("send{}{}", kind[..1].to_uppercase(), &kind[1..]);
    let mut body = Vec::new();
    for (name, value) in [("chat_id", ANN.to_string()), ("caption", caption.to_owned())] {
        body.extend(
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    body.extend(format!("--x\r\nContent-Disposition: form-data; name=\"{kind}\"; filename=\"a.bin\"\r\nContent-Type: text/plain\r\n\r\n").bytes());
    body.extend(content);
    body.extend(b"\r\n--x--\r\n");
    let address = format!("{}/bot{}/{method}", bot.url(), bot.token());
    let request = http().post(address).header("content-type", "multipart/form-data; boundary=x");
    request.body(body).send().await.unwrap().json().await.unwrap()
}

async fn download(bot: &nexus_testkit::bot_api::Bot, path: &Value) -> (u16, Bytes) {
    let path = path.as_str().unwrap();
    let address = format!("{}/file/bot{}/{path}", bot.url(), bot.token());
    let answer = http().get(address).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap())
}

#[tokio::test]
async fn what_a_user_sends_can_be_fetched_by_this_bot_only() {
    let api = start().await;
    let file = Said::file(FileKind::Voice, "a.ogg", "audio/ogg", b"OggS").captioned("hear");
    let file_id = api.user_sends(ANN, ANN, file).unwrap().file_id.unwrap();
    let message = &done(&api, "getUpdates", json!({})).await[0]["message"];
    assert_eq!(
        (&message["voice"]["file_id"], &message["caption"]),
        (&json!(file_id), &json!("hear"))
    );
    let file = done(&api, "getFile", json!({ "file_id": file_id })).await;
    assert_eq!(download(&api, &file["file_path"]).await, (200, Bytes::from_static(b"OggS")));
    let other = api.add_bot("77:AAanother-bot-of-the-same-stand-in-00");
    assert_eq!(
        refused(&other, "getFile", json!({ "file_id": file_id })).await,
        "Bad Request: invalid file_id"
    );
    assert_eq!(download(&other, &file["file_path"]).await.0, 404);
}

#[tokio::test]
async fn a_file_of_more_than_20_mb_is_too_big_to_fetch() {
    let api = start().await;
    let send = |size: usize| {
        let file = Said::file(FileKind::Document, "a.bin", "application/zip", &vec![7; size]);
        api.user_sends(ANN, ANN, file).unwrap().file_id.unwrap()
    };
    let (fits, too_big) = (send(LARGEST_DOWNLOAD), send(LARGEST_DOWNLOAD + 1));
    assert_eq!(
        refused(&api, "getFile", json!({ "file_id": too_big })).await,
        "Bad Request: file is too big"
    );
    let file = done(&api, "getFile", json!({ "file_id": fits })).await;
    assert_eq!(download(&api, &file["file_path"]).await.1.len(), LARGEST_DOWNLOAD);
    assert_eq!(api.violations(), []);
}

#[tokio::test]
async fn uploads_are_checked() {
    let api = start().await;
    let why = |answer: Value| answer["description"].as_str().unwrap_or("done").to_owned();
    assert_eq!(why(upload(&api, "document", "", b"").await), "Bad Request: file must be non-empty");
    assert_eq!(
        why(upload(&api, "photo", "", b"no image").await),
        "Bad Request: IMAGE_PROCESS_FAILED"
    );
    assert_eq!(
        why(upload(&api, "photo", "", &png(21, 1)).await),
        "Bad Request: PHOTO_INVALID_DIMENSIONS"
    );
    let caption = "👍".repeat(513);
    assert_eq!(
        why(upload(&api, "document", &caption, b"x").await),
        "Bad Request: message caption is too long"
    );
    assert_eq!(
        refused(&api, "sendPhoto", json!({ "chat_id": ANN })).await,
        "Bad Request: there is no photo in the request"
    );
    let unknown = json!({ "chat_id": ANN, "document": "who" });
    assert_eq!(
        refused(&api, "sendDocument", unknown).await,
        "Bad Request: wrong file identifier/HTTP URL specified"
    );
    assert_eq!(api.violations().len(), 6);

    for image in [png(20, 10), jpeg(20, 10)] {
        let photo = upload(&api, "photo", &caption[4..], &image).await;
        let size = &photo["result"]["photo"][0];
        assert_eq!((&size["width"], &size["height"]), (&json!(20), &json!(10)), "{photo}");
    }
    let photo = api.transcript(ANN).messages[0].file.clone().unwrap().file_id;
    let again = json!({ "chat_id": ANN, "photo": photo });
    done(&api, "sendPhoto", again).await;
    let as_voice = json!({ "chat_id": ANN, "voice": photo });
    assert_eq!(
        refused(&api, "sendVoice", as_voice).await,
        "Bad Request: can't use file of type Photo as Voice"
    );
}

#[tokio::test]
async fn a_file_at_an_address_is_fetched() {
    let api = start().await;
    let pages = axum::Router::new().route("/b/c.txt", axum::routing::get(|| async { "content" }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, pages).await });
    let at = |path: &str| json!({ "chat_id": ANN, "document": format!("http://{address}{path}") });
    let document = done(&api, "sendDocument", at("/b/c.txt")).await["document"].take();
    assert_eq!((&document["file_name"], &document["file_size"]), (&json!("c.txt"), &json!(7)));
    let failed = "Bad Request: failed to get HTTP URL content";
    assert_eq!(refused(&api, "sendDocument", at("/none")).await, failed);
    let far = json!({ "chat_id": ANN, "document": "https://example.org/a" });
    let far = tokio::time::timeout(SOON, refused(&api, "sendDocument", far)).await;
    assert_eq!(far.unwrap(), failed);
    server.abort();
}

#[tokio::test]
async fn a_text_cannot_be_edited_into_a_file_nor_a_caption_into_a_text() {
    let api = start().await;
    let file = upload(&api, "document", "one", b"x").await["result"]["message_id"].take();
    let edit = |text: &str| json!({ "chat_id": ANN, "message_id": file, text: "two" });
    assert_eq!(
        refused(&api, "editMessageText", edit("text")).await,
        "Bad Request: there is no text in the message to edit"
    );
    assert_eq!(done(&api, "editMessageCaption", edit("caption")).await["caption"], "two");
    assert_eq!(api.transcript(ANN).shown(), ["two"]);
}
