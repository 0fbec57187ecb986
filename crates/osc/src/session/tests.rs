use nexus_contracts::{ChunkDelta, InferenceChunk, LOCAL_TENANT, Outcome};

use super::requests::KEPT_REQUESTS;
use super::*;
use crate::protocol::Ask;

const LEASE_MS: u64 = 60_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(0).plus_millis(millis)
}

fn address(text: &str) -> Peer {
    Peer::Udp(text.parse().unwrap())
}

fn channel() -> Token {
    Token::parse("osc").unwrap()
}

fn hello(client: &str, token: &str) -> Hello {
    Hello { client: client.to_owned(), reply_port: 0, token: Key(token.to_owned()) }
}

fn speaker() -> Speaker {
    Speaker { tenant: LOCAL_TENANT, user: "ada".to_owned() }
}

fn question(text: &str) -> Ask {
    Ask {
        session: String::new(),
        req: "1".to_owned(),
        text: text.to_owned(),
        agent: None,
        conversation: None,
    }
}

fn answered(text: &str) -> Outcome {
    Outcome::Answered { text: text.to_owned() }
}

struct Case {
    table: Table,
    home: Peer,
}

impl Case {
    fn new() -> Self {
        Self { table: Table::new(LEASE_MS, 4), home: address("10.0.0.1:5000") }
    }

    fn greet(&mut self, client: &str, token: &str, now: Timestamp) -> (String, Uuid) {
        let wire = self.table.hello(&speaker(), &hello(client, token), &channel(), self.home, now);
        let wire = wire.unwrap().wire.clone();
        let id = self.table.touch(&wire, self.home, now).unwrap();
        (wire, id)
    }

    fn ask(&mut self, id: Uuid, req: &str, text: &str) -> (Uuid, Asked) {
        let run = self.table.run(id, &channel(), req).unwrap();
        let conversation = Token::encode(&id.to_string()).unwrap();
        (
            run,
            self.table.ask(id, run, &conversation, &Ask { req: req.to_owned(), ..question(text) }),
        )
    }
}

#[test]
fn a_session_is_the_same_after_a_restart() {
    let (before, after) =
        (Case::new().greet("pd", "key", at(0)), Case::new().greet("pd", "key", at(9)));
    assert_eq!(before, after);
}

#[test]
fn another_key_is_another_name_for_the_same_session() {
    let mut case = Case::new();
    let (old_wire, old) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(old, "1", "hi");
    let (wire, id) = case.greet("pd", "rotated", at(1));
    assert_eq!(id, old);
    assert_ne!(wire, old_wire);
    assert!(case.table.touch(&old_wire, case.home, at(2)).is_none());
    assert!(case.table.request(run).is_some());
}

#[test]
fn nobody_else_speaks_for_a_session() {
    let mut case = Case::new();
    let (wire, id) = case.greet("pd", "key", at(0));
    assert!(case.table.touch(&wire, address("10.0.0.2:5000"), at(1)).is_none());
    assert!(case.table.touch("", case.home, at(1)).is_none());
    // oscsend takes another port each time.
    assert_eq!(case.table.touch(&wire, address("10.0.0.1:5001"), at(1)), Some(id));
    assert_eq!(case.table.session(id).unwrap().reply, case.home);
    assert_eq!(case.table.at(address("10.0.0.1:5001"), at(1)).count(), 1);
    assert_eq!(case.table.at(case.home, at(1)).count(), 0);
}

#[test]
fn every_message_renews_the_lease() {
    let mut case = Case::new();
    let (wire, id) = case.greet("pd", "key", at(0));
    assert_eq!(case.table.touch(&wire, case.home, at(LEASE_MS - 1)), Some(id));
    assert_eq!(case.table.touch(&wire, case.home, at(2 * LEASE_MS - 2)), Some(id));
    case.table.expire(at(3 * LEASE_MS));
    assert!(case.table.touch(&wire, case.home, at(3 * LEASE_MS)).is_none());
    assert_eq!(case.table.sizes(), (0, 0));
}

