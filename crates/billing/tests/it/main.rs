//! The worker on real servers: needs `scripts/install-servers`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod rig;

use std::time::Duration;

use nexus_billing::{By, Difference, Group, Ledger, Question, Totals, UsageRecord};
use nexus_contracts::{KeyOwner, LOCAL_TENANT, TenantId, Timestamp};
use rig::{Rig, Spent, now, until};
use uuid::Uuid;

const OTHER: TenantId = TenantId(Uuid::from_u128(0xb));
/// A tenant that the stream has nothing of.
const SILENT: TenantId = TenantId(Uuid::from_u128(0xc));
const DEATHS: u64 = 20;
const CALLS_A_LIFE: u64 = 12;

fn everything(by: By) -> Question {
    Question { since: Timestamp::from_micros(i64::MIN), until: None, by, user: None }
}

async fn sum(ledger: &Ledger, tenant: TenantId) -> Totals {
    let groups = ledger.totals(tenant, &everything(By::Model)).await.unwrap();
    groups.into_iter().map(|group| group.totals).fold(Totals::default(), Totals::plus)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_equal_the_streams_after_twenty_killed_workers_and_redeliveries() {
    let rig = Rig::start("1s").await;
    let mut expected = [(LOCAL_TENANT, Totals::default()), (OTHER, Totals::default())];
    let mut again = None;
    for life in 1..=DEATHS {
        let worker = rig.worker();
        for number in 0..CALLS_A_LIFE {
            let (tenant, sum) = &mut expected[usize::try_from(number % 2).unwrap()];
            let spent = Spent { tokens: life * 100 + number, ..Spent::default() };
            let event = rig.call(*tenant, "ada", spent);
            rig.publish(&event).await;
            if number % 3 == 0 {
                // As after the stream has forgotten the id: stored once more.
                rig.store_again(&event).await;
                again = Some(event);
            }
            let cost_microusd = spent.tokens * 3;
            let (calls, input_tokens, output_tokens) = (1, spent.tokens, spent.tokens / 2);
            let one =
                Totals { calls, input_tokens, output_tokens, cost_microusd, ..Totals::default() };
            *sum = sum.plus(one);
        }
        // It dies with some of this life's calls recorded, and others in hand.
        let enough = (life - 1) * CALLS_A_LIFE + 1 + life % CALLS_A_LIFE;
        until("records", async || rig.rows().await >= enough).await;
        worker.shutdown_background();
    }
    let worker = rig.worker();
    until("the last records", async || rig.rows().await == DEATHS * CALLS_A_LIFE).await;
    rig.drained().await;
    // Stored again when the worker has long recorded it.
    rig.store_again(again.as_ref().unwrap()).await;
    rig.drained().await;

    for (tenant, expected) in expected {
        assert_eq!(sum(&rig.ledger, tenant).await, expected);
    }
    let account = rig.reconcile().await;
    let cost = expected.iter().map(|(_, sum)| sum.cost_microusd).sum::<u64>();
    assert_eq!((account.differences, account.cost_microusd), (vec![], cost));
    assert_eq!((account.events, account.unreadable), (DEATHS * CALLS_A_LIFE, 0));
    worker.shutdown_background();
    rig.stop().await;
}

#[tokio::test]
async fn reconcile_finds_what_is_missing_changed_and_invented() {
    let rig = Rig::start("10s").await;
    let worker = rig.worker();
    let mut ids = Vec::new();
    for number in 0..8 {
        let event =
            rig.call(LOCAL_TENANT, "ada", Spent { tokens: 10 + number, ..Spent::default() });
        rig.publish(&event).await;
        ids.push(event.id);
    }
    let embedded = rig.embedding(LOCAL_TENANT, 7);
    rig.publish(&embedded).await;
    until("records", async || rig.rows().await == 9).await;
    assert_eq!(rig.reconcile().await.differences, []);

    rig.tamper(LOCAL_TENANT, "DELETE FROM billing.usage_records WHERE id = $1", ids[1]).await;
    rig.tamper(LOCAL_TENANT, "DELETE FROM billing.usage_records WHERE id = $1", embedded.id).await;
    for (change, id) in [
        (
            "UPDATE billing.usage_records SET cost_microusd = cost_microusd + 1 WHERE id = $1",
            ids[2],
        ),
        (
            "UPDATE billing.usage_records SET cost_microusd = NULL, price = NULL WHERE id = $1",
            ids[3],
        ),
        ("UPDATE billing.usage_records SET sequence = 1 WHERE id = $1", ids[4]),
        ("UPDATE billing.usage_records SET sequence = sequence + 100000 WHERE id = $1", ids[5]),
    ] {
        rig.tamper(LOCAL_TENANT, change, id).await;
    }
    // One beside a real one, one with a sequence that is still to come, one of a tenant of its own.
    let [beside, ahead, alone] = [0xe1, 0xe2, 0xe3].map(Uuid::from_u128);
    rig.invent(LOCAL_TENANT, ids[0], beside, 0).await;
    rig.invent(LOCAL_TENANT, ids[0], ahead, 1_000_000).await;
    rig.invent(SILENT, ids[0], alone, 0).await;

    let found = rig.reconcile().await.differences;
    let mut missing = Vec::new();
    let (mut changed, mut extra) = (Vec::new(), Vec::new());
    for difference in &found {
        match difference {
            Difference::Missing { wanted } => missing.push(wanted.id),
            Difference::Changed { columns, found, .. } => changed.push((found.id, columns.clone())),
            Difference::Extra { found } => extra.push(found.id),
        }
    }
    extra.sort_unstable();
    changed.sort_unstable_by_key(|(id, _)| ids.iter().position(|known| known == id));
    assert_eq!(missing, [ids[1], embedded.id]);
    let expected = [
        (ids[2], vec!["cost_microusd"]),
        (ids[3], vec!["cost_microusd", "price"]),
        (ids[4], vec!["sequence"]),
        (ids[5], vec!["sequence"]),
    ];
    assert_eq!(changed, expected);
    assert_eq!(extra, [beside, ahead, alone]);

    // What is missing is written, the rest is left to a person.
    let account = rig.reconcile().await;
    for wanted in account.missing() {
        rig.ledger.write(wanted.tenant, &[wanted]).await.unwrap();
    }
    let left = rig.reconcile().await;
    assert_eq!(left.missing().count(), 0);
    assert_eq!(left.differences.len(), found.len() - 2);
    worker.shutdown_background();
    rig.stop().await;
}

#[tokio::test]
async fn a_tenant_and_a_user_see_their_own_usage_alone() {
    let rig = Rig::start("10s").await;
    let worker = rig.worker();
    let known = Spent { tokens: 100, ..Spent::default() };
    let unpriced = Spent { tokens: 40, is_priced: false, ..known };
    let failed = Spent { tokens: 0, is_answered: false, ..known };
    for (tenant, user, spent) in [
        (LOCAL_TENANT, "ada", known),
        (LOCAL_TENANT, "ada", unpriced),
        (LOCAL_TENANT, "ada", failed),
        (LOCAL_TENANT, "ben", Spent { key: Some(KeyOwner::User), ..known }),
        (OTHER, "ada", known),
    ] {
        rig.publish(&rig.call(tenant, user, spent)).await;
    }
    until("records", async || rig.rows().await == 5).await;

    let one = Totals {
        calls: 1,
        input_tokens: 100,
        output_tokens: 50,
        cost_microusd: 300,
        ..Totals::default()
    };
    let adas = Totals {
        calls: 3,
        unanswered: 1,
        input_tokens: 140,
        output_tokens: 70,
        cost_microusd: 300,
        unpriced_calls: 1,
        ..Totals::default()
    };
    let group = |name: &str, totals| Group { name: name.to_owned(), totals };
    let totals = async |tenant, by| rig.ledger.totals(tenant, &everything(by)).await.unwrap();
    assert_eq!(totals(LOCAL_TENANT, By::User).await, [group("ada", adas), group("ben", one)]);
    assert_eq!(totals(OTHER, By::User).await, [group("ada", one)]);
    assert_eq!(totals(OTHER, By::Tenant).await, [group(&OTHER.to_string(), one)]);
    assert_eq!(totals(SILENT, By::User).await, []);
    let keys = totals(LOCAL_TENANT, By::Key).await;
    assert_eq!(keys, [group("operator", adas), group("user", one)]);
    let models = totals(LOCAL_TENANT, By::Model).await;
    let names: Vec<&str> = models.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["mock/gpt", "nobody/gpt"]);
    let today = now().to_string();
    assert_eq!(totals(OTHER, By::Day).await, [group(&today[..10], one)]);
    assert_eq!(totals(OTHER, By::Month).await, [group(&today[..7], one)]);

    let of = |user: &str, channel: &str| Question {
        user: Some((user.to_owned(), vec![channel.to_owned()])),
        ..everything(By::Tenant)
    };
    let here = LOCAL_TENANT.to_string();
    assert_eq!(
        rig.ledger.totals(LOCAL_TENANT, &of("ben", "web")).await.unwrap(),
        [group(&here, one)]
    );
    // Who has the same name in another channel is somebody else.
    assert_eq!(rig.ledger.totals(LOCAL_TENANT, &of("ben", "telegram")).await.unwrap(), []);
    let past = Question { until: Some(Timestamp::from_micros(1)), ..everything(By::Day) };
    assert_eq!(rig.ledger.totals(LOCAL_TENANT, &past).await.unwrap(), []);

    assert_eq!(nexus_store::lint(&rig.owner).await.unwrap(), []);
    let nobody: (i64,) = sqlx::query_as("SELECT count(*) FROM billing.usage_records")
        .fetch_one(rig.store.pool())
        .await
        .unwrap();
    assert_eq!(nobody, (0,), "no tenant named, no rows");
    worker.shutdown_background();
    rig.stop().await;
}

