//! The command line, as an operator uses it.

mod dead_letters;
mod installation;
mod osc_replay;
mod replay;

use nexus_testkit::process::repository;
use serde_json::{Value, json};

use crate::support::{OTHER_TENANT, exited, fresh, key_of, lines, shared, succeeded, text, until};
use crate::web_client::WebClient;

#[tokio::test]
async fn ask_prints_the_run_the_tool_call_and_the_answer() {
    let asked = succeeded(shared().await.run(&["ask", "what time is it in Tokyo?"]).await.unwrap());
    let (answer, progress) = (text(&asked.stdout), text(&asked.stderr));
    assert!(answer.contains("Tokyo"), "{answer}");
    assert!(progress.starts_with("run ") && progress.contains("  clock {"), "{progress}");
}

#[tokio::test]
async fn ask_goes_on_with_a_conversation() {
    let (nexus, conversation) = (shared().await, fresh("ask"));
    succeeded(nexus.run(&["ask", "I like plums.", "--conversation", &conversation]).await.unwrap());
    let asked =
        nexus.run(&["ask", "what did I say?", "--conversation", &conversation, "--json"]).await;
    let done = &lines(&succeeded(asked.unwrap()))[0];
    assert!(done["text"].as_str().unwrap().contains("I like plums."), "{done}");
    assert_eq!(done["outcome"], "answered");
}

#[tokio::test]
async fn ask_of_an_unknown_agent_exits_with_1_and_names_those_that_there_are() {
    let asked = shared().await.run(&["ask", "hello", "--agent", "nobody"]).await;
    let error = text(&exited(1, asked.unwrap()).stderr);
    assert!(error.contains("nobody") && error.contains("assistant"), "{error}");
}

