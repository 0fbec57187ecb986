//! From the files of `bus-config/` to the server.

use std::path::Path;

use nexus_bus::{Bucket, Change, Durability, EVENTS, Error, Spec, Topology};

use crate::place::{Place, spec};

#[tokio::test]
async fn applying_twice_changes_nothing() {
    let place = Place::bare().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
    let spec = Spec::read_folder(&folder, Durability::Interval).unwrap();
    let topology = Topology::new(&place.bus, &spec);

    let planned = topology.plan().await.unwrap();
    assert!(!planned.is_empty() && planned.iter().all(|c| matches!(c, Change::Create { .. })));
    assert_eq!(topology.apply(false).await.unwrap(), planned);
    assert_eq!(topology.plan().await.unwrap(), []);
    assert_eq!(topology.apply(false).await.unwrap(), []);
}

#[tokio::test]
async fn a_setting_that_differs_from_its_file_is_planned_and_written() {
    let place = Place::bare().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
    let spec = Spec::read_folder(&folder, Durability::Interval).unwrap();
    let topology = Topology::new(&place.bus, &spec);
    topology.apply(false).await.unwrap();
    let entry = &spec.entries()[0];
    place.bus.put_setting(Bucket::Config, &entry.key, &"by hand").await.unwrap();

    let expected = Change::Update {
        what: format!("setting {}", entry.key),
        field: "value".to_owned(),
        from: "\"by hand\"".to_owned(),
        to: entry.value.to_string(),
        destroys: false,
    };
    assert_eq!(topology.apply(false).await.unwrap(), [expected]);
    assert_eq!(topology.plan().await.unwrap(), []);
}

/// Applies the changed description; `what` is the field that would destroy.
async fn needs_permission(edit: (&str, &str), what: &str) {
    let place = Place::start().await;
    place.ask("kept", "hi").await;
    let changed = spec(&[edit]);
    let topology = Topology::new(&place.bus, &changed);
    let planned = topology.plan().await.unwrap();
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert!(planned[0].destroys(), "{planned:?}");

    let refused = topology.apply(false).await;
    let Err(error @ Error::Config { .. }) = refused else { panic!("{refused:?}") };
    let told = format!("bus-config: this would destroy stored events: ! stream EVENTS: {what} ");
    assert!(error.to_string().starts_with(&told), "{error}");
    assert_eq!(topology.plan().await.unwrap(), planned, "something has been changed");

    assert_eq!(topology.apply(true).await.unwrap(), planned);
    assert_eq!(topology.plan().await.unwrap(), []);
    assert_eq!(place.bus.bounds(EVENTS).await.unwrap(), (1, 1));
}

#[tokio::test]
async fn a_shorter_memory_needs_permission() {
    needs_permission(("max_age = \"30d\"", "max_age = \"29d\""), "max_age").await;
}

#[tokio::test]
async fn a_removed_subject_needs_permission() {
    needs_permission(("    \"tools.*.*.*.*\",\n", ""), "subjects").await;
}

#[tokio::test]
async fn a_smaller_store_needs_permission() {
    needs_permission(("max_bytes = 21474836480", "max_bytes = 1000000"), "max_bytes").await;
}

#[tokio::test]
async fn more_room_more_memory_and_more_patience_need_no_permission() {
    let place = Place::start().await;
    let changed = spec(&[
        ("max_age = \"30d\"", "max_age = \"31d\""),
        ("max_bytes = 21474836480", "max_bytes = 21474837504"),
        ("ack_wait = \"10s\"", "ack_wait = \"11s\""),
    ]);
    let topology = Topology::new(&place.bus, &changed);
    let changes = topology.apply(false).await.unwrap();
    let fields: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        fields,
        [
            "~ stream EVENTS: max_age 2592000s -> 2678400s",
            "~ stream EVENTS: max_bytes 21474836480 -> 21474837504",
            "~ consumer inference: ack_wait 10s -> 11s",
        ]
    );
    assert_eq!(topology.plan().await.unwrap(), []);
}

fn refused(path: &str, text: &str) -> String {
    let files = [(path, text)].into_iter();
    let Err(Error::Config { place, reason }) = Spec::read(files, Durability::Interval) else {
        panic!("{path} was read")
    };
    format!("{place}: {reason}")
}

#[test]
fn a_malformed_file_is_named_with_its_line() {
    let told = refused("streams/events.toml", "name = \"EVENTS\"\nsubjects = [\"a\" \"b\"]\n");
    assert!(told.starts_with("bus-config/streams/events.toml: "), "{told}");
    assert!(told.contains("line 2"), "{told}");

    let told = refused("agents/assistant.toml", "model = \"small\"\n\nbudget = ?\n");
    assert!(told.starts_with("bus-config/agents/assistant.toml: "), "{told}");
    assert!(told.contains("line 3"), "{told}");
}

#[test]
fn a_field_that_nobody_knows_is_named_with_file_and_line() {
    let told = refused("streams/events.toml", "name = \"EVENTS\"\nmax_aeg = \"30d\"\n");
    assert!(told.starts_with("bus-config/streams/events.toml: "), "{told}");
    assert!(told.contains("line 2") && told.contains("max_aeg"), "{told}");
}

#[test]
fn a_folder_without_streams_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Spec::read_folder(folder.path(), Durability::Interval);
    let Err(error @ Error::Config { .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(
        error.to_string(),
        "bus-config/streams: no streams are described; is the folder right?"
    );
}
