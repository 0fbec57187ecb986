//! One request for an answer, from its rules to the last byte.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::ledger::{Entry, Verdict};
use crate::line::Breaker;
use crate::play::{self, Beat, Pace, Step};
use crate::refusal::{Kind, Refusal};
use crate::rule::Checked;
use crate::script::{Act, Bend, Script};
use crate::server::{App, Incoming, model_in, refuse, say, with_request_id, wrong_key};
use crate::{Protocol, anthropic, chat, gemini, responses};

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// A request that keeps the rules.
struct Scene<'a> {
    app: &'a Arc<App>,
    incoming: &'a Incoming,
    entry: Entry,
    model: &'a str,
    script: &'a Script,
    ask: &'a Ask,
}

/// Answers a request whose body `check` reads.
pub(crate) async fn generate(
    app: &Arc<App>,
    line: Breaker,
    incoming: &Incoming,
    model: Option<&str>,
    check: impl FnOnce(&Value) -> Checked<Ask>,
) -> Response {
    let body = incoming.json();
    let model = model.map_or_else(|| model_in(&body), str::to_owned);
    let entry = incoming.enter(&app.ledger, &model, body.clone().unwrap_or_default());
    let script = Script::of(&model);
    let checked = incoming.check_head(&app.options).and_then(|()| {
        let body = body?;
        if !Script::exists(&model, &app.options.models) {
            return Err(Refusal::of(Kind::NotFound, ""));
        }
        let ask = check(&body)?;
        ask.check_traits(&script.traits)?;
        check_thoughts(app, incoming.protocol, &model, &ask)?;
        Ok(ask)
    });
    let ask = match checked {
        Ok(ask) => ask,
        Err(refusal) => return refuse(app, incoming, entry, &refusal),
    };
    let now = Instant::now();
    let (attempt, first) = app.ledger.count(incoming.protocol, &model, now);
    let act = script.act(attempt, now - first);
    let scene = Scene { app, incoming, entry, model: &model, script: &script, ask: &ask };
    scene.play(line, act).await
}

/// What the model thought comes back as it was.
fn check_thoughts(app: &App, protocol: Protocol, model: &str, ask: &Ask) -> Checked<()> {
    if ask.thoughts.iter().any(|thought| !app.ledger.thought(protocol, model, thought)) {
        let why = "Invalid `signature`: this is not what the model thought.";
        return Err(Refusal::rule("messages", why));
    }
    // Chat completions have no place for it.
    let wants = protocol != Protocol::OpenaiChat && app.ledger.has_thoughts(protocol, model);
    if ask.lacks_thoughts && wants {
        let why = "a call of a tool came back without the thought before it (thought_signature is missing)";
        return Err(Refusal::rule("messages", why));
    }
    Ok(())
}

impl Scene<'_> {
    async fn play(&self, line: Breaker, act: Act) -> Response {
        let (app, protocol) = (self.app, self.incoming.protocol);
        let failing = || {
            app.ledger.judge(self.entry, Verdict::Failed);
            Closing { app, entry: self.entry }
        };
        let refusal = match act {
            // Its body notes the end by itself.
            Act::Answer(bend) => return self.answer(line, &bend),
            Act::Reset => {
                let _closing = failing();
                line.reset();
                // Never arrives: the connection breaks when it is written.
                return StatusCode::OK.into_response();
            }
            Act::Silence => {
                let _closing = failing();
                return std::future::pending().await;
            }
            Act::Refuse(refusal) => refusal,
        };
        let _closing = failing();
        match refusal.kind {
            Kind::ContentPolicy if protocol == Protocol::Gemini => {
                let body = gemini::blocked(self.model).to_string();
                if self.ask.stream {
                    ([(CONTENT_TYPE, SSE)], format!("data: {body}\r\n\r\n")).into_response()
                } else {
                    ([(CONTENT_TYPE, JSON)], body).into_response()
                }
            }
            Kind::Auth => say(protocol, &wrong_key(self.incoming.key().unwrap_or_default())),
            _ => say(protocol, &refusal),
        }
    }

    fn answer(&self, line: Breaker, bend: &Bend) -> Response {
        let protocol = self.incoming.protocol;
        let bytes = self.incoming.body.len();
        let answer = Answer::new(self.model, self.script, self.ask, bend, bytes);
        let pace = Pace { latency: self.script.latency, pause: self.script.pause };
        let ledger = Arc::clone(&self.app.ledger);
        let thoughts = match protocol {
            Protocol::OpenaiChat => Vec::new(),
            Protocol::OpenaiResponses => responses::thoughts(&answer),
            Protocol::AnthropicMessages => anthropic::thoughts(&answer),
            Protocol::Gemini => gemini::thoughts(&answer),
        };
        ledger.think(protocol, self.model, thoughts);
        let (kind, steps) = if self.ask.stream {
            (SSE, self.stream(&answer, bend, pace))
        } else if let Bend::InBand(_, refusal) = bend {
            ledger.close(self.entry);
            return say(protocol, refusal);
        } else {
            let whole = match protocol {
                Protocol::OpenaiChat => chat::whole(&answer),
                Protocol::OpenaiResponses => responses::whole(&answer),
                Protocol::AnthropicMessages => anthropic::whole(&answer),
                Protocol::Gemini => gemini::whole(&answer),
            };
            (JSON, play::whole(&whole.to_string(), bend, pace))
        };
        let (entry, bill) = (self.entry, answer.bill);
        let at_end = Box::new(move |whole| ledger.end(entry, &bill, whole));
        let body = play::body(steps, line, at_end);
        with_request_id(protocol, ([(CONTENT_TYPE, kind)], body).into_response())
    }

    fn stream(&self, answer: &Answer, bend: &Bend, pace: Pace) -> Vec<Step> {
        let late_usage = matches!(bend, Bend::LateUsage(_));
        let (beats, in_band): (Vec<Beat>, fn(&Refusal) -> String) = match self.incoming.protocol {
            Protocol::OpenaiChat => (chat::beats(answer, self.ask), chat::in_band),
            Protocol::OpenaiResponses => (responses::beats(answer), responses::in_band),
            Protocol::AnthropicMessages => (anthropic::beats(answer), anthropic::in_band),
            Protocol::Gemini => (gemini::beats(answer, late_usage), gemini::in_band),
        };
        let failure = match bend {
            Bend::InBand(_, refusal) => Some(in_band(refusal)),
            _ => None,
        };
        play::streamed(beats, bend, pace, failure)
    }
}

/// Notes the end of a request that gets no answer, also when the client goes away.
struct Closing<'a> {
    app: &'a App,
    entry: Entry,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.app.ledger.close(self.entry);
    }
}
