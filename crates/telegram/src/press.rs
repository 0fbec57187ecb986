//! Presses of buttons: who may answer a question, and once.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Chain, Records};
use nexus_contracts::{
    Decision, Event, Metadata, Payload as _, Timestamp, ToolApproval, derived_id, traceparent,
};
use tokio_util::task::TaskTracker;

use crate::ask;
use crate::bot::Bot;
use crate::chat::Address;
use crate::desk::Desk;
use crate::error::Error;
use crate::piece::{Piece, read_data};
use crate::record::{Answer, Ask, Kept};
use crate::update::Press;

/// How often a message is tried to be changed after its question was answered; another press tries
/// again.
const TRIES: u32 = 5;

/// Answers questions with presses. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Presses {
    pub(crate) bus: Bus,
    pub(crate) desk: Desk,
    pub(crate) asks: Records<Ask>,
    pub(crate) tasks: TaskTracker,
    pub(crate) now: fn() -> Timestamp,
}

/// What a press comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is the answer.
    Counts,
    /// The same update brought the answer before.
    Again,
    Unknown,
    Elsewhere,
    Stranger,
    Expired,
    Answered,
}

impl Verdict {
    /// What the person is told when it does not count.
    fn refusal(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Counts | Self::Again => None,
            Self::Unknown | Self::Elsewhere => Some(("unknown", "This question is not known.")),
            Self::Stranger => Some(("stranger", "This question is not yours to answer.")),
            Self::Expired => Some(("expired", "Too late: this question has expired.")),
            Self::Answered => Some(("answered", "This question has been answered.")),
        }
    }
}

/// Whether a press answers a question. Pure.
fn judge(ask: &Ask, bot: &Bot, press: &Press, update: i64, now: Timestamp) -> Verdict {
    if ask.bot != bot.id || ask.tenant != bot.tenant {
        return Verdict::Unknown;
    }
    if press.chat != Some(ask.chat.id) {
        return Verdict::Elsewhere;
    }
    if !ask.users.contains(&press.user.to_string()) || !bot.serves(press.user) {
        return Verdict::Stranger;
    }
    match &ask.answer {
        Some(answer) if answer.update == update => Verdict::Again,
        Some(_) => Verdict::Answered,
        None if now.as_micros() >= ask.expires_at => Verdict::Expired,
        None => Verdict::Counts,
    }
}