#[tokio::test]
async fn wrong_calls_exit_with_2_and_say_what_is_wrong() {
    let nexus = shared().await;
    for (arguments, hint) in [
        (vec!["dance"], "dance"),
        (vec!["ask"], "TEXT"),
        (vec!["replay"], "--correlation-id"),
        (vec!["replay", "--correlation-id", "x"], "no id"),
        (vec!["ledger", "--since", "yesterday"], "yesterday"),
        (vec!["tail", "no.such"], "requests.incoming"),
        (vec!["dead", "show", "x"], "no id"),
        (vec!["worker"], "ROLES"),
        (vec!["keys", "create", "k", "--tenant", "x"], "tenant"),
        (vec!["--config", "/nowhere/nexus.toml", "config", "show"], "/nowhere/nexus.toml"),
    ] {
        let error = text(&exited(2, nexus.run(&arguments).await.unwrap()).stderr);
        assert!(error.contains(hint), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn what_is_not_there_exits_with_1_and_says_how_to_look() {
    let (nexus, id) = (shared().await, uuid::Uuid::now_v7().to_string());
    for (arguments, hint) in [
        (vec!["replay", "--correlation-id", &id], "nexus tail"),
        (vec!["replay", "--conversation", "no-such"], "no-such"),
        (vec!["dead", "show", &id], "nexus dead list"),
        (vec!["dead", "retry", &id], "nexus dead list"),
        (vec!["keys", "revoke", &id], "nexus keys list"),
    ] {
        let error = text(&exited(1, nexus.run(&arguments).await.unwrap()).stderr);
        assert!(error.contains(hint), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn commands_without_an_installation_say_how_to_start_one() {
    let nexus = shared().await;
    for arguments in [["bus", "plan"], ["dead", "list"], ["ledger", "--json"], ["ask", "hello"]] {
        let arguments = [&arguments[..], &["--data", "/tmp/no-such-nexus"]].concat();
        let error = text(&exited(1, nexus.run(&arguments).await.unwrap()).stderr);
        assert!(error.contains("nexus up"), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn the_ledger_balances_and_has_its_documented_shape() {
    let nexus = shared().await;
    succeeded(nexus.run(&["ask", "hello"]).await.unwrap());
    exited(1, nexus.run(&["ask", "hello", "--agent", "nobody"]).await.unwrap());
    let ledger = succeeded(nexus.run(&["ledger", "--json"]).await.unwrap());
    let ledger = lines(&ledger).remove(0);
    let count =
        |name: &str| ledger["total"][name].as_u64().unwrap_or_else(|| panic!("{name} in {ledger}"));
    assert!(count("answered") >= 1 && count("failed") >= 1, "{ledger}");
    assert_eq!(
        count("accepted"),
        count("answered") + count("failed") + count("pending"),
        "{ledger}"
    );
    assert_eq!((count("unaccounted"), &ledger["second_replies"]), (0, &json!(0)));

    let table = text(&succeeded(nexus.run(&["ledger", "--since", "1h"]).await.unwrap()).stdout);
    assert!(
        table.contains("UNACCOUNTED") && table.contains("web") && table.contains("total"),
        "{table}"
    );
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_refused_after_its_revocation() {
    let nexus = shared().await;
    let (id, key) = key_of(nexus, OTHER_TENANT, "eve").await;
    let models = async || {
        let client = nexus_bench::http_client().unwrap();
        let answer =
            client.get(format!("{}/v1/models", nexus.http())).bearer_auth(&key).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(models().await, 200);
    let list = succeeded(nexus.run(&["keys", "list", "--json"]).await.unwrap());
    assert!(!text(&list.stdout).contains(&key));
    assert!(lines(&list).iter().any(|row| row["id"] == id.as_str() && row["revoked"] == false));

    let revoked = std::time::Instant::now();
    succeeded(nexus.run(&["keys", "revoke", &id]).await.unwrap());
    until("the key is refused", async || (models().await == 401).then_some(())).await;
    assert!(revoked.elapsed().as_secs() < 5, "a revoked key is refused within a second");
    let rows = lines(&succeeded(nexus.run(&["keys", "list", "--json"]).await.unwrap()));
    assert!(rows.iter().any(|row| row["id"] == id.as_str() && row["revoked"] == true));
}

#[tokio::test]
async fn the_local_key_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["local.key", "run/nexus.json"] {
        let mode =
            std::fs::metadata(shared().await.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn tail_shows_what_is_stored_as_it_is_stored() {
    let nexus = shared().await;
    // A second that looks back, so that nothing depends on when the first line comes.
    succeeded(nexus.run(&["ask", "echo tail me"]).await.unwrap());
    let tail = nexus
        .place()
        .start("tail", &["tail", "requests.incoming", "--since", "1h", "--json"])
        .unwrap();
    let seen = nexus.place().folder().join("tail.out");
    until("the request", async || {
        std::fs::read_to_string(&seen).unwrap().contains("echo tail me").then_some(())
    })
    .await;
    let (mut client, conversation) = (WebClient::hello(nexus).await, fresh("tail"));
    client.answer(&conversation, "echo and me").await;
    until("the next", async || {
        std::fs::read_to_string(&seen).unwrap().contains("echo and me").then_some(())
    })
    .await;
    tail.kill().unwrap();
    let kinds: Vec<Value> = std::fs::read_to_string(&seen)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["type"].clone())
        .collect();
    assert!(kinds.iter().all(|kind| kind == "requests.incoming"), "{kinds:?}");
}

#[tokio::test]
async fn lists_show_agents_tools_and_models() {
    let nexus = shared().await;
    for (command, wanted) in
        [("agents", "assistant"), ("tools", "calculator"), ("models", "demo/demo")]
    {
        let shown = text(&succeeded(nexus.run(&[command]).await.unwrap()).stdout);
        assert!(shown.contains(wanted), "{command}: {shown}");
        let listed = succeeded(nexus.run(&[command, "--json"]).await.unwrap());
        assert!(lines(&listed).iter().any(|row| row.to_string().contains(wanted)), "{command}");
    }
}

#[tokio::test]
async fn config_shows_every_setting_with_its_source_and_no_secret() {
    let nexus = shared().await;
    let shown = text(&succeeded(nexus.run(&["config", "show"]).await.unwrap()).stdout);
    let row = |key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("{key}:\n{shown}"))
    };
    assert!(row("gateway.listen").ends_with("environment"), "{}", row("gateway.listen"));
    assert!(row("durability").ends_with("default"), "{}", row("durability"));
    let flag = nexus.run(&["config", "show", "--data", "/tmp/elsewhere"]).await.unwrap();
    assert!(
        text(&flag.stdout).lines().any(|line| line.starts_with("data ") && line.ends_with("flag"))
    );
    let mut rows = lines(&succeeded(nexus.run(&["config", "show", "--json"]).await.unwrap()));
    rows.retain(|row| row["key"].as_str().unwrap().ends_with("_url"));
    assert!(rows.iter().all(|row| row["value"].is_null() || row["value"] == "***"), "{rows:?}");
}

#[tokio::test]
async fn the_schemas_are_what_the_types_say() {
    let folder = repository().join("schemas").display().to_string();
    let nexus = shared().await;
    succeeded(nexus.run(&["schema", "check", "--folder", &folder]).await.unwrap());
    let copy = nexus.place().folder().join("schemas");
    let copy_text = copy.display().to_string();
    succeeded(nexus.run(&["schema", "export", "--folder", &copy_text]).await.unwrap());
    let file = std::fs::read_dir(&copy)
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_file())
        .unwrap()
        .path();
    std::fs::write(&file, "changed\n").unwrap();
    let drift = text(
        &exited(1, nexus.run(&["schema", "check", "--folder", &copy_text]).await.unwrap()).stdout,
    );
    assert!(drift.contains("-changed") && drift.contains("nexus schema export"), "{drift}");
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served_without_a_key() {
    let nexus = shared().await;
    succeeded(nexus.run(&["ask", "hello"]).await.unwrap());
    let client = nexus_bench::http_client().unwrap();
    for (path, wanted) in
        [("healthz", ""), ("readyz", "\"ready\":true"), ("metrics", "nexus_gateway_accepted_total")]
    {
        let answer = client.get(format!("{}/{path}", nexus.http())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(wanted), "{path}: {body}");
    }
}
