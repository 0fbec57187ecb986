//! Keys of model providers, from the operator, a user and a tenant, and a wrong one that a
//! provider repeats: after answers, failures and two crashes they are nowhere but in the vault,
//! encrypted.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use nexus_bus::{Bus, CHUNKS, Filter, Reader, Start};
use nexus_contracts::LOCAL_TENANT;
use nexus_testkit::process::{Nexus, Options};
use nexus_wall::{Protocol, Wall};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};

use super::{contains, dump, files};
use crate::doors::Caller;
use crate::support::{bus, key_of, text, until, up};

const OPERATORS: &str = "sk-operators-5b1e7d90c3a24f68";
const USERS: &str = "sk-users-0f8c2d6b9e7a4135";
const TENANTS: &str = "sk-tenants-7a3d1c5e9b0f4826";
const WRONG: &str = "sk-wrong-2e9f4b7c1d8a6053";
/// Refused when it was to be kept.
const REFUSED: &str = "sk-refused-6c0a8e3f5d1b7924";
/// Every answer holds it: where it is found, keys would be too.
const ANSWERED: &str = "lighthouse";
const MARKED: [&str; 5] = [OPERATORS, USERS, TENANTS, WRONG, REFUSED];

/// Of a protocol's provider; the project's own have other names.
fn name(protocol: Protocol) -> String {
    format!("wall-{}", protocol.kind())
}

/// Whose key each protocol's provider is asked with.
fn options(wall: &Wall) -> Options {
    let mut options = Options::default()
        .env("WALL_KEY", OPERATORS)
        .env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo")
        .env("RUST_LOG", "debug")
        .env("RUST_BACKTRACE", "full");
    for protocol in Protocol::ALL {
        let (name, kind) = (name(protocol), protocol.kind());
        let provider = format!(
            "kind = \"{kind}\"\nbase_url = \"{}\"\napi_key_env = \"WALL_KEY\"\nmodels = [\"fb-ok\", \"fb-x10-wrong-key-echo\", \"fb-s08-cut-mid-stream\"]\n",
            wall.url(protocol)
        );
        options = options.file(&format!("providers/{name}.toml"), provider);
        for (agent, model) in
            [("ok", "fb-ok"), ("echo", "fb-x10-wrong-key-echo"), ("cut", "fb-s08-cut-mid-stream")]
        {
            let agent = format!("{name}-{agent}");
            let table = format!(
                "name = \"{agent}\"\ninstructions = \"Do it.\"\nmodel = \"{name}/{model}\"\ntools = []\n"
            );
            options = options.file(&format!("agents/{agent}.toml"), table);
        }
    }
    options
}

async fn put_key(caller: &Caller, provider: &str, scope: &str, body: &Value) -> (u16, String) {
    let path = format!("/v1/keys/providers/{provider}?scope={scope}");
    let answer = caller.put(&path, body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Gives the keys to the vault; what is answered is returned.
async fn give_keys(caller: &Caller) -> Vec<String> {
    let mut said = Vec::new();
    for (protocol, scope, body, status) in [
        (Protocol::OpenaiResponses, "user", json!({ "key": USERS }), 201),
        (Protocol::AnthropicMessages, "tenant", json!({ "key": TENANTS }), 201),
        (Protocol::Gemini, "user", json!({ "key": REFUSED }), 422),
        (Protocol::Gemini, "user", json!({ "key": WRONG, "test": false }), 201),
        // No body of a key at all: the reader must not repeat it.
        (Protocol::Gemini, "user", json!({ "key": [REFUSED] }), 400),
    ] {
        let (got, answer) = put_key(caller, &name(protocol), scope, &body).await;
        assert_eq!(got, status, "{protocol:?}: {answer}");
        said.push(answer);
    }
    said
}

/// Asks everything of everybody; what is answered is returned.
async fn ask_all(callers: &[Caller]) -> Vec<String> {
    let mut said = Vec::new();
    for caller in callers {
        for protocol in Protocol::ALL {
            for (agent, stream) in [("ok", true), ("ok", false), ("echo", false), ("cut", true)] {
                let body = json!({
                    "model": format!("{}-{agent}", name(protocol)), "stream": stream,
                    "messages": [{ "role": "user", "content": "Tell me." }],
                });
                let answer = caller.post("/v1/chat/completions", &body).send().await.unwrap();
                said.push(answer.text().await.unwrap_or_default());
            }
        }
    }
    said
}

/// Ends all of it by a signal that would leave a core behind.
async fn crash(nexus: &Nexus, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(nexus.pid()).unwrap()).unwrap();
    // Rust's own handler of SIGSEGV takes the first one as a fault that will come again.
    until("its end", async || {
        let _ended_already = kill_process(pid, signal);
        let status = format!("/proc/{}/status", pid.as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        (status.is_empty() || status.contains("State:\tZ")).then_some(())
    })
    .await;
    nexus.kill().unwrap();
}

/// Allows cores to this process and those that it starts; whether one is written here.
fn cores_are_written(folder: &Path) -> bool {
    let hard = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: hard, maximum: hard }).unwrap();
    let place = folder.join("control");
    std::fs::create_dir(&place).unwrap();
    let ended =
        Command::new("sh").args(["-c", "kill -ABRT $$"]).current_dir(&place).status().unwrap();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    let written = !cores(&place).is_empty();
    std::fs::remove_dir_all(place).unwrap();
    written
}