impl Presses {
    /// Deals with a press: when this returns, the stream has the answer, or there is none.
    pub(crate) async fn take(
        &self,
        bot: &Arc<Bot>,
        update: i64,
        press: Press,
    ) -> Result<&'static str, Error> {
        let read = press.data.as_deref().and_then(read_data);
        let Some((token, decision)) = read else {
            return Ok(self.refuse(bot, &press, Verdict::Unknown));
        };
        loop {
            let Some(mut ask) = Kept::load(&self.asks, Ask::key(token)).await? else {
                return Ok(self.refuse(bot, &press, Verdict::Unknown));
            };
            match judge(&ask.value, bot, &press, update, (self.now)()) {
                Verdict::Counts => {
                    let (user, name) = (press.user.to_string(), press.name.clone());
                    let stored = false;
                    ask.value.answer = Some(Answer { update, user, name, decision, stored });
                    match ask.save(&self.asks).await {
                        Err(Error::RecordMoved { .. }) => continue,
                        saved => saved?,
                    }
                }
                Verdict::Again => {}
                refused @ (Verdict::Expired | Verdict::Answered) => {
                    // The message may not show it yet.
                    self.redraw(bot, token.to_owned(), ask.value, refused);
                    return Ok(self.refuse(bot, &press, refused));
                }
                refused @ (Verdict::Unknown | Verdict::Elsewhere | Verdict::Stranger) => {
                    return Ok(self.refuse(bot, &press, refused));
                }
            }
            self.publish(bot, &mut ask).await?;
            let said = match ask.value.answer.as_ref().map(|answer| answer.decision) {
                Some(Decision::Approved) => "Allowed.",
                Some(Decision::Denied) | None => "Denied.",
            };
            self.toast(bot, press.query, said, false);
            self.redraw(bot, token.to_owned(), ask.value, Verdict::Counts);
            return Ok("approval");
        }
    }

    /// Tells the engine, once.
    async fn publish(&self, bot: &Bot, ask: &mut Kept<Ask>) -> Result<(), Error> {
        let Some(answer) = ask.value.answer.as_mut().filter(|answer| !answer.stored) else {
            return Ok(());
        };
        let id = derived_id(ask.value.question, ToolApproval::TYPE.as_str());
        let metadata = Metadata {
            user: Some(answer.user.clone()),
            agent: bot.settings.agent.clone(),
            causation_id: Some(ask.value.question),
            traceparent: Some(traceparent(ask.value.run, id)),
            ..bot.place(ask.value.chat)?
        };
        let approval = ToolApproval {
            question: ask.value.question,
            decision: answer.decision,
            arguments_sha256: ask.value.arguments_sha256.clone(),
        };
        let event = Event::new(id, ask.value.run, metadata, (self.now)(), approval);
        self.bus.publish(&event).await?;
        nexus_bus::failpoint::hit("telegram.after_approval");
        answer.stored = true;
        match ask.save(&self.asks).await {
            // Whoever wrote has published it as well.
            Err(Error::RecordMoved { .. }) => Ok(()),
            saved => saved,
        }
    }

    fn refuse(&self, bot: &Arc<Bot>, press: &Press, verdict: Verdict) -> &'static str {
        let Some((reason, text)) = verdict.refusal() else { return "approval" };
        tracing::info!(bot = bot.id, user = press.user, reason, "press of a button refused");
        metrics::counter!("nexus_telegram_presses_refused_total", "reason" => reason).increment(1);
        self.toast(bot, press.query.clone(), text, true);
        "press_refused"
    }

    /// Tells the person; best effort, because Telegram takes it for a few seconds only.
    fn toast(&self, bot: &Arc<Bot>, query: String, text: &'static str, alert: bool) {
        let bot = Arc::clone(bot);
        self.tasks.spawn(async move {
            for _ in 0..TRIES {
                match bot.client.answer_press(&query, text, alert).await {
                    Err(error) if error.is_ambiguous() => {}
                    Err(error) => {
                        tracing::debug!(error = %Chain(&error), "press not answered");
                        return;
                    }
                    Ok(()) => return,
                }
            }
        });
    }

    /// Shows in the message what became of the question.
    fn redraw(&self, bot: &Arc<Bot>, token: String, ask: Ask, verdict: Verdict) {
        let pieces = match verdict {
            Verdict::Expired => ask::expired(&ask),
            _ => ask::pieces(&ask, &token),
        };
        let (this, bot) = (self.clone(), Arc::clone(bot));
        self.tasks.spawn(async move {
            for attempt in 1..=TRIES {
                match Box::pin(this.draw(&bot, &ask, &pieces)).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(attempt, error = %Chain(&error), "question not redrawn");
                        let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
                        tokio::time::sleep(wait.min(Duration::from_secs(30))).await;
                    }
                }
            }
        });
    }

    async fn draw(&self, bot: &Arc<Bot>, ask: &Ask, pieces: &[Piece]) -> Result<(), Error> {
        let address = Address { bot: bot.id, chat: ask.chat };
        let view = self.desk.view(ask.question, bot, address);
        let mut display = view.display.lock().await;
        let drawn = match self.desk.open(&view, ask.question, &mut display).await {
            Ok(display) => display.finish(pieces.to_vec(), &[]).await,
            Err(error) => Err(error),
        };
        match drawn {
            Ok(()) => self.desk.close(ask.question),
            Err(_) => *display = None,
        }
        drawn
    }
}
