use std::fs;
use std::net::TcpListener;

use nexus_testkit::process::{Nexus, Options, Place};
use sqlx::Connection as _;

use crate::support::{bus, exited, fresh, lines, shared, subject, succeeded, text, until, up};

#[tokio::test]
async fn a_second_start_on_the_same_data_exits_with_2_and_names_the_first() {
    let nexus = shared().await;
    let second = text(&exited(2, nexus.run(&["up"]).await.unwrap()).stderr);
    assert!(second.contains("in use") && second.contains(&nexus.pid().to_string()), "{second}");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place =
        Place::new(&Options::default().env("NEXUS_HTTP", &address).env("NEXUS_OSC", "127.0.0.1:0"))
            .unwrap();
    let error = text(&exited(1, place.run(&["up"]).await.unwrap()).stderr);
    assert!(error.contains(&address) && error.contains("NEXUS_HTTP"), "{error}");
}

#[tokio::test]
async fn after_up_the_bus_is_as_described_and_applying_changes_nothing() {
    let nexus = shared().await;
    for command in ["plan", "apply", "apply", "check"] {
        let said = text(&succeeded(nexus.run(&["bus", command]).await.unwrap()).stdout);
        assert_eq!(said, "the bus is as described\n", "bus {command}");
    }
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let nexus = up(Options::default()).await;
    let (conversation, key) = (fresh("restart"), nexus.key().unwrap());
    let ask = async |question: &str| {
        let asked = nexus.run(&["ask", question, "--conversation", &conversation]).await;
        text(&succeeded(asked.unwrap()).stdout)
    };
    ask("I like plums.").await;
    assert_eq!(nexus.terminate().await.unwrap().code(), Some(0), "a drained stop is a success");
    let offline = nexus.run(&["ask", "hello"]).await.unwrap();
    assert!(text(&exited(1, offline).stderr).contains("nexus up"));

    nexus.restart().await.unwrap();
    assert_eq!(nexus.key().unwrap(), key);
    assert!(ask("what did I say?").await.contains("I like plums."));
    nexus.kill().unwrap();
    nexus.restart().await.unwrap();
    assert!(ask("what did I say?").await.contains("I like plums."));
    succeeded(nexus.run(&["ledger"]).await.unwrap());
}

