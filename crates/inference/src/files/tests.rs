use bytes::Bytes;
use nexus_contracts::{AttemptLimits, LOCAL_TENANT, Sampling};

use super::*;
use crate::fit::{Unfit, fit};
use crate::models::Facts;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

struct World {
    blobs: Blobs,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&nexus_blobs::Config::default(), folder.path()).unwrap();
        Self { blobs, _folder: folder }
    }

    async fn put(&self, name: &str, claimed: &str, bytes: impl Into<Bytes>) -> Attachment {
        let (kind, name) = (AttachmentKind::Document, Some(name.to_owned()));
        self.blobs.put(LOCAL_TENANT, kind, name, Some(claimed), bytes.into()).await.unwrap()
    }

    async fn load(&self, messages: Vec<Message>) -> Result<Files, FileError> {
        load(&self.blobs, LOCAL_TENANT, &request(messages)).await
    }
}

fn request(messages: Vec<Message>) -> InferenceRequest {
    InferenceRequest {
        model: "default".to_owned(),
        messages,
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 1_000,
        timeout_ms: 1_000,
    }
}

fn with(attachments: &[&Attachment]) -> Message {
    let mut message = Message::text(Role::User, "look");
    let part = |attachment: &&Attachment| Part::Attachment { attachment: (*attachment).clone() };
    message.parts.extend(attachments.iter().map(part));
    message
}

fn image(media_type: &str, bytes: &[u8]) -> Option<Content> {
    let base64 = STANDARD.encode(bytes).into();
    Some(Content::Image { media_type: media_type.to_owned(), base64 })
}

#[tokio::test]
async fn eight_formats_are_shown_as_what_their_bytes_are_to_models_that_see() {
    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    let world = World::new();
    let jpeg: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF";
    for (name, bytes, shown) in [
        ("a.jpg", jpeg, image("image/jpeg", jpeg)),
        ("a.jpeg", jpeg, image("image/jpeg", jpeg)),
        ("a.png", PNG, image("image/png", PNG)),
        ("a.gif", b"GIF89a\x01\0\x01\0", image("image/gif", b"GIF89a\x01\0\x01\0")),
        ("a.webp", b"RIFF\x1a\0\0\0WEBPVP8L", image("image/webp", b"RIFF\x1a\0\0\0WEBPVP8L")),
        ("a.svg", SVG.as_bytes(), Some(Content::Text(SVG.into()))),
        ("a.ico", b"\0\0\x01\0\x01\0", None),
        ("a.bmp", b"BM\x1a\0\0\0\0\0", None),
    ] {
        // Nobody's word counts: each of them says that it is a GIF, and one is right.
        let file = world.put(name, "image/gif", bytes).await;
        let request = request(vec![with(&[&file])]);
        let files = load(&world.blobs, LOCAL_TENANT, &request).await.unwrap();
        assert_eq!(files.content(&file), shown.as_ref(), "{name}");
        // To a model that does not see, an image is an error; the rest it reads, or is told of.
        for sees in [true, false] {
            let facts = Facts { takes_images: Some(sees), ..Facts::default() };
            let unseen = !sees && matches!(shown, Some(Content::Image { .. }));
            let unfit = unseen.then_some(Unfit::Images);
            assert_eq!(fit(&request, &files, &facts).err(), unfit, "{name} {sees}");
        }
    }
}

#[tokio::test]
async fn text_is_inlined_and_cut_with_a_notice_beyond_50_kb() {
    let world = World::new();
    let whole = world.put("a.rs", "text/plain", "ü".repeat(25 * 1024)).await;
    let long = world.put("b.csv", "text/csv", format!("{}ü", "x".repeat(50 * 1024 - 1))).await;
    let binary = world.put("c.zip", "application/zip", &b"PK\x03\x04\0"[..]).await;
    let files = world.load(vec![with(&[&whole, &long, &binary])]).await.unwrap();

    let notice = "\n[cut off here: the file has 51201 bytes, the first 51199 are shown]";
    let cut = format!("{}{notice}", "x".repeat(50 * 1024 - 1));
    assert_eq!(files.content(&whole), Some(&Content::Text("ü".repeat(25 * 1024).into())));
    assert_eq!(files.content(&long), Some(&Content::Text(cut.into())));
    assert_eq!(files.content(&binary), None);
}

