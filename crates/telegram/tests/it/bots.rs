use std::collections::BTreeSet;

use nexus_contracts::{LOCAL_TENANT, Metadata, ProcessedRequest, TenantId};
use nexus_telegram::{BotConfig, Config, Mode};
use uuid::Uuid;

use crate::world::{answered, place};
use crate::{SOON, World};

const SECOND: &str = "77:AAsecond-token-of-another-bot-000000";

fn second(tenant: Option<TenantId>) -> BotConfig {
    BotConfig {
        name: "second".to_owned(),
        token_env: "SECOND_TOKEN".to_owned(),
        tenant,
        api: None,
        mode: Some(Mode::Plain),
        groups: None,
        greeting: None,
        agent: Some("clerk".to_owned()),
        users: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bots_and_one_person_are_two_conversations() {
    let mut world = World::new().await;
    let other = world.api.add_bot(SECOND);
    world.secrets.push(("SECOND_TOKEN".to_owned(), SECOND.to_owned()));
    let tenant = TenantId(Uuid::from_u128(9));
    let config = Config { bots: vec![second(Some(tenant))], ..world.config() };
    world.start_with(config).await;
    world.api.user_says(7, 7, "to the first");
    other.user_says(7, 7, "to the second");
    let requests = world.events_when::<nexus_contracts::IncomingRequest>(2).await;
    let of = |request: &nexus_contracts::Event<nexus_contracts::IncomingRequest>| {
        let metadata = &request.metadata;
        let place = metadata.conversation.decode().into_owned();
        (place, metadata.tenant, metadata.agent.clone(), request.payload.text.clone())
    };
    let heard: BTreeSet<_> = requests.iter().map(of).collect();
    let first = format!("{}:7", world.api.bot_id());
    let expected = BTreeSet::from([
        (first, LOCAL_TENANT, None, "to the first".to_owned()),
        ("77:7".to_owned(), tenant, Some("clerk".to_owned()), "to the second".to_owned()),
    ]);
    assert_eq!(heard, expected);

    world.answer("7", "from the first").await;
    let run = Uuid::now_v7();
    let answer = ProcessedRequest::of(run, answered("from the second"));
    world.publish(run, Metadata { tenant, ..place(77, "7") }, answer).await;
    assert_eq!(world.shown(7, 1).await, ["from the first"]);
    assert_eq!(other.wait_for_sent(7, 1, SOON).await[0].text, "from the second");
    world.stop().await;
    assert_eq!((world.api.sent().len(), other.sent().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_one_that_dies_and_until_then_stays_away() {
    let mut world = World::new().await;
    world.start().await;
    world.api.user_says(7, 2, "first");
    world.requests_when_all_are_confirmed(1).await;
    let standby = world.another(world.config()).await;
    world.api.user_says(7, 2, "second");
    world.requests_when_all_are_confirmed(2).await;
    // Two pollers would make Telegram refuse each other's polls.
    assert!(world.api.refused().iter().all(|refused| refused.code != 409));

    world.crash();
    world.api.user_says(7, 2, "third");
    world.answer("7", "answer to the third").await;
    let requests = world.requests_when_all_are_confirmed(3).await;
    let texts: Vec<&str> = requests.iter().map(|event| event.payload.text.as_str()).collect();
    assert_eq!(texts, ["first", "second", "third"]);
    assert_eq!(world.shown(7, 1).await, ["answer to the third"]);
    standby.stop().await;
}