#[tokio::test]
async fn a_record_that_the_database_refuses_harms_no_other() {
    let rig = Rig::start("10s").await;
    let spent = Spent { tokens: 5, ..Spent::default() };
    let mut bad = rig.call(LOCAL_TENANT, "ada", spent);
    bad.timestamp = Timestamp::from_micros(i64::MIN);
    for event in
        [&rig.call(LOCAL_TENANT, "ada", spent), &bad, &rig.call(LOCAL_TENANT, "ada", spent)]
    {
        rig.publish(event).await;
    }
    // Started when all three wait, so that they come together.
    let worker = rig.worker();
    until("two records", async || rig.rows().await == 2).await;
    until("a dead letter", async || rig.dead().await == 1).await;
    tokio::time::timeout(Duration::from_secs(10), rig.drained()).await.unwrap();
    worker.shutdown_background();
    rig.stop().await;
}

#[tokio::test]
async fn call_of_two_models_is_one_call_and_each_has_its_own_tokens_and_cost() {
    let rig = Rig::start("10s").await;
    let worker = rig.worker();
    let event = rig.failed_over(LOCAL_TENANT);
    rig.publish(&event).await;
    until("records", async || rig.rows().await == 2).await;
    // Stored once more by who knows of other attempts: the first one counts.
    let mut again = event.clone();
    again.payload.attempts[0].model = "other/opus".to_owned();
    rig.store_again(&again).await;
    rig.drained().await;

    let one = Totals { input_tokens: 10, output_tokens: 5, ..Totals::default() };
    let group = |name: &str, totals| Group { name: name.to_owned(), totals };
    let totals = async |by| rig.ledger.totals(LOCAL_TENANT, &everything(by)).await.unwrap();
    let lost = Totals { cost_microusd: 300, ..one };
    let answered = Totals { calls: 1, ..one };
    let models = totals(By::Model).await;
    assert_eq!(models, [group("lost/opus", lost), group("mock/gpt", answered)]);
    assert_eq!(totals(By::Key).await, [group("none", answered), group("operator", lost)]);
    assert_eq!(totals(By::User).await, [group("ada", lost.plus(answered))]);

    let account = rig.reconcile().await;
    assert_eq!((account.events, account.cost_microusd, account.differences), (1, 300, vec![]));
    let of_others = "DELETE FROM billing.usage_records WHERE response = $1 AND id <> response";
    rig.tamper(LOCAL_TENANT, of_others, event.id).await;
    let account = rig.reconcile().await;
    let missing: Vec<_> = account.missing().cloned().collect();
    let models: Vec<_> = missing.iter().map(|record| record.model.as_str()).collect();
    assert_eq!((models, account.differences.len()), (vec!["opus"], 1));
    rig.ledger.write(LOCAL_TENANT, &[&missing[0]]).await.unwrap();
    assert_eq!(rig.reconcile().await.differences, []);

    // The first of both came late: what the later one said goes.
    let mut records = UsageRecord::of_response(&again, 9);
    records.iter_mut().for_each(|record| record.response = Uuid::from_u128(0xf1));
    records[0].id = Uuid::from_u128(0xf1);
    rig.ledger.write(LOCAL_TENANT, &records.iter().collect::<Vec<_>>()).await.unwrap();
    let mut early = records[0].clone();
    early.sequence = 8;
    rig.ledger.write(LOCAL_TENANT, &[&early]).await.unwrap();
    assert_eq!(rig.rows().await, 3);
    worker.shutdown_background();
    rig.stop().await;
}
