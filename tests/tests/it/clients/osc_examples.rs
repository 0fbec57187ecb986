//! The programs of `examples/osc/`, as their readers start them: python-osc over UDP and TCP, liblo's
//! tools, Pure Data and SuperCollider. Each says hello, asks, hears the tokens and the end.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use nexus_testkit::process::{Nexus, repository};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::shared;

const QUESTION: &str = "what time is it in Tokyo?";
/// SuperCollider compiles its class library first.
const PATIENCE: Duration = Duration::from_secs(90);

fn example(name: &str) -> String {
    repository().join("examples/osc").join(name).display().to_string()
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a program prints up to the line that begins with `end`, or to its own end.
async fn printed(nexus: &Nexus, mut command: Command, end: &str) -> Vec<String> {
    command
        .env("NEXUS_API_KEY", nexus.key().unwrap())
        .env("NEXUS_OSC_PORT", nexus.osc_port().to_string())
        .env("NEXUS_TEXT", QUESTION)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // SuperCollider's browser widgets want neither a screen nor a sandbox in a sandbox.
        .env("QT_QPA_PLATFORM", "offscreen")
        .env("QTWEBENGINE_DISABLE_SANDBOX", "1")
        .env("XDG_RUNTIME_DIR", nexus.place().folder())
        // Where it keeps settings.
        .env("HOME", nexus.place().folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = format!("{:?}", command.as_std().get_program());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; scripts/test installs it"));
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    let reading = async {
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let line = tokio::select! {
                line = out.next_line(), if out_open => { out_open = matches!(line, Ok(Some(_))); line }
                line = err.next_line(), if err_open => { err_open = matches!(line, Ok(Some(_))); line }
            };
            let Ok(Some(line)) = line else { continue };
            let over = line.starts_with(end);
            lines.push(line);
            if over {
                return;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await;
    assert!(ended.is_ok(), "{name} does not end: {}", lines.join("\n"));
    lines
}

/// The answer of a program that prints `token: request number kind text` and `done: request total status`.
fn answer(lines: &[String]) -> String {
    let all = lines.join("\n");
    let after = |line: &String, beginning: &str| line.strip_prefix(beginning).map(str::to_owned);
    let done =
        lines.iter().find_map(|line| after(line, "done: ")).unwrap_or_else(|| panic!("{all}"));
    let [request, total, status] = &done.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{all}")
    };
    assert_eq!(*status, "answered", "{all}");
    let beginning = format!("token: {request} ");
    let mut tokens: Vec<(usize, String)> = lines
        .iter()
        .filter_map(|line| {
            let token = after(line, &beginning)?;
            let mut words = token.splitn(3, ' ');
            let (number, kind) = (words.next()?.parse().ok()?, words.next()?);
            assert_eq!(kind, "text", "{all}");
            Some((number, words.next().unwrap_or_default().to_owned()))
        })
        .collect();
    tokens.sort();
    assert_eq!(tokens.len(), total.parse::<usize>().unwrap(), "{all}");
    tokens.into_iter().map(|(_, text)| text).collect()
}

fn tells_the_time(text: &str) {
    assert!(text.contains("Tokyo") && text.contains("+09:00"), "{text}");
}

#[tokio::test]
async fn python_asks_over_udp_and_over_tcp() {
    let nexus = shared().await;
    for transport in [&[][..], &["--tcp"]] {
        let mut command = Command::new(repository().join(".venv/bin/python"));
        command.arg(example("ask.py")).args(transport);
        command.args(["--port", &nexus.osc_port().to_string(), QUESTION]);
        let lines = printed(nexus, command, "never").await;
        tells_the_time(&lines.join("\n"));
        assert!(lines.contains(&"answered".to_owned()), "{transport:?}: {lines:?}");
    }
}

#[tokio::test]
async fn a_shell_asks_with_oscsend_and_oscdump() {
    let nexus = shared().await;
    let mut command = Command::new("sh");
    command.arg(example("ask.sh")).arg(QUESTION);
    command.env("REPLY_PORT", free_udp_port().to_string());
    let all = printed(nexus, command, "never").await.join("\n");
    tells_the_time(&all);
    assert!(all.contains("/nexus/1/done sis ") && all.contains("\"answered\""), "{all}");
}

#[tokio::test]
async fn pure_data_asks_with_floats_for_numbers() {
    let nexus = shared().await;
    let escaped = QUESTION.replace(' ', "\\ ");
    let settings = format!(
        "nexus-start list 127.0.0.1 {} {} {}",
        nexus.osc_port(),
        free_udp_port(),
        nexus.key().unwrap()
    );
    let mut command = Command::new("pd");
    command.args(["-nogui", "-noaudio", "-nomidi", "-send"]);
    command.arg(format!("nexus-text symbol {escaped}")).arg("-send").arg(settings);
    command.arg(example("ask.pd"));
    let lines = printed(nexus, command, "done: ").await;
    tells_the_time(&answer(&lines).replace('\\', ""));
}

#[tokio::test]
async fn supercollider_asks_with_a_time_tag_ahead() {
    let nexus = shared().await;
    let mut command = Command::new("sclang");
    command.arg("-u").arg(free_udp_port().to_string()).arg(example("ask.scd"));
    let lines = printed(nexus, command, "done: ").await;
    tells_the_time(&answer(&lines));
}
