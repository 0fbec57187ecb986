//! The stand-in of the Bot API is kept honest by clients that know the real one.
//!
//! The same bot stands in `aiogram_bot.py`, `ptb_bot.py` and `grammy_bot.js`. It needs no Nexus.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use nexus_testkit::bot_api::{
    BotApi, Cause, Entity, Fault, FileKind, Message, Options, Refused, Said, Transcript,
};
use nexus_testkit::process::repository;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::LIMIT;

/// A user, and the private chat with that user.
const ANN: i64 = 42;
const FORUM: i64 = -1_001_234_567_890;
/// The smallest PNG: one pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe\xa75\x81\x84\0\0\0\0IEND\xaeB`\x82";

#[derive(Clone, Copy)]
enum Client {
    Aiogram,
    PythonTelegramBot,
    Grammy,
}

/// A bot as a process, and the stand-in that it talks to.
struct World {
    api: BotApi,
    /// Killed when dropped.
    _bot: Child,
    log: tempfile::NamedTempFile,
}

impl World {
    async fn new(client: Client, more: &[&str]) -> Self {
        let api = BotApi::start(Options::default()).await.unwrap();
        let folder = match client {
            Client::Aiogram | Client::PythonTelegramBot => "tests/tests/clients",
            Client::Grammy => "tests/clients-js",
        };
        let (program, script): (PathBuf, &str) = match client {
            Client::Aiogram => (repository().join(".venv/bin/python"), "aiogram_bot.py"),
            Client::PythonTelegramBot => (repository().join(".venv/bin/python"), "ptb_bot.py"),
            Client::Grammy => ("node".into(), "grammy_bot.js"),
        };
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(program);
        command.current_dir(repository().join(folder)).arg(script).args([&api.url(), api.token()]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen().unwrap());
        command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
        let bot = command.spawn().expect("the client is missing; scripts/test installs it");
        Self { api, _bot: bot, log }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut File::open(self.log.path()).unwrap(), &mut text)
            .unwrap();
        text
    }

    /// Waits until the chat looks like this.
    async fn until<T>(&self, what: &str, chat: i64, look: impl Fn(&Transcript) -> Option<T>) -> T {
        let found = self.api.wait_until(LIMIT, || look(&self.api.transcript(chat))).await;
        found.unwrap_or_else(|| {
            let (seen, refused) = (self.api.transcript(chat), self.api.refused());
            panic!("not seen: {what}\n{refused:#?}\n{:#?}\n{}", seen.shown(), self.log())
        })
    }

    /// Says something and waits until the bot shows exactly this after it.
    async fn answers(&self, said: &str, wanted: &[&str]) -> Vec<Message> {
        let before = self.api.transcript(ANN).messages.len();
        self.api.user_says(ANN, ANN, said);
        self.until(said, ANN, |seen| {
            // The first is what was said.
            let new: Vec<Message> = seen.messages[before..].iter().skip(1).cloned().collect();
            (new.iter().map(Message::text).collect::<Vec<_>>() == wanted).then_some(new)
        })
        .await
    }

    /// Sends a file and waits for this many files in return.
    async fn echoes(&self, file: Said, count: usize) -> Vec<Message> {
        let before = self.api.transcript(ANN).messages.len();
        self.api.user_sends(ANN, ANN, file).unwrap();
        self.until("a file", ANN, |seen| {
            (seen.messages.len() == before + 1 + count)
                .then(|| seen.messages[before + 1..].to_vec())
        })
        .await
    }
}

fn styled(kind: &str, offset: usize, more: Value) -> Entity {
    let mut entity = json!({ "type": kind, "offset": offset, "length": 4 });
    entity.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(entity).unwrap()
}

fn texts(message: &Message) -> Vec<&str> {
    message.versions.iter().map(|version| version.text.as_str()).collect()
}

fn described(refused: &[Refused]) -> Vec<(&str, u16, &str, Cause)> {
    fn describe(refused: &Refused) -> (&str, u16, &str, Cause) {
        (&refused.method, refused.code, &refused.description, refused.cause)
    }
    refused.iter().map(describe).collect()
}

