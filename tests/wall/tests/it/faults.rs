//! What goes wrong on purpose.

use std::io;
use std::time::Duration;

use nexus_wall::{CANON, Protocol, Verdict, Wall};
use serde_json::Value;

use crate::said::{ask, events, streamed_text, wall};

async fn status(wall: &Wall, protocol: Protocol, model: &str) -> (u16, Value) {
    let response = ask(wall, protocol, model, true).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// What arrives until the stream ends or breaks, and whether it broke.
async fn read(wall: &Wall, protocol: Protocol, model: &str) -> (String, bool) {
    let mut response = ask(wall, protocol, model, true).await.unwrap();
    let mut text = String::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
            Ok(None) => return (text, false),
            Err(_) => return (text, true),
        }
    }
}

/// Whether a TCP reset is at the bottom of it.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[tokio::test]
async fn errors_have_the_form_of_their_provider() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let gemini = protocol == Protocol::Gemini;
        let (code, body) = status(&wall, protocol, "fb-s02-429-persistent").await;
        assert_eq!(code, 429);
        assert_eq!(body["error"]["status"] == "RESOURCE_EXHAUSTED", gemini, "{body}");
        let anthropic = protocol == Protocol::AnthropicMessages;
        assert_eq!(body["type"] == "error", anthropic, "{body}");

        assert_eq!(status(&wall, protocol, "fb-s04-503-persistent").await.0, 503);
        assert_eq!(status(&wall, protocol, "fb-s12-context-length").await.0, 400);
        assert_eq!(status(&wall, protocol, "no-such-model").await.0, 404);
        let overloaded = status(&wall, protocol, "fb-x06-529-overloaded").await.0;
        assert_eq!(overloaded, if anthropic { 529 } else { 503 });

        let (text, broke) = read(&wall, protocol, "fb-x03-429-in-band").await;
        assert!(!broke && streamed_text(protocol, &text).split(' ').count() == 20, "{text}");
        let last = events(&text).pop().unwrap().to_string().to_lowercase();
        assert!(last.contains("rate_limit") || last.contains("resource_exhausted"), "{last}");
    }
    assert_eq!(wall.broken_rules(), [""; 0]);
}

#[tokio::test]
async fn hint_stands_where_each_provider_has_it() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let limited = ask(&wall, protocol, "fb-s01-429-retry-after", true).await.unwrap();
        assert_eq!(
            (limited.status().as_u16(), &limited.headers()["retry-after"]),
            (429, &"2".parse().unwrap())
        );
        let hinted = ask(&wall, protocol, "fb-x04-retry-hint", true).await.unwrap();
        if protocol == Protocol::Gemini {
            let body: Value = hinted.json().await.unwrap();
            assert_eq!(body["error"]["details"][0]["retryDelay"], "0.700s");
        } else {
            assert_eq!(hinted.headers()["retry-after-ms"], "700");
        }
        assert_eq!(status(&wall, protocol, "fb-x04-retry-hint").await.0, 200);
    }
}

#[tokio::test]
async fn first_attempt_is_reset_on_the_wire_and_the_second_one_answered() {
    let (wall, model) = (wall(), "fb-s05-reset-once");
    for protocol in Protocol::ALL {
        let error = ask(&wall, protocol, model, true).await.unwrap_err();
        assert!(is_reset(&error), "{error:?}");
        let (text, _) = read(&wall, protocol, model).await;
        assert_eq!(streamed_text(protocol, &text), CANON);
        let verdicts: Vec<_> =
            wall.requests(protocol, model).into_iter().map(|seen| seen.verdict).collect();
        assert_eq!(verdicts, [Verdict::Failed, Verdict::Answered]);
    }
}

#[tokio::test]
async fn cut_streams_end_after_forty_words_each_in_its_own_way() {
    let wall = wall();
    for protocol in Protocol::ALL {
        for (model, breaks) in [
            ("fb-s08-cut-mid-stream", true),
            ("fb-x08-reset-mid-stream", true),
            ("fb-x09-clean-eof-mid-stream", false),
        ] {
            let (text, broke) = read(&wall, protocol, model).await;
            assert_eq!(
                streamed_text(protocol, &text).split(' ').count(),
                40,
                "{protocol:?} {model}"
            );
            assert_eq!(broke, breaks, "{protocol:?} {model}");
        }
    }
}

#[tokio::test]
async fn tenth_event_is_no_json_and_the_others_are_there() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let (text, broke) = read(&wall, protocol, "fb-s10-malformed-event").await;
        let broken = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let broken: Vec<_> = broken
            .enumerate()
            .filter(|(_, data)| *data != "[DONE]" && serde_json::from_str::<Value>(data).is_err())
            .map(|(i, _)| i)
            .collect();
        assert_eq!((broken.as_slice(), broke), ([9].as_slice(), false), "{protocol:?}");
    }
}

#[tokio::test]
async fn connection_stays_open_where_the_end_is_missing() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let mut response = ask(&wall, protocol, "fb-s11-no-done", true).await.unwrap();
        let mut text = String::new();
        let open = loop {
            match tokio::time::timeout(Duration::from_millis(300), response.chunk()).await {
                Ok(Ok(Some(chunk))) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(_) => break false,
                Err(_) => break true,
            }
        };
        assert!(open, "{protocol:?}");
        assert_eq!(streamed_text(protocol, &text), CANON);
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
    }
}

#[tokio::test]
async fn client_that_leaves_is_noticed() {
    let (wall, model) = (wall(), "fb-s06-no-response");
    for protocol in Protocol::ALL {
        let waiting = ask(&wall, protocol, model, true);
        assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
        let noticed = async {
            while wall.requests(protocol, model)[0].ended.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), noticed).await.expect("never noticed");
    }
}
