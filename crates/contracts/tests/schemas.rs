//! The committed schemas are what the types say, and every example is valid.

use std::path::Path;

use nexus_contracts::{EventType, RawEvent, schema};
use similar::TextDiff;

#[test]
fn committed_schemas_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut drift = String::new();
    for (path, wanted) in schema::files() {
        let found = std::fs::read_to_string(folder.join(&path)).unwrap_or_default();
        if found != wanted {
            let diff = TextDiff::from_lines(&found, &wanted);
            drift.push_str(&diff.unified_diff().header(&path, "types").to_string());
        }
    }
    assert!(
        drift.is_empty(),
        "{drift}\nrun `cargo run -p nexus -- schema export` and commit the result"
    );
}

#[test]
fn no_schema_is_left_over() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/events");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let kind = name.strip_suffix(".json").unwrap();
        assert!(kind.parse::<EventType>().is_ok(), "{name} belongs to no event type");
    }
}

#[test]
fn every_example_is_valid_against_its_schema() {
    for (kind, schema) in schema::events() {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let example = &schema["examples"][0];
        let errors: Vec<String> =
            validator.iter_errors(example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{kind}: {errors:?}");
        let event: RawEvent = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(event.kind, kind.as_str());
    }
}

#[test]
fn every_event_type_has_a_schema() {
    let kinds: Vec<EventType> = schema::events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, EventType::ALL);
}