fn cores(folder: &Path) -> Vec<String> {
    let names =
        files(folder).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    names.filter(|name| *name == "core" || name.starts_with("core.")).collect()
}

/// Names of all streams: those on disk, and the one in memory.
fn streams(nexus: &Nexus) -> BTreeSet<String> {
    let mut names = BTreeSet::from([CHUNKS.to_owned()]);
    for path in files(&nexus.data()) {
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        let at = parts.iter().position(|part| *part == "streams");
        names.extend(at.and_then(|at| parts.get(at + 1)).map(|name| (*name).to_owned()));
    }
    names
}

/// What a stream holds, subjects too.
async fn held(bus: &Bus, stream: &str) -> Vec<u8> {
    let mut reader = Reader::open(bus, stream, Filter::Everything, Start::First).await.unwrap();
    let messages = reader.read_to_end().await.unwrap();
    messages
        .iter()
        .flat_map(|message| [message.subject.as_bytes(), &message.bytes].concat())
        .collect()
}

#[tokio::test]
async fn providers_keys_are_nowhere_also_after_crashes_with_cores_allowed() {
    let keys = [OPERATORS, USERS, TENANTS].map(str::to_owned).to_vec();
    let wall = Wall::start(nexus_wall::Options { keys, ..nexus_wall::Options::default() }).unwrap();
    let control = tempfile::tempdir().unwrap();
    let cores_possible = cores_are_written(control.path());
    let nexus = up(options(&wall)).await;
    let local = Caller::local(&nexus);
    let (mut found, mut read) = (Vec::new(), BTreeSet::new());
    let mut look = |place: String, bytes: &[u8]| {
        let held = MARKED.iter().filter(|key| contains(bytes, key));
        found.extend(held.map(|key| format!("{key} in {place}")));
        if contains(bytes, ANSWERED) {
            read.insert(place);
        }
    };

    let mut said = give_keys(&local).await;
    let (_, adas) = key_of(&nexus, LOCAL_TENANT, "ada").await;
    let callers = [local, Caller::with(&nexus, adas)];
    for signal in [Signal::SEGV, Signal::ABORT] {
        said.extend(ask_all(&callers).await);
        crash(&nexus, signal).await;
        nexus.restart().await.unwrap();
    }
    said.extend(ask_all(&callers).await);
    for answer in said {
        look("an answer".to_owned(), answer.as_bytes());
    }
    // All of them were used: nothing here is clean because nothing happened.
    let used: BTreeSet<String> = wall.all().into_iter().map(|seen| seen.key).collect();
    assert_eq!(used, MARKED.map(str::to_owned).into());
    assert_eq!(wall.broken_rules(), [""; 0]);

    let listed = callers[0].get("/v1/keys/providers").send().await.unwrap().bytes().await.unwrap();
    assert!(contains(&listed, "4135"), "the hint is shown: {}", text(&listed));
    look("the list of keys".to_owned(), &listed);
    let metrics = callers[0].get("/metrics").send().await.unwrap().bytes().await.unwrap();
    look("the metrics".to_owned(), &metrics);
    for command in [
        ["config", "show"],
        ["bus", "plan"],
        ["doctor", "--json"],
        ["keys", "list"],
        ["usage", "--json"],
    ] {
        let shown = nexus.run(&command).await.unwrap();
        look(format!("{command:?}"), &[shown.stdout, shown.stderr].concat());
    }
    let (bus, streams) = (bus(&nexus).await, streams(&nexus));
    for wanted in ["EVENTS", "DEAD", "CHUNKS", "KV_CONFIG"] {
        assert!(streams.contains(wanted), "{wanted} is not in {streams:?}");
    }
    for stream in streams {
        let bytes = held(&bus, &stream).await;
        look(format!("stream {stream}"), &bytes);
    }
    look(
        "the database".to_owned(),
        &dump(&nexus.database_url().unwrap(), &["credentials", "usage_records"]).await,
    );

    // Stopped, everything that was written is on disk: streams, tables, logs, cores.
    nexus.terminate().await.unwrap();
    let folder = nexus.place().folder();
    assert_eq!(cores(folder), [""; 0]);
    if !cores_possible {
        println!("this machine writes no cores into the folder: their absence says little here");
    }
    for path in files(folder) {
        look(path.display().to_string(), &std::fs::read(&path).unwrap_or_default());
    }
    assert_eq!(found, Vec::<String>::new());
    for place in ["an answer", "stream EVENTS", "stream CHUNKS", "the database"] {
        assert!(read.contains(place), "{place} was not read, only {read:?}");
    }
    for kind in ["/streams/EVENTS/", "/postgres/"] {
        assert!(read.iter().any(|place| place.contains(kind)), "no file of {kind}: {read:?}");
    }
}
