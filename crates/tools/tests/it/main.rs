//! The worker on real servers: needs `scripts/install-servers`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod ableton;
mod osc;
mod rig;
mod toolbox;

use std::time::{Duration, Instant};

use nexus_bus::{Bucket, Catalog};
use nexus_contracts::{Effect, LOCAL_TENANT, TenantId, ToolOutcome, ToolSpec};
use rig::{Rig, execute};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const OTHER: TenantId = TenantId(Uuid::from_u128(0xb));

fn completed(output: &str) -> ToolOutcome {
    ToolOutcome::Completed { output: output.to_owned(), truncated: false }
}

fn interrupted() -> ToolOutcome {
    ToolOutcome::Unknown { message: "an earlier attempt was interrupted".to_owned() }
}

#[tokio::test]
async fn redelivered_effect_runs_once() {
    let rig = Rig::start().await;
    let mut calls = Vec::new();
    for tool in ["note", "once", "again"] {
        let call = execute(LOCAL_TENANT, tool, Effect::Write, r#"{"text":"x"}"#);
        rig.publish(&call).await;
        let first = rig.result(&call).await;
        assert_eq!(first.payload.outcome, completed("did x"), "{tool}");

        rig.redeliver(&call).await;
        rig.redeliver(&call).await;
        rig.drained().await;

        assert_eq!(rig.results(&call).await, [first], "{tool}");
        calls.push(call);
    }
    assert_eq!(rig.notes(LOCAL_TENANT).await, ["x"]);
    assert_eq!([rig.tools.runs("once"), rig.tools.runs("again")], [1, 1]);
    for call in calls {
        assert_eq!(rig.row(&call).await, ("done".to_owned(), 1), "{}", call.payload.tool);
    }
    rig.stop().await;
}

#[tokio::test]
async fn interrupted_effect_is_repeated_only_where_that_is_safe() {
    let rig = Rig::start().await;
    for (tool, expected, state) in [
        ("note", completed("did x"), ("done", 2)),
        ("again", completed("did x"), ("done", 2)),
        ("once", interrupted(), ("unknown", 2)),
    ] {
        let call = execute(LOCAL_TENANT, tool, Effect::Write, r#"{"text":"x"}"#);
        rig.claim(&call).await;

        rig.publish(&call).await;

        assert_eq!(rig.result(&call).await.payload.outcome, expected, "{tool}");
        assert_eq!(rig.row(&call).await, (state.0.to_owned(), state.1), "{tool}");
    }
    assert_eq!(rig.notes(LOCAL_TENANT).await, ["x"]);
    assert_eq!([rig.tools.runs("once"), rig.tools.runs("again")], [0, 1]);

    // Too late, and it cannot be known whether an earlier delivery was in time.
    for (tool, expected) in
        [("note", ToolOutcome::Expired), ("again", interrupted()), ("once", interrupted())]
    {
        let mut call = execute(LOCAL_TENANT, tool, Effect::Write, r#"{"text":"y"}"#);
        call.payload.known.start_within_ms = 0;
        rig.claim(&call).await;
        rig.publish(&call).await;
        assert_eq!(rig.result(&call).await.payload.outcome, expected, "{tool}");
    }
    assert_eq!(rig.notes(LOCAL_TENANT).await, ["x"]);
    rig.stop().await;
}

#[tokio::test]
async fn files_come_with_the_result_and_again_with_a_repeated_delivery() {
    let rig = Rig::start().await;
    let call = execute(LOCAL_TENANT, "file", Effect::Write, r#"{"text":"x"}"#);
    rig.publish(&call).await;
    assert_eq!(rig.result(&call).await.payload.attachments, [toolbox::picture()]);

    let again = rig.forget_results(&call).await;
    rig.publish(&again).await;

    let repeated = rig.result(&again).await.payload;
    assert_eq!(repeated.attachments, [toolbox::picture()]);
    assert_eq!((&repeated.outcome, rig.tools.runs("file")), (&completed("did x"), 1));

    let arguments = r##"{"name":"notes.md","content":"# Hi","media_type":"text/markdown"}"##;
    let sent = execute(LOCAL_TENANT, "send_file", Effect::Read, arguments);
    rig.publish(&sent).await;
    let [file] = &rig.result(&sent).await.payload.attachments[..] else { panic!("not one file") };
    assert_eq!((file.name.as_deref(), file.bytes), (Some("notes.md"), 4));
    rig.stop().await;
}

#[tokio::test]
async fn every_call_is_answered() {
    let rig = Rig::start().await;
    let failed = |code: &str, message: &str| ToolOutcome::Failed {
        code: code.to_owned(),
        message: message.to_owned(),
    };
    let unknown = |message: &str| ToolOutcome::Unknown { message: message.to_owned() };
    for (tool, effect, arguments, expected) in [
        ("echo", Effect::Read, r#"{"text":"hi"}"#, completed("hi")),
        (
            "echo",
            Effect::Read,
            r#"{"text":1}"#,
            failed("invalid_arguments", "at /text: 1 is not of type \"string\""),
        ),
        (
            "once",
            Effect::Write,
            "{}",
            failed("invalid_arguments", "at the arguments: \"text\" is a required property"),
        ),
        ("panics", Effect::Read, "", failed("panicked", "the tool crashed")),
        ("hangs", Effect::Read, "", failed("timeout", "it did not end within 300 ms")),
        ("once", Effect::Write, r#"{"text":"panic"}"#, unknown("the tool crashed")),
        ("once", Effect::Write, r#"{"text":"hang"}"#, unknown("it did not end within 300 ms")),
        ("once", Effect::Write, r#"{"text":"fail"}"#, failed("on_purpose", "no")),
        ("once", Effect::Write, r#"{"text":"a\u0000b"}"#, completed("did a\u{fffd}b")),
        ("note", Effect::Write, r#"{"text":"panic"}"#, failed("panicked", "the tool crashed")),
        (
            "note",
            Effect::Write,
            r#"{"text":"hang"}"#,
            failed("timeout", "it did not end within 300 ms"),
        ),
        ("note", Effect::Write, r#"{"text":"fail"}"#, failed("on_purpose", "no")),
        // The run was told of an effect, so the call is guarded although the tool only reads.
        ("echo", Effect::Write, r#"{"text":"hi"}"#, completed("hi")),
    ] {
        let call = execute(LOCAL_TENANT, tool, effect, arguments);
        rig.publish(&call).await;
        assert_eq!(rig.result(&call).await.payload.outcome, expected, "{tool} {arguments}");
    }
    // What a failed call had written is gone.
    assert_eq!(rig.notes(LOCAL_TENANT).await, Vec::<String>::new());

    for effect in [Effect::Read, Effect::Exec] {
        let call = execute(LOCAL_TENANT, "nonsense", effect, "");
        rig.publish(&call).await;
        assert!(
            matches!(rig.result(&call).await.payload.known.outcome, ToolOutcome::Failed { code, .. } if code == "unknown_tool")
        );

        let mut call = execute(
            LOCAL_TENANT,
            if effect == Effect::Read { "echo" } else { "once" },
            effect,
            r#"{"text":"z"}"#,
        );
        call.payload.known.start_within_ms = 0;
        rig.publish(&call).await;
        assert_eq!(rig.result(&call).await.payload.outcome, ToolOutcome::Expired);
    }
    let long = execute(
        LOCAL_TENANT,
        "echo",
        Effect::Read,
        &format!(r#"{{"text":"{}"}}"#, "€".repeat(20_000)),
    );
    rig.publish(&long).await;
    let cut = ToolOutcome::Completed { output: "€".repeat(32 * 1024 / 3), truncated: true };
    assert_eq!(rig.result(&long).await.payload.outcome, cut);
    rig.stop().await;
}

#[tokio::test]
async fn cancelled_run_ends_its_reads_and_leaves_effects_alone() {
    let rig = Rig::start().await;
    let mut read = execute(LOCAL_TENANT, "waits", Effect::Read, "");
    let mut effect = execute(LOCAL_TENANT, "once", Effect::Write, r#"{"text":"pause"}"#);
    let foreign = execute(OTHER, "waits", Effect::Read, "");
    (read.correlation_id, effect.correlation_id) = (foreign.correlation_id, foreign.correlation_id);
    for call in [&read, &effect, &foreign] {
        rig.publish(call).await;
    }
    rig.tools.begun("waits", 2).await;
    rig.tools.begun("once", 1).await;

    rig.cancel(LOCAL_TENANT, foreign.correlation_id).await;

    assert_eq!(rig.result(&read).await.payload.outcome, ToolOutcome::Cancelled);
    assert_eq!(rig.result(&effect).await.payload.outcome, completed("did pause"));
    assert_eq!(rig.results(&foreign).await, []);

    // A call of the run that comes after it.
    let mut late = execute(LOCAL_TENANT, "once", Effect::Write, r#"{"text":"late"}"#);
    late.correlation_id = foreign.correlation_id;
    rig.publish(&late).await;
    assert_eq!(rig.result(&late).await.payload.outcome, ToolOutcome::Cancelled);
    assert_eq!(rig.tools.runs("once"), 1);
    rig.cancel(OTHER, foreign.correlation_id).await;
    assert_eq!(rig.result(&foreign).await.payload.outcome, ToolOutcome::Cancelled);
    rig.stop().await;
}

#[tokio::test]
async fn tenants_see_only_their_own_calls() {
    let rig = Rig::start().await;
    for tenant in [LOCAL_TENANT, OTHER] {
        let call = execute(tenant, "note", Effect::Write, &format!(r#"{{"text":"{tenant}"}}"#));
        rig.publish(&call).await;
        assert_eq!(rig.result(&call).await.payload.outcome, completed(&format!("did {tenant}")));
    }
    for tenant in [LOCAL_TENANT, OTHER] {
        assert_eq!(rig.notes(tenant).await, [tenant.to_string()]);
        let mut tx = rig.store.tenant(tenant.0).await.unwrap();
        let seen: Vec<(Uuid,)> =
            sqlx::query_as("SELECT tenant_id FROM tools.calls").fetch_all(&mut *tx).await.unwrap();
        assert_eq!(seen, [(tenant.0,)]);
    }
    // One call id in two tenants is two calls.
    for tenant in [LOCAL_TENANT, OTHER] {
        let mut call = execute(tenant, "once", Effect::Write, "{}");
        call.id = Uuid::from_u128(77);
        rig.claim(&call).await;
        assert_eq!(rig.row(&call).await, ("claimed".to_owned(), 1));
    }
    let nobody: (i64,) = sqlx::query_as("SELECT count(*) FROM tools.calls")
        .fetch_one(rig.store.pool())
        .await
        .unwrap();
    assert_eq!(nobody, (0,));
    let mut tx = rig.store.tenant(OTHER.0).await.unwrap();
    let forged = sqlx::query(
        "INSERT INTO tools.calls (tenant_id, call_id, tool, state, attempt, claimed_at) VALUES ($1, $2, 'x', 'claimed', 1, now())",
    );
    let refused =
        forged.bind(LOCAL_TENANT.0).bind(Uuid::from_u128(78)).execute(&mut *tx).await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    drop(tx);
    let mut tx = rig.store.tenant(OTHER.0).await.unwrap();
    let deleted = sqlx::query("DELETE FROM tools.calls").execute(&mut *tx).await.unwrap_err();
    assert!(deleted.to_string().contains("permission denied"), "{deleted}");
    drop(tx);

    assert_eq!(nexus_store::lint(&rig.owner).await.unwrap(), []);
    rig.stop().await;
}

#[tokio::test]
async fn effects_wait_for_the_event_store_and_for_the_database() {
    let delay = Duration::from_millis(600);
    let rig = Rig::start_with(delay, true).await;
    let call = execute(LOCAL_TENANT, "once", Effect::Write, r#"{"text":"x"}"#);
    let published = Instant::now();
    rig.publish(&call).await;
    rig.result(&call).await;
    assert!(
        rig.tools.last("once").unwrap().duration_since(published)
            > delay - Duration::from_millis(100)
    );

    let read = execute(LOCAL_TENANT, "echo", Effect::Read, r#"{"text":"hi"}"#);
    rig.publish(&read).await;
    assert_eq!(rig.result(&read).await.payload.outcome, completed("hi"));

    let catalog =
        Catalog::<ToolSpec>::follow(&rig.bus, Bucket::Tools, "tool", CancellationToken::new())
            .await
            .unwrap();
    let names: Vec<String> = catalog.entries().keys().cloned().collect();
    for name in ["calculator", "clock", "echo", "http_fetch", "once"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    rig.stop().await;

    let rig = Rig::start_with(Duration::ZERO, false).await;
    let effect = execute(LOCAL_TENANT, "once", Effect::Write, r#"{"text":"x"}"#);
    let read = execute(LOCAL_TENANT, "echo", Effect::Read, r#"{"text":"hi"}"#);
    rig.publish(&effect).await;
    rig.publish(&read).await;
    assert_eq!(rig.result(&read).await.payload.outcome, completed("hi"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((rig.results(&effect).await, rig.tools.runs("once")), (vec![], 0));
    rig.stop().await;
}