#[test]
fn sessions_are_bounded_and_expired_ones_make_room() {
    let mut case = Case::new();
    for client in ["a", "b", "c", "d"] {
        case.greet(client, "key", at(0));
    }
    let mut fifth = |now| {
        case.table.hello(&speaker(), &hello("e", "key"), &channel(), case.home, now).is_some()
    };
    assert!(!fifth(at(1)));
    assert!(fifth(at(LEASE_MS)));
}

#[test]
fn a_repeated_request_is_asked_once_and_its_answer_sent_again() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let (run, first) = case.ask(id, "1", "hi");
    assert_eq!((first, case.ask(id, "1", "hi").1), (Asked::New, Asked::Pending));
    assert!(case.table.accept(run).is_some());
    assert_eq!(case.ask(id, "1", "something else").1, Asked::Conflict);
    assert!(case.table.end(LOCAL_TENANT, run, &answered("hello"), at(1)));
    let said = case.table.take_due(at(1));
    assert_eq!((said.len(), case.table.next_due()), (2, None));
    assert_eq!(case.ask(id, "1", "hi").1, Asked::Repeated);
    assert_eq!(case.table.take_due(at(1 + GATHER_MS)), said);
}

#[test]
fn an_answer_waits_until_its_request_is_accepted() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(id, "1", "hi");
    case.table.end(LOCAL_TENANT, run, &answered("hello"), at(1));
    assert!(case.table.take_due(at(1)).is_empty());
    case.table.accept(run);
    assert_eq!(case.table.take_due(at(1)).len(), 2);
}

#[test]
fn the_first_words_and_the_end_go_out_at_once_and_what_is_between_is_gathered() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(id, "1", "hi");
    case.table.accept(run);
    let said = |case: &mut Case, offset: u64, text: &str, millis: u64| {
        let delta = ChunkDelta::Text { offset, text: text.to_owned() };
        let chunk = InferenceChunk { call: Uuid::nil(), attempt: 1, delta };
        case.table.chunk(LOCAL_TENANT, run, &chunk);
        case.table.take_due(at(millis)).len()
    };
    assert_eq!(said(&mut case, 0, "a", 10), 1);
    assert_eq!(said(&mut case, 1, "b", 11), 0);
    assert_eq!(case.table.next_due(), Some(at(10 + GATHER_MS)));
    assert_eq!(said(&mut case, 2, "c", 10 + GATHER_MS), 1);
    assert_eq!(said(&mut case, 3, "d", 11 + GATHER_MS), 0);
    assert!(case.table.end(LOCAL_TENANT, run, &answered("abcd"), at(12 + GATHER_MS)));
    assert_eq!(case.table.take_due(at(12 + GATHER_MS)).len(), 2, "the rest and the end");
}

#[test]
fn a_request_that_could_not_be_stored_may_be_asked_again() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(id, "1", "hi");
    assert!(case.table.withdraw(run).is_some());
    assert_eq!(case.ask(id, "1", "hi").1, Asked::New);
}

#[test]
fn another_tenant_ends_no_request() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(id, "1", "hi");
    assert!(!case.table.end(TenantId(Uuid::from_u128(2)), run, &answered("no"), at(1)));
}

#[test]
fn the_oldest_ended_request_makes_room() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let runs: Vec<Uuid> =
        (0..KEPT_REQUESTS).map(|req| case.ask(id, &req.to_string(), "hi").0).collect();
    assert_eq!(case.ask(id, "more", "hi").1, Asked::TooMany);
    case.table.end(LOCAL_TENANT, runs[5], &answered("hello"), at(1));
    assert_eq!(case.ask(id, "more", "hi").1, Asked::New);
    assert!(case.table.request(runs[5]).is_none());
    assert!(case.table.request(runs[0]).is_some());
}

#[test]
fn answers_are_forgotten_after_ten_minutes() {
    let mut case = Case::new();
    let (wire, id) = case.greet("pd", "key", at(0));
    let (run, _) = case.ask(id, "1", "hi");
    case.table.end(LOCAL_TENANT, run, &answered("hello"), at(0));
    for minute in 1..10 {
        case.table.touch(&wire, case.home, at(minute * 59_000)).unwrap();
        case.table.expire(at(minute * 59_000));
    }
    assert!(case.table.request(run).is_some());
    case.table.touch(&wire, case.home, at(580_000)).unwrap();
    case.table.expire(at(KEPT_MS));
    assert!(case.table.request(run).is_none());
}

