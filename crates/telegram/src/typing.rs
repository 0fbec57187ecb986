//! The sign "typing" while an answer is being made: best effort, in this process only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::Chain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::bot::Bot;
use crate::chat::Chat;
use crate::desk::Desk;

/// Telegram shows the sign for five seconds.
const AGAIN: Duration = Duration::from_secs(4);
/// Nobody believes it after this.
const LONGEST: Duration = Duration::from_secs(120);
/// Chats that see the sign at once; more would eat into Telegram's limits.
const MOST: usize = 64;

/// Who sees "typing". Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Typing {
    desk: Desk,
    requests: Arc<Mutex<HashMap<Uuid, CancellationToken>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Typing {
    pub(crate) fn new(desk: Desk, stop: CancellationToken) -> Self {
        Self { desk, requests: Arc::default(), tasks: TaskTracker::new(), stop }
    }

    /// Announces a request before it is published: its answer may come before [`Self::start`].
    pub(crate) fn expect(&self, request: Uuid) {
        let mut requests = self.requests();
        if requests.len() < MOST {
            requests.entry(request).or_insert_with(|| self.stop.child_token());
        }
    }

    /// Shows the sign until the request is answered.
    pub(crate) fn start(&self, request: Uuid, bot: &Arc<Bot>, chat: Chat) {
        let Some(over) = self.requests().get(&request).cloned() else { return };
        let (this, bot) = (self.clone(), Arc::clone(bot));
        self.tasks.spawn(async move {
            let show = this.show(request, &bot, chat);
            over.run_until_cancelled(tokio::time::timeout(LONGEST, show)).await;
            this.end(request);
        });
    }

    /// Takes the sign away.
    pub(crate) fn end(&self, request: Uuid) {
        if let Some(over) = self.requests().remove(&request) {
            over.cancel();
        }
    }

    /// Waits for what is running; `stop` is cancelled by then.
    pub(crate) async fn close(&self) {
        for (_, over) in self.requests().drain() {
            over.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn show(&self, request: Uuid, bot: &Bot, chat: Chat) {
        // An update may come again long after its request was answered.
        if !matches!(self.desk.was_shown(bot.id, request).await, Ok(false)) {
            return;
        }
        loop {
            if bot.pace.try_sign(chat.id)
                && let Err(error) = bot.client.typing(chat).await
            {
                tracing::debug!(error = %Chain(&error), "showing that the agent types failed");
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
