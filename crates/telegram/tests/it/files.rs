use nexus_contracts::{AttachmentKind, LOCAL_TENANT, Notice, ProcessedRequest};
use nexus_telegram::{Config, Mode};
use nexus_testkit::bot_api::{Fault, FileKind, Said};
use uuid::Uuid;

use crate::world::answered;
use crate::{SOON, World};

/// One white pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe\r\xefF\xb8\0\0\0\0IEND\xaeB`\x82";
const OGG: &[u8] =
    b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01\0\0\0\0\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_in_as_attachments_with_their_caption() {
    let mut world = World::new().await;
    world.start().await;
    let files = [
        (FileKind::Photo, "pixel.png", "image/png", PNG, AttachmentKind::Photo),
        (FileKind::Voice, "note.ogg", "audio/ogg", OGG, AttachmentKind::Voice),
        (FileKind::Document, "notes.txt", "text/plain", b"hello", AttachmentKind::Document),
    ];
    world.api.fail_next("getFile", Fault::Reset);
    for (kind, name, mime, bytes, _) in files {
        let said = Said::file(kind, name, mime, bytes).captioned(&format!("look at {name}"));
        world.api.user_sends(7, 2, said).unwrap();
    }
    let requests = world.requests_when_all_are_confirmed(3).await;
    for (request, (_, name, _, bytes, kind)) in requests.iter().zip(files) {
        assert_eq!(request.payload.text, format!("look at {name}"));
        let [attachment] = request.payload.attachments.as_slice() else { panic!("{request:?}") };
        assert_eq!(attachment.kind, kind);
        assert_eq!(world.blobs.get(LOCAL_TENANT, &attachment.uri).await.unwrap(), bytes);
    }
    let media: Vec<&str> =
        requests.iter().map(|request| request.payload.attachments[0].media_type.as_str()).collect();
    assert_eq!(media, ["image/png", "audio/opus", "text/plain"]);
    world.stop().await;
    assert_eq!(world.texts(7), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_had_is_said_and_the_text_goes_on() {
    let mut world = World::new().await;
    world.start().await;
    let large = vec![7; 21 * 1024 * 1024];
    let said = Said::file(FileKind::Document, "large.bin", "application/octet-stream", &large);
    world.api.user_sends(7, 2, said.captioned("sum it up")).unwrap();
    let request = world.requests_when_all_are_confirmed(1).await.remove(0);
    let text =
        "sum it up\n\n[The document that came with this is missing: it is larger than 20 MB.]";
    assert_eq!((request.payload.text.as_str(), request.payload.attachments.len()), (text, 0));
    assert_eq!(world.shown(7, 1).await, ["I did not get your document: it is larger than 20 MB."]);

    world.api.fail_times("getFile", 2, Fault::Status(400));
    let said = Said::file(FileKind::Document, "notes.txt", "text/plain", b"hello");
    world.api.user_sends(7, 2, said).unwrap();
    let request = world.requests_when_all_are_confirmed(2).await.remove(1);
    assert!(request.payload.text.contains("could not be fetched"), "{}", request.payload.text);
    world.shown(7, 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_out_in_their_kind_after_the_text_and_once() {
    let mut world = World::new().await;
    world.api.add_chat(7);
    let put = async |kind, name: &str, bytes: &'static [u8]| {
        let name = Some(name.to_owned());
        world.blobs.put(LOCAL_TENANT, kind, name, None, bytes.into()).await.unwrap()
    };
    let attachments = vec![
        put(AttachmentKind::Photo, "pixel.png", PNG).await,
        put(AttachmentKind::Voice, "note.ogg", OGG).await,
        put(AttachmentKind::Document, "a \"quoted\" name.txt", b"hello").await,
        put(AttachmentKind::Photo, "no photo.txt", b"only text").await,
    ];
    let run = Uuid::now_v7();
    let answer = ProcessedRequest::of(run, answered("Four files:"));
    let answer = ProcessedRequest { attachments: attachments.clone(), ..answer };
    world.publish(run, world.place("7"), answer).await;
    world.api.fail_next("sendVoice", Fault::Status(502));
    world.start().await;
    let files = || {
        let messages = world.api.transcript(7).messages;
        let files: Vec<_> = messages.into_iter().filter_map(|message| message.file).collect();
        (files.len() >= 4).then_some(files)
    };
    let files = world.api.wait_until(SOON, files).await.unwrap();
    let kinds: Vec<FileKind> = files.iter().map(|file| file.kind).collect();
    use FileKind::{Document, Photo, Voice};
    assert_eq!(kinds, [Photo, Voice, Document, Document]);
    let sent: Vec<_> = files.iter().map(|file| world.api.file(&file.file_id).unwrap()).collect();
    let expected: [&[u8]; 4] = [PNG, OGG, b"hello", b"only text"];
    assert_eq!(sent, expected);
    assert_eq!(world.texts(7)[0], "Four files:");
    world.stop().await;

    // In plain mode a short text goes along with its only file.
    world.start_with(Config { mode: Mode::Plain, ..world.config() }).await;
    let text = "The **pixel**".to_owned();
    let notice = Notice::Text { text, attachments: attachments[..1].to_vec() };
    world.notice(Uuid::now_v7(), world.place("7"), notice).await;
    let captioned = || {
        let message = world.api.transcript(7).messages.pop()?;
        (message.text() == "The pixel" && message.file.is_some()).then_some(message)
    };
    let message = world.api.wait_until(SOON, captioned).await.unwrap();
    assert_eq!(message.entities().len(), 1);
    world.stop().await;
    assert_eq!(world.api.violations(), []);
}
