//! A strict stand-in of Telegram's Bot API.
//!
//! Serves what adapters need of the real server over HTTP and refuses what it refuses, in its own
//! words; on order it fails, hangs, breaks off and repeats itself. Unmodified clients work with it
//! (python-telegram-bot 22.8 and aiogram 3.31 were tried).
//!
//! Where the rules come from: tdlib/telegram-bot-api `Client.cpp` (update queue, long polls,
//! arguments) and the Bot API's documentation. Left out: files, other message kinds, webhooks.

mod control;
mod limits;
mod methods;
mod queue;
mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use limits::Limits;
use queue::Queue;

/// How the stand-in is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// `<bot id>:<secret>`.
    pub token: String,
    /// Whether sending too fast is refused with 429.
    pub limits: bool,
    /// Number of the first update.
    pub first_update: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            token: "4200042:AAstand-in-token-of-the-bot-api-000".to_owned(),
            limits: false,
            first_update: 870_000_001,
        }
    }
}

/// Something that goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Refused with this status before anything is done; 5xx in HTML, as proxies do.
    Status(u16),
    /// Refused with 429 and this many seconds of `retry_after`.
    Flood(u64),
    /// Done, but never answered.
    Timeout,
    /// Done, but the connection breaks instead of an answer.
    Cut,
    /// `getUpdates` gives the updates of its last answer once more, before what is new.
    Repeat,
}

/// A message that the bot has sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub chat: i64,
    /// The topic, when it went to one.
    pub thread: Option<i64>,
    /// As a reader sees it: Telegram trims white space at both ends.
    pub text: String,
    pub at: jiff::Timestamp,
    pub message_id: i64,
}

/// A running stand-in; ends when dropped.
#[derive(Debug)]
pub struct BotApi {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    state: Mutex<State>,
    /// An update came, or a message was sent.
    changed: Notify,
    over: CancellationToken,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    chats: BTreeMap<i64, Chat>,
    sent: Vec<Sent>,
    actions: Vec<(i64, String)>,
    faults: HashMap<String, VecDeque<Fault>>,
    calls: HashMap<String, u64>,
    limits: Limits,
    message_id: i64,
    /// Which long poll is the one that waits.
    poll: u64,
}

/// A chat that the bot knows.
#[derive(Debug, Default)]
struct Chat {
    topics: BTreeSet<i64>,
    has_blocked: bool,
}

impl BotApi {
    /// Starts a stand-in.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let state = State {
            queue: Queue::new(options.first_update),
            chats: BTreeMap::new(),
            sent: Vec::new(),
            actions: Vec::new(),
            faults: HashMap::new(),
            calls: HashMap::new(),
            limits: Limits::default(),
            message_id: 0,
            poll: 0,
        };
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(state),
            changed: Notify::new(),
            over: CancellationToken::new(),
        });
        tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, address })
    }

    /// What clients take as the address of the Bot API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn token(&self) -> &str {
        &self.shared.options.token
    }

    /// The bot's id, as in its token.
    #[must_use]
    pub fn bot_id(&self) -> i64 {
        self.shared.bot_id()
    }

    /// Somebody writes to the bot; returns the update's number. The chat is known from now on.
    pub fn user_says(&self, chat: i64, user: i64, text: &str) -> i64 {
        self.shared.say(chat, None, user, text)
    }

    /// As [`Self::user_says`], in a topic of the chat.
    pub fn user_says_in_topic(&self, chat: i64, topic: i64, user: i64, text: &str) -> i64 {
        self.shared.say(chat, Some(topic), user, text)
    }

    /// Queues an update as it is, also of a kind that `allowed_updates` holds back now; Telegram too
    /// gives out what was queued before that setting changed. Gets a number if it has none.
    pub fn push_update(&self, update: Value) -> i64 {
        let number = self.shared.state().queue.push_as_is(update);
        self.shared.changed.notify_waiters();
        number
    }

    /// Gives an update out once more, however far the client has confirmed.
    pub fn repeat_update(&self, number: i64) {
        self.shared.state().queue.repeat(number);
        self.shared.changed.notify_waiters();
    }

    /// Lets the bot know a chat in which nobody has said anything.
    pub fn add_chat(&self, chat: i64) {
        self.shared.state().chats.entry(chat).or_default();
    }

    /// The user of this chat does not want to hear from the bot any more.
    pub fn block(&self, chat: i64) {
        self.shared.state().chats.entry(chat).or_default().has_blocked = true;
    }

    /// Makes the next call of a method fail; faults of further orders wait for the calls after it.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.shared.fail_next(method, fault);
    }

    /// Messages that the bot has sent, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.state().sent.clone()
    }

    /// Chats with the actions that they were shown, oldest first.
    #[must_use]
    pub fn actions(&self) -> Vec<(i64, String)> {
        self.shared.state().actions.clone()
    }

    /// How often a method was called, failed calls included.
    #[must_use]
    pub fn calls(&self, method: &str) -> u64 {
        self.shared.state().calls.get(&method.to_lowercase()).copied().unwrap_or(0)
    }

    /// Updates that the client has not confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.shared.state().queue.len()
    }

    /// Waits until a chat has at least `count` messages; returns what it has then or in the end.
    pub async fn wait_for_sent(&self, chat: i64, count: usize, timeout: Duration) -> Vec<Sent> {
        let of_chat =
            || self.sent().into_iter().filter(|sent| sent.chat == chat).collect::<Vec<_>>();
        let enough = async {
            loop {
                let changed = self.shared.changed.notified();
                if of_chat().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(timeout, enough).await;
        of_chat()
    }
}

impl Drop for BotApi {
    fn drop(&mut self) {
        self.shared.over.cancel();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bot_id(&self) -> i64 {
        let id = self.options.token.split(':').next();
        id.and_then(|id| id.parse().ok()).unwrap_or(1)
    }

    fn fail_next(&self, method: &str, fault: Fault) {
        self.state().faults.entry(method.to_lowercase()).or_default().push_back(fault);
    }

    fn say(&self, chat: i64, topic: Option<i64>, user: i64, text: &str) -> i64 {
        let mut state = self.state();
        state.chats.entry(chat).or_default().topics.extend(topic);
        state.message_id += 1;
        let mut message = json!({
            "message_id": state.message_id,
            "date": jiff::Timestamp::now().as_second(),
            "chat": chat_json(chat),
            "from": { "id": user, "is_bot": false, "first_name": format!("User {user}") },
            "text": text,
        });
        if let (Some(topic), Some(message)) = (topic, message.as_object_mut()) {
            message.insert("message_thread_id".to_owned(), topic.into());
            message.insert("is_topic_message".to_owned(), true.into());
        }
        let number = state.queue.push("message", message);
        drop(state);
        self.changed.notify_waiters();
        number
    }
}

/// A chat as updates and messages show it; the id tells its type.
fn chat_json(chat: i64) -> Value {
    if is_group(chat) {
        let kind = if chat <= -1_000_000_000_000 { "supergroup" } else { "group" };
        json!({ "id": chat, "type": kind, "title": format!("Group {chat}") })
    } else {
        json!({ "id": chat, "type": "private", "first_name": format!("User {chat}") })
    }
}

fn is_group(chat: i64) -> bool {
    chat < 0
}