async fn talks(client: Client) {
    let world = World::new(client, &[]).await;
    let api = &world.api;

    let hello = world.answers("/start", &["Hello bold code 👍 link"]).await.remove(0);
    let link = json!({ "url": "https://example.org/a" });
    let wanted = [
        styled("bold", 6, json!({})),
        styled("code", 11, json!({})),
        styled("text_link", 19, link),
    ];
    assert_eq!(hello.entities(), wanted);
    let buttons: Vec<_> = hello.buttons().map(|button| button.text.as_str()).collect();
    assert_eq!(buttons, ["Yes", "Docs"]);

    assert_eq!(api.user_presses(ANN, ANN, hello.message_id, "no"), None);
    let query = api.user_presses(ANN, ANN, hello.message_id, "yes").unwrap();
    let edited = world
        .until("an edit", ANN, |seen| seen.of_bot().find(|message| message.edits() == 1).cloned())
        .await;
    assert_eq!(texts(&edited), ["Hello bold code 👍 link", "You said yes"]);
    assert_eq!(edited.entities()[0].kind, "bold");
    assert_eq!(edited.buttons().count(), 0);
    let answers = api.press_answers();
    assert_eq!((answers[0].query.as_str(), answers[0].text.as_deref()), (&*query, Some("Noted")));

    let before = api.transcript(ANN).messages.len();
    api.user_says(ANN, ANN, "/stream");
    let answer = world
        .until("the last edit", ANN, |seen| {
            seen.messages.get(before + 1).filter(|message| message.edits() == 3).cloned()
        })
        .await;
    assert_eq!(texts(&answer), ["…", "one", "one two", "one two three"]);
    assert_eq!(answer.reply_to, Some(answer.message_id - 1));
    assert_eq!(api.actions(), [(ANN, "typing".to_owned())]);

    world.answers("/draft", &["half and whole"]).await;
    let seen = api.transcript(ANN);
    assert_eq!(seen.drafts.len(), 2);
    assert_eq!((seen.drafts[1].text.as_str(), seen.drafts[1].can_stop), ("half", true));
    assert_eq!((seen.unfinished_drafts().len(), api.draft(ANN)), (0, None));

    let before = seen.messages.len();
    api.user_says(ANN, ANN, "/delete");
    world.until("a deletion", ANN, |seen| seen.messages.get(before + 1)?.deleted).await;
    assert!(!api.transcript(ANN).shown().contains(&"soon gone"));
    world.answers("/setup", &["start private member"]).await;

    let number = api.transcript(ANN).messages[0].message_id;
    api.user_edits(ANN, number, "/start again").unwrap();
    world
        .until("an answer to an edit", ANN, |seen| {
            seen.shown().contains(&"changed to /start again").then_some(())
        })
        .await;

    let hello = Said::text("hello").in_topic(5);
    api.user_sends(FORUM, ANN, hello).unwrap();
    let answer =
        world.until("an answer in a topic", FORUM, |seen| seen.of_bot().next().cloned()).await;
    assert_eq!((answer.thread, answer.text()), (Some(5), "in topic 5"));

    api.wait_until(LIMIT, || (api.unconfirmed() == 0).then_some(())).await.unwrap();
    assert_eq!(described(&api.refused()), []);
}

async fn moves_files(client: Client) {
    let world = World::new(client, &[]).await;
    let document = Said::file(FileKind::Document, "a.txt", "text/plain", "grüße".as_bytes());
    let answers = world.echoes(document, 2).await;
    let (first, second) = (answers[0].file.as_ref().unwrap(), answers[1].file.as_ref().unwrap());
    assert_eq!((first.name.as_str(), &first.file_id), ("upper.txt", &second.file_id));
    let upper = String::from_utf8(world.api.file(&first.file_id).unwrap().to_vec()).unwrap();
    // Python's bytes know ASCII only.
    assert!(["GRüßE", "GRÜSSE"].contains(&upper.as_str()), "{upper}");
    assert_eq!((answers[0].text(), answers[0].entities()[0].kind.as_str()), ("twice", "italic"));

    let photo = Said::file(FileKind::Photo, "a.png", "image/png", PNG).captioned("look");
    let answer = world.echoes(photo, 1).await.remove(0);
    let file = answer.file.as_ref().unwrap();
    assert_eq!(world.api.file(&file.file_id).unwrap(), PNG);
    assert_eq!((file.kind, file.width, file.height), (FileKind::Photo, 1, 1));
    assert_eq!(answer.text(), format!("{} bytes", PNG.len()));

    let voice = Said::file(FileKind::Voice, "a.ogg", "audio/ogg", b"OggS sound");
    let file = world.echoes(voice, 1).await.remove(0).file.unwrap();
    assert_eq!((file.kind, file.duration), (FileKind::Voice, 3));
    assert_eq!(world.api.file(&file.file_id).unwrap(), &b"OggS sound"[..]);
    assert_eq!(described(&world.api.refused()), []);
}

