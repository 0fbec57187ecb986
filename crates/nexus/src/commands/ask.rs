use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::config::Settings;
use crate::installation::{self, Installation};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to ask
    text: String,
    /// Agent to ask [default: the gateway's]
    #[arg(long)]
    agent: Option<String>,
    /// Conversation to go on with; without it, a new one
    #[arg(long)]
    conversation: Option<String>,
    /// Longest wait for the answer
    #[arg(long, default_value = "10m")]
    timeout: humantime::Duration,
}

pub(crate) async fn run(settings: &Settings, options: Options, json: bool) -> Result<ExitCode> {
    let key = installation::api_key(settings)?;
    let http = Installation::find(settings)?.http;
    let address = http.strip_prefix("http://").unwrap_or(&http);
    let url = format!("ws://{address}/v1/ws");
    let connected = tokio_tungstenite::connect_async(&url).await;
    let (mut socket, _) =
        connected.with_context(|| format!("nothing answers at {http}; is `nexus up` running?"))?;
    let conversation = options.conversation.unwrap_or_else(|| Uuid::now_v7().to_string());
    let hello = json!({ "type": "hello", "key": key.expose_secret(), "client": "nexus ask" });
    let ask = json!({ "type": "ask", "id": Uuid::now_v7(), "conversation": conversation,
                      "text": options.text, "agent": options.agent });
    for frame in [hello, ask] {
        socket.send(Message::text(frame.to_string())).await.context("sending the question")?;
    }
    let mut answer = Answer { json, printed: String::new(), run: None };
    let wait = async {
        while let Some(message) = socket.next().await {
            match message.context("reading the answer")? {
                Message::Text(text) => {
                    let frame: Value =
                        serde_json::from_str(text.as_str()).context("reading a frame")?;
                    if frame["type"] == "ping" {
                        socket.send(Message::text(r#"{"type":"pong"}"#)).await?;
                    }
                    if let Some(code) = answer.take(&frame)? {
                        return Ok(code);
                    }
                }
                Message::Close(Some(reason)) => {
                    bail!("the gateway closed the connection: {}", reason.reason)
                }
                _ => {}
            }
        }
        bail!("the connection ended before the answer; it will be in conversation {conversation}")
    };
    let timeout: Duration = options.timeout.into();
    tokio::time::timeout(timeout, wait).await.context("no answer in time")?
}

struct Answer {
    json: bool,
    printed: String,
    run: Option<String>,
}

impl Answer {
    /// Shows a frame; the exit code when it is the last one.
    fn take(&mut self, frame: &Value) -> Result<Option<ExitCode>> {
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "accepted" => {
                self.run = Some(text("run"));
                if !self.json {
                    eprintln!("run {}", text("run"));
                }
            }
            "error" => bail!("{}", text("message")),
            "event" if !self.json && frame["event"] == "tools.execute" => {
                let summary = &frame["summary"];
                eprintln!(
                    "  {} {}",
                    summary["tool"].as_str().unwrap_or("tool"),
                    summary["arguments"]
                );
            }
            "delta" if !self.json && self.is_ours(frame) => {
                self.printed.push_str(&text("text"));
                show!("{}", text("text"));
                std::io::stdout().flush()?;
            }
            "done" if self.is_ours(frame) => return Ok(Some(self.done(frame))),
            _ => {}
        }
        Ok(None)
    }

    fn is_ours(&self, frame: &Value) -> bool {
        frame["run"].as_str() == self.run.as_deref()
    }

    fn done(&self, frame: &Value) -> ExitCode {
        let answered = frame["outcome"] == "answered";
        let text = frame["text"].as_str().unwrap_or_default();
        if self.json {
            say!("{frame}");
        } else if answered {
            // What streamed may have had a preamble; the last word is the answer.
            if !self.printed.ends_with(text) {
                show!("{}{text}", if self.printed.is_empty() { "" } else { "\n" });
            }
            say!("");
        } else {
            eprintln!("{}: {text}", frame["outcome"].as_str().unwrap_or("failed"));
        }
        if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
