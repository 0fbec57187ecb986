//! A wall to throw model calls at: strict mocks of four providers that fail as told.
//!
//! One server answers as OpenAI (`/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`),
//! Anthropic (`/v1/messages`) and Gemini (`/v1beta/models/MODEL:generateContent`,
//! `:streamGenerateContent`, `:embedContent`, `:batchEmbedContents`), streaming or not, with
//! their lists of models. Every request is checked as the real provider checks it, and answered
//! 400 in the provider's own format where it breaks a rule.
//!
//! The model's name chooses what happens, the same in all four protocols: the sixteen public
//! scenarios `fb-s01-429-retry-after` to `fb-s16-503-billing` (failoverbench methodology v0.1,
//! written anew), ours from `fb-x01-tool-cut` on, and healthy ones as `fb-ok`: see [`NAMES`].
//! Directives after the name change it: `tok200` tokens, `itl20` ms between them, `lat50` ms
//! before them, `tool` or `tools2` rounds of calls, `parallel3` calls in one, `think` with
//! reasoning to be given back unchanged, `cached` usage; `noprefill`, `noforce`, `notemp`,
//! `noimages` and `notools` for what the model refuses.
//!
//! What one model has seen counts for its protocol alone: [`Wall::requests`], [`Wall::reset`].

mod answer;
mod anthropic;
mod ask;
mod chat;
mod embed;
mod gemini;
mod ledger;
mod line;
mod play;
mod refusal;
mod responses;
mod rule;
mod script;
mod server;
mod stage;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub use answer::CANON;
use ledger::Ledger;
pub use ledger::{Charge, Seen, Verdict};
pub use script::NAMES;

/// A provider's way to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// OpenAI's chat completions.
    OpenaiChat,
    /// OpenAI's Responses.
    OpenaiResponses,
    /// Anthropic's Messages.
    AnthropicMessages,
    /// Gemini's generateContent.
    Gemini,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::OpenaiChat, Self::OpenaiResponses, Self::AnthropicMessages, Self::Gemini];

    /// Its name in the settings of a provider.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }
}

/// How a wall is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Keys that are accepted; none accepts every key, but none without one.
    pub keys: Vec<String>,
    /// Models beside [`NAMES`] that exist.
    pub models: Vec<String>,
}

/// A running wall, which ends when this is dropped.
pub struct Wall {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Wall {
    /// Starts to answer on 127.0.0.1, on a thread of its own.
    ///
    /// # Errors
    /// When the port is taken or no thread can be started.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("wall")
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let ledger = Arc::new(Ledger::default());
        let serving = server::serve(listener, Arc::clone(&ledger), options);
        let (stop, stopped) = oneshot::channel();
        let server = thread::Builder::new().name("wall".into()).spawn(move || {
            let serve = runtime.spawn(serving);
            // Dropping the runtime then breaks every connection, as a dying provider does.
            runtime.block_on(async {
                tokio::select! { _ = stopped => {}, _ = serve => {} }
            });
        })?;
        Ok(Self { address, ledger, stop: Some(stop), server: Some(server) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands before a protocol's paths: `http://127.0.0.1:PORT/v1`, for Gemini `/v1beta`.
    #[must_use]
    pub fn url(&self, protocol: Protocol) -> String {
        let version = match protocol {
            Protocol::OpenaiChat | Protocol::OpenaiResponses | Protocol::AnthropicMessages => "v1",
            Protocol::Gemini => "v1beta",
        };
        format!("http://{}/{version}", self.address)
    }

    /// Requests for answers of a model, refused ones included, oldest first.
    #[must_use]
    pub fn requests(&self, protocol: Protocol, model: &str) -> Vec<Seen> {
        let mut all = self.ledger.all();
        all.retain(|seen| seen.protocol == protocol && seen.model == model);
        all
    }

    /// All that were asked, lists of models and embeddings too, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Seen> {
        self.ledger.all()
    }

    /// The rules that requests broke, one line each. What a scenario does by itself is no rule.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<String> {
        let all = self.ledger.all();
        let broken = all.iter().filter_map(|seen| match &seen.verdict {
            Verdict::BrokeRule(why) => Some(format!("{} {}: {why}", seen.path, seen.model)),
            Verdict::Answered | Verdict::Failed => None,
        });
        broken.collect()
    }

    /// What a key has been charged.
    #[must_use]
    pub fn charged(&self, key: &str) -> Charge {
        self.ledger.charged(key)
    }

    /// Forgets everything: requests, charges, and how far each scenario is.
    pub fn reset(&self) {
        self.ledger.reset();
    }

    /// Ends it and breaks open connections; its port is free afterwards.
    pub fn shutdown(self) {}
}

impl Drop for Wall {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // Nobody is left to tell about a server that panicked.
            let _panicked = server.join();
        }
    }
}