#[test]
fn kept_answers_are_bounded_in_bytes() {
    let mut case = Case::new();
    let (_, id) = case.greet("pd", "key", at(0));
    let long = answered(&"x".repeat(2 << 20));
    let runs: Vec<Uuid> = (0..40).map(|req| case.ask(id, &req.to_string(), "hi").0).collect();
    for (after, run) in runs.iter().enumerate() {
        case.table.end(LOCAL_TENANT, *run, &long, at(after as u64));
    }
    case.table.expire(at(100));
    assert!(case.table.request(runs[0]).is_none());
    assert!(case.table.request(runs[39]).is_some());
    assert!(
        case.table.requests.values().map(|request| request.answer.bytes()).sum::<usize>()
            <= KEPT_BYTES
    );
}

#[test]
fn replies_follow_a_client_from_udp_to_tcp_and_back() {
    let mut case = Case::new();
    let (wire, id) = case.greet("pd", "key", at(0));
    let host = case.home.host();
    let (first, second) = (Peer::Tcp { connection: 1, host }, Peer::Tcp { connection: 2, host });
    let elsewhere = Peer::Tcp { connection: 3, host: address("10.0.0.2:1").host() };
    let replied = |case: &mut Case, source| {
        let id = case.table.touch(&wire, source, at(1))?;
        Some(case.table.session(id).unwrap().reply)
    };
    assert_eq!(replied(&mut case, first), Some(first));
    assert_eq!(replied(&mut case, second), Some(second));
    assert_eq!(replied(&mut case, elsewhere), None);
    let other_port = address("10.0.0.1:5001");
    assert_eq!(replied(&mut case, other_port), Some(other_port));
    assert_eq!(case.table.at(other_port, at(2)).map(|(id, _)| id).collect::<Vec<_>>(), [id]);
    assert_eq!(case.table.sources.len(), 1);
    case.table.expire(at(2 * LEASE_MS));
    assert!(case.table.sources.is_empty());
}

#[test]
fn a_session_has_so_many_packets_recorded_in_a_second() {
    let mut case = Case::new();
    case.greet("pd", "key", at(0));
    let mut burst = |now| {
        let all: Vec<_> = (0..700).map(|_| case.table.record(case.home, now)).collect();
        let count = |wanted: fn(&Recording) -> bool| all.iter().filter(|one| wanted(one)).count();
        (
            count(|one| matches!(one, Recording::Take(_))),
            count(|one| *one == Recording::TooMany),
            count(|one| *one == Recording::Drop),
        )
    };
    assert_eq!(burst(at(0)), (500, 1, 199));
    assert_eq!(burst(at(999)), (0, 0, 700));
    assert_eq!(burst(at(1000)), (500, 1, 199));
    // Recording is a sign of life.
    assert_eq!(burst(at(1000 + LEASE_MS - 1)), (500, 1, 199));
    assert_eq!(case.table.record(address("10.0.0.1:5001"), at(1)), Recording::Stranger);
}

#[test]
fn a_key_is_asked_about_every_half_minute_and_ends_only_its_own_session() {
    let mut case = Case::new();
    let (wire, id) = case.greet("pd", "key", at(0));
    let key = Key("key".to_owned());
    assert_eq!(case.table.key_to_check(id, at(29_999)), None);
    assert_eq!(case.table.key_to_check(id, at(30_000)), Some(key.clone()));
    assert_eq!(case.table.key_to_check(id, at(30_001)), None);
    case.table.check_soon(id);
    assert_eq!(case.table.key_to_check(id, at(30_002)), Some(key.clone()));
    // By the time that the old key is known to be revoked, there is a new one.
    let (new, _) = case.greet("pd", "new key", at(30_003));
    assert!(case.table.revoke(id, &key).is_none());
    assert!(case.table.touch(&wire, case.home, at(30_004)).is_none());
    assert!(case.table.revoke(id, &Key("new key".to_owned())).is_some());
    assert!(case.table.touch(&new, case.home, at(30_005)).is_none());
}
