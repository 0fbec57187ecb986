//! Which method does what; those that are not about messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::Arguments;
use super::files::FileKind;
use super::refusal::{Cause, Refusal};
use super::state::{BotState, Moment, user_json};
use super::transcript::PressAnswer;
use super::{Bot, media, webhook};

/// Longest time that a poll is held, in seconds.
const LONGEST_POLL: u64 = 50;
/// Longest text of an answer to a press, in characters.
const LONGEST_ANSWER: usize = 200;
const MOST_COMMANDS: usize = 100;

impl Bot {
    /// Does what a method says; its name in lower case.
    pub(super) async fn call(
        &self,
        method: &str,
        mut arguments: Arguments,
    ) -> Result<Value, Refusal> {
        let file = match method {
            "getupdates" => return self.get_updates(&arguments).await,
            "setwebhook" => return webhook::set(self, &arguments),
            "deletewebhook" => return webhook::delete(self, &arguments),
            "sendphoto" => Some(FileKind::Photo),
            "senddocument" => Some(FileKind::Document),
            "sendvoice" => Some(FileKind::Voice),
            "sendaudio" => Some(FileKind::Audio),
            _ => None,
        };
        if let Some(kind) = file {
            media::fetch(kind, &mut arguments).await?;
        }
        let now = Moment::now();
        let answer = self.with(|bot| match file {
            Some(kind) => {
                bot.send_file(|bot| media::attachment(bot, kind, &arguments), &arguments, now)
            }
            None => bot.call(method, &arguments, now),
        });
        self.shared.changed.notify_waiters();
        answer
    }

    async fn get_updates(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let offset = arguments.number("offset").unwrap_or(0);
        let limit = arguments.number("limit").unwrap_or(100).clamp(1, 100);
        let limit = usize::try_from(limit).unwrap_or(100);
        let seconds = u64::try_from(arguments.number("timeout").unwrap_or(0)).unwrap_or(0);
        let mut allowed = kinds(arguments);
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds.min(LONGEST_POLL));
        let mut poll = None;
        loop {
            let changed = self.shared.changed.notified();
            let answer = self.with(|bot| {
                if let Some(allowed) = allowed.take() {
                    bot.queue.allow(allowed);
                }
                if bot.webhook.is_some() {
                    return Err(conflict(if poll.is_some() {
                        "terminated by setWebhook request"
                    } else {
                        "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
                    }));
                }
                if poll.is_some_and(|poll| poll != bot.poll) {
                    return Err(conflict("terminated by other getUpdates request; make sure that only one bot instance is running"));
                }
                let is_first = poll.is_none();
                if is_first {
                    // The poll that waited until now gives way.
                    bot.poll += 1;
                    poll = Some(bot.poll);
                }
                let updates = bot.queue.take(offset, limit);
                let is_over = !updates.is_empty() || tokio::time::Instant::now() >= end;
                Ok((is_over.then(|| updates.into()), is_first))
            });
            let (updates, is_first) = answer?;
            if let Some(updates) = updates {
                return Ok(updates);
            }
            if is_first {
                self.shared.changed.notify_waiters();
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(end) => {}
                () = self.shared.over.cancelled() => {
                    return Err(Refusal::new(502, "Bad Gateway", Cause::State));
                }
            }
        }
    }

    /// The bot's methods, for those who hold an [`Arc`] to the whole.
    pub(super) fn of(shared: &Arc<super::Shared>, token: &str) -> Self {
        Self { shared: Arc::clone(shared), token: token.to_owned() }
    }
}

fn conflict(why: &str) -> Refusal {
    Refusal::new(409, format!("Conflict: {why}"), Cause::State)
}

/// `allowed_updates`; a list that cannot be read changes nothing.
pub(super) fn kinds(arguments: &Arguments) -> Option<BTreeSet<String>> {
    let kinds: Vec<String> = serde_json::from_str(arguments.text("allowed_updates")?).ok()?;
    Some(kinds.into_iter().map(|kind| kind.to_lowercase()).collect())
}

