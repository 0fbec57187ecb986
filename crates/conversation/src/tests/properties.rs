//! What holds in every history.

use std::collections::BTreeMap;

use nexus_contracts::{EventType, RawEvent};
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use super::fixtures::changed_time;
use super::interleavings::{Time, history, play, play_in_step, settle};
use super::world::World;
use crate::{ConversationKey, Input, InputEvent, Recorded, State, Step, Verdict, step, verify};

/// Decides again on the inputs of a record; `between` may do to the state what an owner may.
fn decide_again(world: &World, mut between: impl FnMut(usize, &mut State, &Recorded)) -> Vec<Step> {
    let mut state = State::default();
    let inputs = world.steps.iter().map(|(index, _)| &world.record[*index]);
    let decided = inputs.enumerate().map(|(number, event)| {
        between(number, &mut state, event);
        let input = Input {
            sequence: event.sequence,
            stored_at: event.stored_at,
            bytes: &event.bytes,
            event: InputEvent::decode(event.kind, &event.bytes).unwrap().unwrap(),
        };
        step(&mut state, &input)
    });
    decided.collect()
}

fn decisions(world: &World) -> Vec<Step> {
    world.steps.iter().map(|(_, step)| step.clone()).collect()
}

/// The slices of the record, one for each conversation.
fn conversations(record: &[Recorded]) -> Vec<Vec<Recorded>> {
    let mut slices: BTreeMap<ConversationKey, Vec<Recorded>> = BTreeMap::new();
    for event in record {
        let metadata = RawEvent::decode(&event.bytes).unwrap().metadata;
        slices.entry(ConversationKey::of(&metadata)).or_default().push(event.clone());
    }
    slices.into_values().collect()
}

/// As operators read a changed event: id and run from its bytes while those can be read.
fn with_bytes(event: &Recorded, bytes: Vec<u8>) -> Recorded {
    let mut changed = Recorded { bytes, ..event.clone() };
    if let Ok(head) = RawEvent::decode(&changed.bytes) {
        (changed.id, changed.run) = (head.id, head.correlation_id);
    }
    changed
}

proptest! {
    #[test]
    fn every_accepted_request_ends_exactly_once(history in history(Time::Short)) {
        let mut world = play(&history);
        settle(&mut world);

        let mut open: BTreeMap<Uuid, i32> = BTreeMap::new();
        for (index, step) in &world.steps {
            let event = &world.record[*index];
            if event.kind == EventType::RequestsIncoming && step.verdict == Verdict::Applied {
                *open.entry(event.id).or_default() += 1;
            }
        }
        for id in world.ids(EventType::RequestsProcessed) {
            let end: nexus_contracts::ProcessedRequest = world.payload(id);
            *open.entry(end.request).or_default() -= 1;
        }
        prop_assert!(open.values().all(|count| *count == 0), "{open:?}");
        prop_assert_eq!(world.state.pending().count(), 0);
        let panics = world.steps.iter().any(|(_, step)| matches!(step.verdict, Verdict::Panicked(_)));
        prop_assert!(!panics);
    }

    #[test]
    fn a_conversation_has_at_most_one_active_run(history in history(Time::Short)) {
        let mut world = play(&history);
        settle(&mut world);

        for conversation in conversations(&world.record) {
            let mut active = None;
            for event in conversation {
                match event.kind {
                    EventType::RunsStarted => prop_assert_eq!(active.replace(event.run), None),
                    EventType::RequestsProcessed if active == Some(event.run) => active = None,
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn no_two_commands_have_the_same_id(history in history(Time::Short)) {
        let mut world = play(&history);
        settle(&mut world);
        let mut ids: Vec<Uuid> = decisions(&world).iter().flat_map(|step| &step.commands).map(|command| command.id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), all);
    }

    #[test]
    fn same_inputs_give_the_same_bytes(history in history(Time::Long)) {
        let world = play(&history);
        prop_assert_eq!(decide_again(&world, |_, _, _| {}), decisions(&world));
    }

    #[test]
    fn decisions_go_on_from_a_checkpoint_as_without_it(history in history(Time::Long), at: Index) {
        let world = play(&history);
        let at = at.index(world.steps.len().max(1));
        let mut restored = true;
        let again = decide_again(&world, |number, state, _| {
            if number == at {
                let saved = serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap();
                restored = *state == saved;
                *state = saved;
            }
        });
        prop_assert!(restored);
        prop_assert_eq!(again, decisions(&world));
    }

    #[test]
    fn pruning_at_any_time_changes_no_decision(
        history in history(Time::Long),
        pruned in proptest::collection::vec(any::<bool>(), 1..20),
    ) {
        let world = play(&history);
        let mut last = None;
        let again = decide_again(&world, |number, state, event| {
            if let Some(last) = last.replace(event.stored_at)
                && pruned[number % pruned.len()]
            {
                state.prune(last);
            }
        });
        prop_assert_eq!(again, decisions(&world));
    }

    #[test]
    fn produced_record_has_no_mismatch(history in history(Time::Short)) {
        let mut world = play(&history);
        settle(&mut world);
        for conversation in conversations(&world.record) {
            let result = verify(&conversation, None, false);
            prop_assert_eq!((result.mismatches, result.unverifiable), (Vec::new(), 0));
        }
    }

    #[test]
    fn record_without_its_beginning_has_no_mismatch(history in history(Time::Short), gone: Index) {
        let mut world = play_in_step(&history);
        settle(&mut world);
        for conversation in conversations(&world.record) {
            let rest = &conversation[gone.index(conversation.len())..];
            prop_assert_eq!(verify(rest, None, false).mismatches, []);
        }
    }

    #[test]
    fn one_changed_byte_of_an_input_shows(
        history in history(Time::Short),
        input: Index,
        at: Index,
        bit in proptest::option::of(0..8_u8),
    ) {
        let mut world = play(&history);
        settle(&mut world);
        // Late and repeated inputs were no ground for any decision.
        let grounds = world.steps.iter().filter(|(_, step)| step.verdict == Verdict::Applied);
        let grounds: Vec<usize> = grounds.map(|(index, _)| *index).collect();
        prop_assume!(!grounds.is_empty());
        let input = *input.get(&grounds);
        let original = &world.record[input];
        let mut bytes = original.bytes.clone();
        match bit {
            Some(bit) => bytes[at.index(original.bytes.len())] ^= 1 << bit,
            None => bytes = changed_time(&bytes),
        }
        let changed = with_bytes(original, bytes);

        let mut slices = conversations(&world.record);
        let slice = slices.iter_mut().find(|slice| slice.contains(original)).unwrap();
        let place = slice.iter().position(|event| event == original).unwrap();
        slice[place] = changed.clone();
        for open_end in [false, true] {
            let found = verify(slice, None, open_end).mismatches;
            prop_assert!(!found.is_empty(), "{}", String::from_utf8_lossy(&changed.bytes));
        }
        // What cannot be read at all does not even reach `verify` from the command line.
        if RawEvent::decode(&changed.bytes).is_err() && changed.kind != EventType::RequestsIncoming {
            slice.remove(place);
            // A reply that is the last event of all may still be on its way.
            let open_end = changed.kind != EventType::RequestsProcessed;
            prop_assert!(!verify(slice, None, open_end).mismatches.is_empty());
        }
    }
}
