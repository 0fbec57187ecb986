//! What a client of the OpenAI endpoint sees of the public faults.
//!
//! Text that was sent cannot be taken back there: a stream that has to begin again ends with an
//! error event and without `[DONE]`. A client that does not stream sees nothing of it.

use nexus_testkit::process::Options;
use nexus_wall::{CANON, Protocol, Wall};
use serde_json::{Value, json};

use super::{agent, provider};
use crate::doors::Caller;
use crate::support::up;

const KEY: &str = "sk-wall-sse";

/// What becomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// All of it, by the primary or by the spare.
    Whole(By),
    /// A part, and an error event.
    Restarted,
    /// An error before the stream begins, with this status.
    Refused(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Primary,
    Spare,
}

/// All but S15, which is about time. Those that break in the middle are slow enough to have been
/// shown by then: what nobody has seen begins again unnoticed.
const SCENARIOS: [(&str, &str, Shown); 15] = [
    ("s01", "fb-s01-429-retry-after", Shown::Whole(By::Primary)),
    ("s02", "fb-s02-429-persistent", Shown::Whole(By::Spare)),
    ("s03", "fb-s03-500-once", Shown::Whole(By::Primary)),
    ("s04", "fb-s04-503-persistent", Shown::Whole(By::Spare)),
    ("s05", "fb-s05-reset-once", Shown::Whole(By::Primary)),
    ("s06", "fb-s06-no-response", Shown::Whole(By::Spare)),
    ("s07", "fb-s07-slow-first-token", Shown::Whole(By::Spare)),
    ("s08", "fb-s08-cut-mid-stream-itl20", Shown::Restarted),
    ("s09", "fb-s09-stall-mid-stream-itl20", Shown::Restarted),
    ("s10", "fb-s10-malformed-event-itl50", Shown::Restarted),
    ("s11", "fb-s11-no-done", Shown::Whole(By::Primary)),
    ("s12", "fb-s12-context-length", Shown::Whole(By::Spare)),
    ("s13", "fb-s13-content-policy", Shown::Refused(400)),
    ("s14", "fb-s14-cut-no-prefill-itl20", Shown::Restarted),
    ("s16", "fb-s16-503-billing", Shown::Whole(By::Spare)),
];

fn name(protocol: Protocol, id: &str) -> String {
    format!("{}-{id}", protocol.kind())
}

fn options(wall: &Wall) -> Options {
    let mut options =
        Options::default().env("WALL_KEY", KEY).env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo");
    for protocol in Protocol::ALL {
        for (id, model, _) in SCENARIOS {
            let (main, url) = (name(protocol, id), wall.url(protocol));
            let chain = format!("chain = [\"{main}/{model}\", \"{main}-spare/fb-ok-noprefill\"]\n");
            options = options
                .file(&format!("providers/{main}.toml"), provider(protocol, &url, &[model]))
                .file(
                    &format!("providers/{main}-spare.toml"),
                    provider(protocol, &url, &["fb-ok-noprefill"]),
                )
                .file(&format!("routes/{main}-route.toml"), chain)
                .file(&format!("agents/{main}.toml"), agent(&main, &format!("{main}-route"), &[]));
        }
    }
    options
}

/// Reads a stream as an unforgiving client does.
async fn streamed(caller: &Caller, agent: &str) -> Result<(Shown, Option<String>), String> {
    let body = json!({
        "model": agent, "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "Tell me." }],
    });
    let response = caller.post("/v1/chat/completions", &body).send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.map_err(|error| format!("the stream breaks: {error}"))?;
    if status != 200 {
        return Ok((Shown::Refused(status), None));
    }
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let done = data.iter().filter(|data| **data == "[DONE]").count();
    let events = data.iter().filter(|data| **data != "[DONE]");
    let events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap()).collect();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    let error = events.iter().find(|event| event.get("error").is_some());
    match (error, done) {
        (None, 1) if text == CANON => {
            let usage = events.iter().rfind(|event| event["usage"].is_object());
            let usage = usage.ok_or("no usage")?;
            if usage["usage"]["completion_tokens"] != 60 {
                return Err(format!("wrong usage: {usage}"));
            }
            let model = usage["model"].as_str().map(str::to_owned);
            // Who answered is only told apart by name.
            Ok((Shown::Whole(By::Primary), model))
        }
        (Some(error), 0) if !text.is_empty() && CANON.starts_with(&text) && text != CANON => {
            if error["error"]["code"] != "restarted" {
                return Err(format!("another error: {error}"));
            }
            Ok((Shown::Restarted, None))
        }
        // Nothing of it was sent yet.
        (Some(error), 0) if text.is_empty() => Ok((
            Shown::Refused(error["error"]["status"].as_u64().map_or(400, |it| it as u16)),
            None,
        )),
        _ => Err(format!("{done} times [DONE], error {error:?}, text {text:?}")),
    }
}

/// One scenario in one protocol; why it failed.
async fn play(
    caller: &Caller,
    protocol: Protocol,
    id: &str,
    model: &str,
    wanted: Shown,
) -> Result<(), String> {
    let main = name(protocol, id);
    let (shown, by) = streamed(caller, &main).await?;
    let answered = match wanted {
        Shown::Whole(By::Primary) => Some(format!("{main}/{model}")),
        Shown::Whole(By::Spare) => Some(format!("{main}-spare/fb-ok-noprefill")),
        Shown::Restarted | Shown::Refused(_) => None,
    };
    let same = match (shown, wanted) {
        (Shown::Whole(_), Shown::Whole(_)) => by == answered,
        (shown, wanted) => shown == wanted,
    };
    if !same {
        return Err(format!("{shown:?} by {by:?} instead of {wanted:?} by {answered:?}"));
    }
    if wanted != Shown::Restarted {
        return Ok(());
    }
    let body = json!({ "model": main, "messages": [{ "role": "user", "content": "Tell me." }] });
    let whole = caller.post("/v1/chat/completions", &body).send().await.unwrap();
    let whole: Value = whole.json().await.unwrap();
    if whole["choices"][0]["message"]["content"] == CANON {
        Ok(())
    } else {
        Err(format!("not streamed: {whole}"))
    }
}

#[tokio::test]
async fn faults_of_providers_end_whole_or_with_an_error_event_and_never_as_a_success() {
    let wall = Wall::start(nexus_wall::Options {
        keys: vec![KEY.to_owned()],
        ..nexus_wall::Options::default()
    })
    .unwrap();
    let nexus = up(options(&wall)).await;
    let caller = Caller::local(&nexus);
    let mut failed = Vec::new();
    for protocol in Protocol::ALL {
        let playing = SCENARIOS.iter().map(async |(id, model, wanted)| {
            play(&caller, protocol, id, model, *wanted)
                .await
                .map_err(|why| format!("{} {id}: {why}", protocol.kind()))
        });
        let results = futures_util::future::join_all(playing).await;
        let passed = results.iter().filter(|result| result.is_ok()).count();
        println!("{} over SSE: {passed} of {}", protocol.kind(), SCENARIOS.len());
        failed.extend(results.into_iter().filter_map(Result::err));
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(wall.broken_rules(), [""; 0]);
}