/// Changes a file of the installation's own bus-config.
fn edit(nexus: &Nexus, path: &str, change: impl FnOnce(String) -> String) {
    let path = nexus.place().folder().join("bus-config").join(path);
    let text = change(fs::read_to_string(&path).unwrap_or_default());
    fs::write(&path, text).unwrap();
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_and_an_agent_changes_without_a_restart() {
    let nexus = up(Options::default()).await;
    let healthy = text(&succeeded(nexus.run(&["doctor"]).await.unwrap()).stdout);
    assert!(healthy.contains("row security") && !healthy.contains("WRONG"), "{healthy}");

    // The same agent, without its tools: planned, found by the doctor, applied, live.
    edit(&nexus, "agents/assistant.toml", |text| text.replace(r#""clock", "#, ""));
    let plan = text(&succeeded(nexus.run(&["bus", "plan"]).await.unwrap()).stdout);
    assert!(plan.contains("agent.assistant") && plan.contains("clock"), "{plan}");
    exited(1, nexus.run(&["bus", "check"]).await.unwrap());
    assert!(wrong(&nexus).await.contains(&"topology".to_owned()));
    succeeded(nexus.run(&["bus", "apply"]).await.unwrap());
    until("the agent has no clock", async || {
        let asked = succeeded(nexus.run(&["ask", "what time is it in Tokyo?"]).await.unwrap());
        (!text(&asked.stderr).contains("  clock {")).then_some(())
    })
    .await;

    // A change that would destroy events needs to be asked for.
    edit(&nexus, "streams/events.toml", |text| {
        text.replace("max_bytes = 21474836480", "max_bytes = 100000000")
    });
    let refused = nexus.run(&["bus", "apply"]).await.unwrap();
    assert!(text(&exited(1, refused).stderr).contains("--allow-data-loss"));
    edit(&nexus, "streams/events.toml", |text| {
        text.replace("max_bytes = 100000000", "max_bytes = 21474836480")
    });
    assert_eq!(wrong(&nexus).await, Vec::<String>::new());

    // A table that everybody can read.
    let mut database = sqlx::PgConnection::connect(&nexus.database_url().unwrap()).await.unwrap();
    let planted = "CREATE TABLE memory.planted (tenant_id uuid, note text); GRANT SELECT ON memory.planted TO nexus_app";
    sqlx::raw_sql(planted).execute(&mut database).await.unwrap();
    let found = exited(1, nexus.run(&["doctor"]).await.unwrap());
    assert!(text(&found.stdout).contains("memory.planted"), "{}", text(&found.stdout));
    sqlx::raw_sql("DROP TABLE memory.planted").execute(&mut database).await.unwrap();

    // A dead letter.
    let subject = subject(nexus_contracts::EventType::RequestsIncoming, "web", "doctor");
    bus(&nexus).await.publish_bytes(subject, uuid::Uuid::now_v7(), "x".into()).await.unwrap();
    until("the dead letter", async || (wrong(&nexus).await == ["dead letters"]).then_some(()))
        .await;

    nexus.terminate().await.unwrap();
    let stopped = text(&exited(1, nexus.run(&["doctor"]).await.unwrap()).stdout);
    assert!(stopped.contains("nexus up"), "{stopped}");
}

#[tokio::test]
async fn a_wrong_bus_config_is_refused_by_file_and_line_and_the_old_one_stays_live() {
    let nexus = up(Options::default()).await;
    let right =
        fs::read_to_string(nexus.place().folder().join("bus-config/providers.toml")).unwrap();
    let line = right.lines().count() + 3;
    // What is right in the same folder is not applied either.
    edit(&nexus, "agents/assistant.toml", |text| text.replace(r#""clock", "#, ""));
    for (wrong, reason) in [
        ("kind = \"opnai-chat\"\nbase_url = \"http://h/v1\"", "unknown variant `opnai-chat`"),
        (
            "modles = []\nkind = \"openai-chat\"\nbase_url = \"http://h/v1\"",
            "unknown field `modles`",
        ),
        ("base_url = \"ftp://h\"\nkind = \"gemini\"", "base_url has to start with"),
        (
            "api_key = \"sk-canary\"\nkind = \"openai-chat\"\nbase_url = \"http://h/v1\"",
            "Keys are never in bus-config",
        ),
    ] {
        edit(&nexus, "providers.toml", |_| format!("{right}\n[wrong]\n{wrong}\n"));
        for command in ["apply", "check", "plan"] {
            let refused = exited(1, nexus.run(&["bus", command]).await.unwrap());
            let said = text(&refused.stderr);
            let place = format!("bus-config/providers.toml:{line}: provider.wrong: ");
            assert!(said.contains(&place) && said.contains(reason), "{said}");
            assert!(!said.contains("sk-canary"), "{said}");
        }
    }
    assert_eq!(wrong(&nexus).await, ["bus-config"]);
    edit(&nexus, "providers.toml", |_| right.clone());
    let plan = text(&succeeded(nexus.run(&["bus", "plan"]).await.unwrap()).stdout);
    assert!(plan.contains("agent.assistant") && !plan.contains("provider."), "{plan}");

    let broken = Options::default().file("agnets/helper.toml", "name = \"helper\"\n");
    let place = Place::new(&broken).unwrap();
    let said = text(&exited(1, place.run(&["up"]).await.unwrap()).stderr);
    assert!(said.contains("bus-config/agnets/helper.toml:1: there is no folder"), "{said}");
}

/// The checks of the doctor that found something.
async fn wrong(nexus: &Nexus) -> Vec<String> {
    let checks = lines(&nexus.run(&["doctor", "--json"]).await.unwrap());
    let wrong = checks.iter().filter(|check| check["ok"] == false);
    wrong.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
}
