//! `verify`: what it accepts and what it finds.

use nexus_contracts::{EventType, OnMessage, TimeoutScope, Timestamp};
use uuid::Uuid;

use super::fixtures::{changed_time, completed};
use super::world::World;
use crate::{Mismatch, Recorded, Verdict, Verification, verify};

/// Two runs, the second queued behind the first, and a third when both are over.
fn three_runs() -> (World, [Uuid; 3]) {
    let mut world = World::new();
    let (first, _) = world.ask_the_model("one");
    let second = world.ask("two");
    world.want(&[("clock", "{}")]);
    world.give(world.last(EventType::ToolsExecute), "12:00");
    world.say("First.");
    world.recall(&[("one", "First.")]);
    world.say("Second.");
    let (third, _) = world.ask_the_model("three");
    world.say("Third.");
    (world, [first, second, third])
}

fn index(record: &[Recorded], kind: EventType, number: usize) -> usize {
    let mut found = record.iter().enumerate().filter(|(_, event)| event.kind == kind);
    found.nth(number).unwrap().0
}

#[test]
fn untouched_record_has_no_mismatch() {
    let (world, _) = three_runs();
    let expected =
        Verification { inputs: 17, identical: 14, unverifiable: 0, mismatches: Vec::new() };
    assert_eq!(verify(&world.record, None, false), expected);
}

#[test]
fn one_run_is_verified_alone() {
    let (world, [first, ..]) = three_runs();
    let result = verify(&world.record, Some(first), false);
    assert_eq!((result.identical, result.mismatches), (6, Vec::new()));
}

#[test]
fn steered_request_is_verified_by_its_reply() {
    let mut world = World::on_message(OnMessage::Steer);
    world.ask_the_model("one");
    world.want(&[("clock", "{}")]);
    let steering = world.ask("two");
    world.give(world.last(EventType::ToolsExecute), "12:00");
    world.say("Both.");
    let result = verify(&world.record, Some(steering), false);
    assert_eq!((result.identical, result.mismatches), (1, Vec::new()));
}

#[test]
fn changed_result_is_named_as_the_cause_of_the_next_decision() {
    let (world, _) = three_runs();
    let mut record = world.record.clone();
    let result = index(&record, EventType::ToolsResults, 0);
    let text = String::from_utf8(record[result].bytes.clone()).unwrap();
    record[result].bytes = text.replace("12:00", "12:01").into_bytes();

    let found = verify(&record, None, true).mismatches;
    let Mismatch::Differs { cause, kind, .. } = &found[0] else { panic!("{found:?}") };
    assert_eq!((*cause, *kind), (record[result].id, EventType::InferenceRequest));
}

#[test]
fn removed_decision_is_missing_unless_it_may_be_on_its_way() {
    let (world, _) = three_runs();
    let mut record = world.record.clone();
    let last = record.pop().unwrap();
    let cause = record.last().unwrap().id;
    let missing = Mismatch::Missing { kind: last.kind, id: last.id, cause };
    assert_eq!(verify(&record, None, false).mismatches, [missing]);
    assert_eq!(verify(&record, None, true).mismatches, []);
}

#[test]
fn decision_that_follows_from_nothing_is_unexplained() {
    let (world, _) = three_runs();
    for run in [world.record[0].run, Uuid::from_u128(99)] {
        let mut record = world.record.clone();
        let mut forged = record.last().unwrap().clone();
        (forged.sequence, forged.id, forged.run) = (forged.sequence + 1, Uuid::from_u128(98), run);
        let (sequence, kind, id) = (forged.sequence, forged.kind, forged.id);
        record.push(forged);
        let found = verify(&record, None, true).mismatches;
        assert_eq!(found, [Mismatch::Unexplained { sequence, kind, id }]);
    }
}

#[test]
fn decision_stored_twice_is_repeated() {
    let (world, _) = three_runs();
    let mut record = world.record.clone();
    let again = Recorded { sequence: 1000, ..record[1].clone() };
    let (kind, id) = (again.kind, again.id);
    record.push(again);
    let found = verify(&record, None, false).mismatches;
    assert_eq!(found, [Mismatch::Repeated { sequence: 1000, kind, id }]);
}

#[test]
fn other_stored_time_shows_in_what_follows() {
    let (world, _) = three_runs();
    let mut record = world.record.clone();
    record[0].stored_at = Timestamp::from_micros(0);
    assert!(!verify(&record, None, false).mismatches.is_empty());
}

