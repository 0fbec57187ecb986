//! Keys are where they have to be, and nowhere else.

mod crashed;

use std::fs;
use std::path::{Path, PathBuf};

use nexus_bus::{CHUNKS, DEAD, EVENTS, Filter, Reader, Start};
use nexus_contracts::EventType;
use nexus_testkit::process::{Nexus, Options, Place};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::support::{bus, exited, fresh, shared, subject, succeeded, text, until, up};
use crate::web_client::WebClient;

const CANARY: &str = "sk-canary-8d1f0c2b7a6e4d53";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Uses both keys, rightly and wrongly, in every way that could leave a trace.
async fn use_keys(nexus: &Nexus) {
    let key = nexus.key().unwrap();
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("secrets"));
    client.answer(&conversation, "what time is it in Tokyo?").await;
    succeeded(nexus.run(&["ask", "hello"]).await.unwrap());
    let http = nexus_bench::http_client().unwrap();
    let body = r#"{"model":"openai/gpt","messages":[{"role":"user","content":"hello"}]}"#;
    let request = http.post(format!("{}/v1/chat/completions", nexus.http())).bearer_auth(&key);
    let failed =
        request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert!(failed.status().is_server_error(), "{}", failed.status());
    let wrong = http
        .get(format!("{}/v1/models", nexus.http()))
        .bearer_auth(format!("{key}x"))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 401);
    let dead = subject(EventType::RequestsIncoming, "web", &conversation);
    bus(nexus).await.publish_bytes(dead, uuid::Uuid::now_v7(), "x".into()).await.unwrap();
    until("a dead letter", async || {
        let list = nexus.run(&["dead", "list"]).await.unwrap();
        text(&list.stdout).contains("malformed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_key_is_in_any_stream_table_file_or_log_line() {
    // A provider that refuses the connection, so that the key is used and its failure is told; with
    // the models that routes name.
    let openai = "kind = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key_env = \"OPENAI_API_KEY\"\nmodels = [\"gpt\", \"gpt-5.6\", \"gpt-5.6-luna\", \"gpt-6.1-sol\"]\n";
    let options = Options::default()
        .file("providers/openai.toml", openai)
        .env("OPENAI_API_KEY", CANARY)
        .env("NEXUS_INFERENCE__DEFAULT_MODEL", "demo/demo")
        .env("RUST_LOG", "debug");
    let nexus = up(options).await;
    let key = nexus.key().unwrap();

    use_keys(&nexus).await;
    let (bus, http) = (bus(&nexus).await, nexus_bench::http_client().unwrap());

    let mut found = Vec::new();
    let mut look = |place: String, bytes: &[u8]| {
        for (name, secret) in [("provider's key", CANARY), ("API key", key.as_str())] {
            if contains(bytes, secret) {
                found.push(format!("{name} in {place}"));
            }
        }
    };
    for stream in [
        EVENTS,
        DEAD,
        CHUNKS,
        "KV_CONFIG",
        "KV_TOOLS",
        "KV_CHECKPOINTS",
        "KV_CURSORS",
        "KV_DELIVERIES",
        "KV_THREADS",
    ] {
        let mut reader =
            Reader::open(&bus, stream, Filter::Everything, Start::First).await.unwrap();
        let mut messages = 0;
        while reader.pending() > 0 {
            // A checkpoint's or setting's subject is no conversation's, its bytes are read all the same.
            let message = reader.next().await.unwrap();
            look(format!("{stream} {}", message.sequence), &message.bytes);
            messages += 1;
        }
        assert!(
            messages > 0 || !matches!(stream, "EVENTS" | "DEAD" | "KV_CONFIG"),
            "{stream} is empty"
        );
    }
    for command in [["config", "show"], ["bus", "plan"], ["doctor", "--json"], ["keys", "list"]] {
        let shown = nexus.run(&command).await.unwrap();
        look(format!("{command:?}"), &[shown.stdout, shown.stderr].concat());
    }
    let database = nexus.database_url().unwrap();
    look("the database".to_owned(), &dump(&database, &["Tokyo", "api_keys"]).await);
    let metrics =
        http.get(format!("{}/metrics", nexus.http())).send().await.unwrap().bytes().await.unwrap();
    look("the metrics".to_owned(), &metrics);

    // Stopped, everything that was written is on disk.
    nexus.terminate().await.unwrap();
    let all = files(nexus.place().folder());
    assert!(all.iter().any(|path| path.ends_with("up-1.err")), "{all:?}");
    for path in all {
        let mut bytes = fs::read(&path).unwrap_or_default();
        if path.ends_with("local.key") {
            continue;
        }
        if path.ends_with("up-1.out") {
            // The one place where the key is shown, on purpose.
            let shown = text(&bytes);
            bytes = shown
                .lines()
                .filter(|line| !line.starts_with("open "))
                .collect::<String>()
                .into_bytes();
        }
        look(path.display().to_string(), &bytes);
    }
    assert_eq!(found, Vec::<String>::new());
}

/// All rows of all tables that are not PostgreSQL's own; these words have to be among them.
async fn dump(url: &str, words: &[&str]) -> Vec<u8> {
    let mut database = sqlx::PgConnection::connect(url).await.unwrap();
    // The owner's rows are guarded too; it may switch that off for itself.
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let tables = sqlx::query(tables).fetch_all(&mut database).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let open = AssertSqlSafe(format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"));
        sqlx::raw_sql(open).execute(&mut database).await.unwrap();
        let select = AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let rows = sqlx::query(select).fetch_all(&mut database).await.unwrap();
        all.extend(table.bytes());
        all.extend(rows.iter().flat_map(|row| row.get::<String, _>(0).into_bytes()));
    }
    assert!(words.iter().all(|word| contains(&all, word)), "nothing was read");
    all
}

#[tokio::test]
async fn an_unknown_key_in_the_environment_is_not_an_error_but_an_unknown_setting_is() {
    let nexus = shared().await;
    let options =
        Options::default().env("NEXUS_GATEWAY__NO_SUCH", "1").env("SOME_OTHER_KEY", CANARY);
    let place = Place::new(&options).unwrap();
    let error = text(&exited(2, place.run(&["config", "show"]).await.unwrap()).stderr);
    assert!(error.contains("no_such") && !error.contains(CANARY), "{error}");
    succeeded(nexus.run(&["config", "show"]).await.unwrap());
}