async fn hears_of_broken_rules(client: Client) {
    let world = World::new(client, &[]).await;
    let api = &world.api;
    let refusal = |seen: &Transcript| {
        let shown = seen.shown().into_iter().rev().find(|text| text.starts_with("refused: "));
        shown.map(str::to_lowercase)
    };
    api.user_says(ANN, ANN, "/wrong markdown");
    let said = world.until("a refusal", ANN, refusal).await;
    assert!(said.contains("can't parse entities: character '.' is reserved"), "{said}");

    let before = api.transcript(ANN).messages.len();
    api.user_says(ANN, ANN, "/wrong same");
    world
        .until("another refusal", ANN, |seen| (seen.messages.len() == before + 3).then_some(()))
        .await;
    let said = refusal(&api.transcript(ANN)).unwrap();
    assert!(said.contains("message is not modified"), "{said}");

    api.fail_next("sendMessage", Fault::Flood(7));
    world.answers("/wrong nothing", &["wait 7"]).await;

    let forbidden = "Forbidden: bot was blocked by the user";
    api.refuse_next("sendMessage", 1, 403, forbidden, None);
    api.user_says(ANN, ANN, "/wrong nothing");
    api.wait_until(LIMIT, || (api.refused().len() == 4).then_some(())).await.unwrap();

    let markdown = "Bad Request: can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'";
    let same = "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message";
    let refused = api.refused();
    assert_eq!(
        described(&refused),
        [
            ("sendMessage", 400, markdown, Cause::Rule),
            ("editMessageText", 400, same, Cause::State),
            ("sendMessage", 429, "Too Many Requests: retry after 7", Cause::Fault),
            ("sendMessage", 403, forbidden, Cause::Fault),
        ]
    );
    assert_eq!(api.violations(), refused[..1]);
    // It still answers.
    world.answers("/start", &["Hello bold code 👍 link"]).await;
}

/// What the library says with entities, in MarkdownV2 and in HTML has to look the same.
async fn styles_in_three_ways(client: Client) {
    let world = World::new(client, &[]).await;
    world.api.user_says(ANN, ANN, "/styles");
    let three = |seen: &Transcript| (seen.messages.len() == 4).then(|| seen.messages[1..].to_vec());
    let answers = world.until("three answers", ANN, three).await;
    assert!(answers[0].entities().len() >= 8, "{:?}", answers[0].entities());
    for other in &answers[1..] {
        assert_eq!(other.text(), answers[0].text());
        assert_eq!(other.entities(), answers[0].entities());
    }
    assert_eq!(described(&world.api.refused()), []);
}

#[tokio::test]
async fn aiogram_says_the_same_in_entities_markdown_and_html() {
    styles_in_three_ways(Client::Aiogram).await;
}

#[tokio::test]
async fn python_telegram_bot_says_the_same_in_entities_markdown_and_html() {
    styles_in_three_ways(Client::PythonTelegramBot).await;
}

#[tokio::test]
async fn aiogram_talks_through_the_stand_in() {
    talks(Client::Aiogram).await;
}

#[tokio::test]
async fn aiogram_moves_files_through_the_stand_in() {
    moves_files(Client::Aiogram).await;
}

#[tokio::test]
async fn aiogram_hears_of_broken_rules() {
    hears_of_broken_rules(Client::Aiogram).await;
}

#[tokio::test]
async fn python_telegram_bot_talks_through_the_stand_in() {
    talks(Client::PythonTelegramBot).await;
}

#[tokio::test]
async fn python_telegram_bot_moves_files_through_the_stand_in() {
    moves_files(Client::PythonTelegramBot).await;
}

#[tokio::test]
async fn python_telegram_bot_hears_of_broken_rules() {
    hears_of_broken_rules(Client::PythonTelegramBot).await;
}

#[tokio::test]
async fn grammy_talks_through_the_stand_in() {
    talks(Client::Grammy).await;
}

#[tokio::test]
async fn grammy_moves_files_through_the_stand_in() {
    moves_files(Client::Grammy).await;
}

#[tokio::test]
async fn grammy_hears_of_broken_rules() {
    hears_of_broken_rules(Client::Grammy).await;
}

#[tokio::test]
async fn aiogram_takes_updates_by_webhook_with_its_secret() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = World::new(Client::Aiogram, &[&port.to_string(), "its_secret-1"]).await;
    let api = &world.api;
    api.wait_until(LIMIT, || (api.calls("setWebhook") == 1).then_some(())).await.unwrap();
    // Refused without the secret, so what is answered below came with it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let hook = format!("http://127.0.0.1:{port}/hook");
    let forged = http.post(hook).json(&json!({ "update_id": 1 })).send().await.unwrap();
    assert_eq!(forged.status(), 401);

    world.answers("/start", &["Hello bold code 👍 link"]).await;
    world.answers("/setup", &["start private member"]).await;
    api.wait_until(LIMIT, || (api.unconfirmed() == 0).then_some(())).await.unwrap();
    assert_eq!((api.calls("getUpdates"), described(&api.refused())), (0, Vec::new()));
}