#[test]
fn request_that_no_owner_takes_decides_nothing() {
    let (mut world, _) = three_runs();
    let mut odd = world.request("kitchen", "whose run is this?");
    odd.correlation_id = Uuid::from_u128(97);
    let (id, run, bytes) = (odd.id, odd.correlation_id, odd.encode());
    let (sequence, stored_at) = (2000, world.now);
    world.record.push(Recorded {
        sequence,
        stored_at,
        kind: EventType::RequestsIncoming,
        id,
        run,
        bytes,
    });
    assert_eq!(verify(&world.record, None, false).mismatches, []);
}

#[test]
fn record_without_its_beginning_is_verified_from_where_the_conversation_was_idle() {
    let (world, [.., third]) = three_runs();
    let idle = index(&world.record, EventType::RequestsIncoming, 2);
    assert_eq!(world.record[idle].id, third);
    let decisions = |events: &[Recorded]| {
        let steps = world.steps.iter().flat_map(|(_, step)| &step.commands);
        steps.filter(|command| events.iter().any(|event| event.id == command.id)).count()
    };
    for gone in 1..=idle {
        let result = verify(&world.record[gone..], None, false);
        assert_eq!(result.mismatches, [], "without the first {gone} events");
        assert_eq!(result.identical, 4);
        assert_eq!(result.unverifiable, decisions(&world.record[gone..idle]));
    }
}

#[test]
fn record_that_ends_before_the_conversation_was_idle_says_that_nothing_is_verified() {
    let (world, _) = three_runs();
    let idle = index(&world.record, EventType::RequestsIncoming, 2);
    let result = verify(&world.record[1..idle], None, false);
    let expected = Verification { unverifiable: 10, ..Verification::default() };
    assert_eq!(result, expected);
}

#[test]
fn request_sent_again_is_known_to_a_record_without_its_beginning() {
    let (mut world, _) = three_runs();
    let again = world.record[0].bytes.clone();
    world.store(EventType::RequestsIncoming, again);
    for gone in [1, 2, 3] {
        assert_eq!(verify(&world.record[gone..], None, false).mismatches, [], "without {gone}");
    }
}

#[test]
fn byte_that_no_decision_reads_shows_in_every_input_that_was_a_ground() {
    let mut world = World::on_message(OnMessage::Steer);
    let run = world.ask("one");
    let call = world.last(EventType::MemoryRecall);
    world.time_out(run, TimeoutScope::Call { call });
    world.want(&[("clock", "{}"), ("append_line", "{}"), ("clock", "{}")]);
    let calls = world.ids(EventType::ToolsExecute);
    world.put(&world.result(calls[2], completed("12:00")));
    world.ask("two");
    let taken_back = world.ask("three");
    world.time_out(run, TimeoutScope::Call { call: calls[1] });
    world.cancel(taken_back);
    world.give(calls[0], "12:00");
    world.ask("four");
    world.say("All.");
    let last = world.last(EventType::RequestsIncoming);
    world.cancel(last);

    let grounds = world.steps.iter().filter(|(_, step)| step.verdict == Verdict::Applied);
    for (index, _) in grounds {
        let mut record = world.record.clone();
        record[*index].bytes = changed_time(&record[*index].bytes);
        let found = verify(&record, None, true).mismatches;
        assert!(!found.is_empty(), "{} at {index}", record[*index].kind);
    }
}

#[test]
fn changed_id_of_a_request_shows_although_the_request_was_sent_again() {
    let mut world = World::new();
    world.ask_the_model("one");
    let waiting = world.ask("two");
    let again = world.record.last().unwrap().bytes.clone();
    world.store(EventType::RequestsIncoming, again);
    world.say("First.");
    world.recall(&[]);
    world.say("Second.");
    let original = index(&world.record, EventType::RequestsIncoming, 1);
    let text = String::from_utf8(world.record[original].bytes.clone()).unwrap();
    let changed = text.replacen(&waiting.to_string(), &Uuid::from_u128(96).to_string(), 1);
    world.record[original].bytes = changed.into_bytes();

    let found = verify(&world.record, None, true).mismatches;
    assert!(matches!(found[..], [Mismatch::Unreadable { .. }]), "{found:?}");
}
