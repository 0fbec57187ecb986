//! A strict stand-in of Telegram's Bot API.
//!
//! Serves what adapters need of the real server over HTTP and refuses what it refuses, in its own
//! words; on order it fails, hangs, breaks off and repeats itself. Afterwards it says what every chat
//! has seen, and which rules were broken. Unmodified clients work with it: aiogram, grammY and
//! python-telegram-bot drive it in the workspace's tests.
//!
//! Where the rules come from: the Bot API's documentation, tdlib/telegram-bot-api (`Client.cpp`,
//! `WebhookActor.cpp`) and tdlib/td (`MessageEntity.cpp`). Where the stand-in is stricter, the file
//! says so. Left out: stickers, video, albums, inline mode, payments, channels, rights in groups.
//!
//! | file | what it keeps |
//! |---|---|
//! | `server`, `wire`, `arguments` | HTTP, connections, bodies |
//! | `methods`, `messages`, `media`, `webhook` | what calls do |
//! | `text`, `markdown`, `html`, `keyboard` | what may stand in a message |
//! | `state`, `queue`, `limits`, `faults`, `files` | what is known |
//! | `user`, `look`, `transcript`, `control` | for tests: what people do, and what they have seen |

mod arguments;
mod control;
mod faults;
mod files;
mod html;
mod keyboard;
mod limits;
mod look;
mod markdown;
mod media;
mod messages;
mod methods;
mod queue;
mod refusal;
mod server;
mod state;
mod text;
mod transcript;
mod user;
mod webhook;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use arguments::Arguments;
use state::{BotState, State};

pub use faults::Fault;
pub use files::{Attachment, FileKind, LARGEST_DOWNLOAD};
pub use keyboard::Button;
pub use refusal::{Cause, Refused};
pub use text::Entity;
pub use transcript::{Action, Draft, Message, PressAnswer, Sent, Transcript, Version};
pub use user::{Delivered, Said};

/// How the stand-in is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Of the first bot: `<bot id>:<secret>`, the secret of at least 30 characters.
    pub token: String,
    /// Whether sending too fast is refused with 429.
    pub limits: bool,
    /// Number of the first update.
    pub first_update: i64,
    /// How long the press of a button may be answered. The real limit is not published; bots see
    /// "query is too old" after 15 s and more.
    pub press_limit: Duration,
    /// The first wait after a webhook has failed; doubled each time, up to 32-fold.
    pub webhook_backoff: Duration,
    /// How long a webhook may take.
    pub webhook_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            token: "4200042:AAstand-in-token-of-the-bot-api-000".to_owned(),
            limits: false,
            first_update: 870_000_001,
            press_limit: Duration::from_secs(15),
            webhook_backoff: webhook::BACKOFF,
            webhook_timeout: webhook::TIMEOUT,
        }
    }
}

/// A running stand-in; ends when dropped. Is its first [`Bot`] too.
#[derive(Debug)]
pub struct BotApi {
    first: Bot,
}

/// One bot of a stand-in, with chats, updates and faults of its own.
#[derive(Debug, Clone)]
pub struct Bot {
    shared: Arc<Shared>,
    token: String,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    address: SocketAddr,
    state: Mutex<State>,
    /// An update came, or a call was answered.
    changed: Notify,
    over: CancellationToken,
}

impl BotApi {
    /// Starts a stand-in.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let token = options.token.clone();
        let shared = Arc::new(Shared {
            options,
            address,
            state: Mutex::new(State::default()),
            changed: Notify::new(),
            over: CancellationToken::new(),
        });
        let first = shared.add_bot(&token);
        tokio::spawn(server::serve(listener, shared));
        Ok(Self { first })
    }

    /// Adds a bot, or finds the one with this token.
    pub fn add_bot(&self, token: &str) -> Bot {
        self.shared.add_bot(token)
    }
}

impl Deref for BotApi {
    type Target = Bot;

    fn deref(&self) -> &Bot {
        &self.first
    }
}

impl Drop for BotApi {
    fn drop(&mut self) {
        self.first.shared.over.cancel();
    }
}

impl Bot {
    /// What clients take as the address of the Bot API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The bot's id, as in its token.
    #[must_use]
    pub fn bot_id(&self) -> i64 {
        id_of(&self.token)
    }

    /// Looks at the bot, or changes what nobody waits for.
    fn with<T>(&self, look: impl FnOnce(&mut BotState) -> T) -> T {
        let mut state = self.shared.state();
        let new = || BotState::new(id_of(&self.token), &self.shared.options);
        look(state.bots.entry(self.token.clone()).or_insert_with(new))
    }

    /// Changes something about the bot and tells those who wait.
    fn change<T>(&self, change: impl FnOnce(&mut BotState) -> T) -> T {
        let result = self.with(change);
        self.shared.changed.notify_waiters();
        result
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_bot(self: &Arc<Self>, token: &str) -> Bot {
        let bot = Bot { shared: Arc::clone(self), token: token.to_owned() };
        bot.with(|_| ());
        bot
    }

    fn knows(&self, token: &str) -> bool {
        self.state().bots.contains_key(token)
    }

    fn token_of(&self, id: i64) -> Option<String> {
        let state = self.state();
        state.bots.iter().find(|(_, bot)| bot.id == id).map(|(token, _)| token.clone())
    }
}

fn id_of(token: &str) -> i64 {
    token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(1)
}