impl BotState {
    fn call(&mut self, method: &str, arguments: &Arguments, now: Moment) -> Result<Value, Refusal> {
        match method {
            "getme" => Ok(self.json()),
            "sendmessage" => self.send_message(arguments, now),
            "sendmessagedraft" => self.send_draft(arguments, now),
            "editmessagetext" => self.edit_text(arguments, now),
            "editmessagecaption" => self.edit_caption(arguments, now),
            "editmessagereplymarkup" => self.edit_markup(arguments, now),
            "deletemessage" => self.delete_message(arguments, now),
            "sendchataction" => self.send_chat_action(arguments, now),
            "answercallbackquery" => self.answer_press(arguments, now),
            "getfile" => self.files.describe(arguments.text("file_id")),
            "getwebhookinfo" => Ok(webhook::info(self)),
            "setmycommands" => self.set_commands(arguments),
            "getmycommands" => {
                let commands = self.commands.get(&command_key(arguments));
                Ok(commands.cloned().unwrap_or_else(|| json!([])))
            }
            "deletemycommands" => {
                self.commands.remove(&command_key(arguments));
                Ok(true.into())
            }
            "getchat" => self.get_chat(arguments),
            "getchatmember" => self.get_chat_member(arguments),
            // A bot that logs out or moves is of no use to a test.
            "logout" | "close" => Err(Refusal::too_many(600, Cause::State)),
            _ => Err(Refusal::new(404, "Not Found: method not found", Cause::Rule)),
        }
    }

    fn answer_press(&mut self, arguments: &Arguments, now: Moment) -> Result<Value, Refusal> {
        let limit = self.options.press_limit;
        let text = arguments.text("text").map(str::to_owned);
        if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST_ANSWER) {
            return Err(Refusal::rule("MESSAGE_TOO_LONG"));
        }
        let query = arguments.text("callback_query_id").unwrap_or("").to_owned();
        let press = self.presses.get_mut(&query);
        let press = press.filter(|press| {
            !press.is_answered && now.instant.saturating_duration_since(press.since) <= limit
        });
        let press = press.ok_or_else(|| {
            Refusal::state("query is too old and response timeout expired or query ID is invalid")
        })?;
        press.is_answered = true;
        let is_alert = arguments.is_true("show_alert");
        self.answers.push(PressAnswer { query, text, is_alert, at: now.at });
        Ok(true.into())
    }

    fn set_commands(&mut self, arguments: &Arguments) -> Result<Value, Refusal> {
        let commands = arguments.json::<Vec<Value>>("commands", "commands")?.unwrap_or_default();
        if commands.len() > MOST_COMMANDS {
            return Err(Refusal::rule("too much bot commands specified"));
        }
        let mut kept = Vec::new();
        for command in &commands {
            let text = |name: &str| command.get(name).and_then(Value::as_str).unwrap_or("").trim();
            let (name, description) =
                (text("command").trim_start_matches('/'), text("description"));
            let is_lower =
                |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
            if name.is_empty() || name.len() > 32 || !name.chars().all(is_lower) {
                return Err(Refusal::rule("BOT_COMMAND_INVALID"));
            }
            if description.is_empty() || description.chars().count() > 256 {
                return Err(Refusal::rule("BOT_COMMAND_DESCRIPTION_INVALID"));
            }
            kept.push(json!({ "command": name, "description": description }));
        }
        self.commands.insert(command_key(arguments), kept.into());
        Ok(true.into())
    }

    fn get_chat_member(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let user = arguments
            .number("user_id")
            .ok_or_else(|| Refusal::rule("invalid user_id specified"))?;
        let has_written = self
            .chats
            .get(&chat)
            .is_some_and(|chat| chat.messages.values().any(|message| message.from == user));
        if user == self.id {
            return Ok(json!({ "status": "member", "user": self.json() }));
        }
        if user == chat || has_written {
            return Ok(json!({ "status": "member", "user": user_json(user) }));
        }
        Err(Refusal::state("user not found"))
    }
}

/// Commands are kept for each scope and language.
fn command_key(arguments: &Arguments) -> String {
    let scope = arguments.text("scope").unwrap_or(r#"{"type":"default"}"#);
    let scope: Value = serde_json::from_str(scope).unwrap_or_default();
    format!("{scope} {}", arguments.text("language_code").unwrap_or(""))
}