#[tokio::test]
async fn image_of_5_mb_is_shown_and_one_byte_more_is_refused() {
    let world = World::new();
    let mut bytes = PNG.to_vec();
    bytes.resize(MAX_IMAGE_BYTES, 0);
    let fits = world.put("fits.png", "image/png", bytes.clone()).await;
    let files = world.load(vec![with(&[&fits])]).await.unwrap();
    assert_eq!(files.content(&fits), image("image/png", &bytes).as_ref());

    bytes.push(0);
    let large = world.put("large.png", "image/png", bytes).await;
    let refused = world.load(vec![with(&[&large])]).await.unwrap_err();
    assert_eq!(refused.code(), "image_too_large");
    let says = "The document \"large.png\" has 5242881 bytes; an image may have 5242880. Send it smaller, or as a link.";
    assert_eq!(refused.to_string(), says);
}

#[tokio::test]
async fn image_that_is_not_one_is_refused() {
    let world = World::new();
    let mut file = world.put("cat.png", "image/png", "no cat").await;
    // The store sniffs; an event may say what it likes.
    file.media_type = "image/png".to_owned();
    let refused = world.load(vec![with(&[&file])]).await.unwrap_err();
    assert_eq!(refused.code(), "not_an_image");
    let says =
        "The document \"cat.png\" says that it is image/png, but it is an image that is not one.";
    assert!(refused.to_string().starts_with(says), "{refused}");
}

#[tokio::test]
async fn file_that_is_gone_is_refused_and_strangers_files_are_gone() {
    let world = World::new();
    let mut file = world.put("a.txt", "text/plain", "mine").await;
    let request = request(vec![with(&[&file])]);
    let stranger = TenantId(uuid::Uuid::from_u128(7));
    let refused = load(&world.blobs, stranger, &request).await.unwrap_err();
    assert_eq!(refused.code(), "attachment_gone");

    file.uri = format!("blob:{LOCAL_TENANT}/{}", "0".repeat(64));
    let refused = world.load(vec![with(&[&file])]).await.unwrap_err();
    assert_eq!(refused.code(), "attachment_gone");
}

#[tokio::test]
async fn what_could_not_be_shown_once_does_not_end_the_conversation() {
    let world = World::new();
    let mut lie = world.put("cat.png", "image/png", "no cat").await;
    lie.media_type = "image/png".to_owned();
    let mut gone = lie.clone();
    gone.uri = format!("blob:{LOCAL_TENANT}/{}", "0".repeat(64));
    let notes = world.put("notes.txt", "text/plain", "notes").await;
    let earlier = with(&[&lie, &gone, &notes]);
    let answer = Message::text(Role::Assistant, "I cannot see it.");
    let now = Message::text(Role::User, "never mind");
    let files = world.load(vec![earlier, answer, now]).await.unwrap();
    let only = (notes.uri.clone(), Content::Text("notes".into()));
    assert_eq!(files, Files::from_iter([only]));
}

#[tokio::test]
async fn newest_twenty_images_are_shown() {
    let world = World::new();
    let mut images = Vec::new();
    for number in 0..=MAX_IMAGES {
        let bytes = [PNG, &[u8::try_from(number).unwrap()]].concat();
        images.push(world.put("i.png", "image/png", bytes).await);
    }
    // One that comes twice counts once.
    let messages = images.iter().chain(images.last()).map(|image| with(&[image])).collect();
    let files = world.load(messages).await.unwrap();
    let shown: Vec<_> = images.iter().map(|image| files.content(image).is_some()).collect();
    assert!(!shown[0]);
    assert_eq!(shown[1..], [true; MAX_IMAGES]);
}

#[tokio::test]
async fn sounds_are_not_read() {
    let world = World::new();
    let mut voice = world.put("v.ogg", "audio/ogg", &b"OggS\0"[..]).await;
    voice.kind = AttachmentKind::Voice;
    voice.uri = "blob:nowhere".to_owned();
    assert_eq!(world.load(vec![with(&[&voice])]).await.unwrap(), Files::default());
}
