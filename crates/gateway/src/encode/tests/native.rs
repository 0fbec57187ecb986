use super::scenes::{OTHER, RUN, encode, steered, with_own_tool, with_reasoning};
use crate::cursor::Cursor;
use crate::encode::{Encoder as _, NativeSse};

fn names(encoder: &mut NativeSse, frames: &[crate::frames::ServerFrame]) -> Vec<String> {
    encode(encoder, frames).into_iter().map(|event| event.event.unwrap()).collect()
}

#[test]
fn a_run_is_told_alone_and_a_conversation_whole_each_frame_with_its_id() {
    let frames = with_own_tool();
    let mut of_run = NativeSse::of_run("kitchen".to_owned(), RUN);
    let events = encode(&mut of_run, &frames);
    assert!(of_run.is_over());
    assert!(events.iter().all(|event| event.id.is_some() && !event.data.contains("not for you")));
    assert_eq!(events.iter().filter(|event| event.retry.is_some()).count(), 1);

    let mut whole = NativeSse::of_conversation("kitchen".to_owned());
    assert_eq!(names(&mut whole, &frames).len(), frames.len());
    assert!(!whole.is_over());
}

#[test]
fn a_request_that_is_taken_into_another_run_is_followed_there() {
    let mut encoder = NativeSse::of_run("kitchen".to_owned(), RUN);
    let events = encode(&mut encoder, &steered());
    assert!(encoder.is_over());
    let last = events.last().unwrap();
    assert!(
        last.data.contains(&OTHER.to_string()) && last.data.contains("Both answered."),
        "{last:?}"
    );
}

#[test]
fn a_reader_that_is_too_slow_is_told_where_to_go_on() {
    let mut encoder = NativeSse::of_run("kitchen".to_owned(), RUN);
    let cut = encoder.cut(Cursor::at(7));
    assert_eq!((cut[0].event.as_deref(), cut[0].id.as_deref()), (Some("resume"), Some("7:")));
    assert!(encoder.is_over());
    let mut text = String::new();
    cut[0].write(&mut text);
    let data = r#"{"type":"resume","conversation":"kitchen","cursor":"7:"}"#;
    assert_eq!(text, format!("id: 7:\nevent: resume\nretry: 1000\ndata: {data}\n\n"));
}

#[test]
fn reasoning_has_a_frame_of_its_own() {
    let mut of_run = NativeSse::of_run("kitchen".to_owned(), RUN);
    let events = encode(&mut of_run, &with_reasoning());
    let passing = |event: &&crate::encode::SseEvent| event.event.as_deref() != Some("event");
    let told: Vec<_> =
        events.iter().filter(passing).map(|event| event.event.as_deref().unwrap()).collect();
    assert_eq!(told, ["reasoning", "reset", "reasoning", "reasoning", "delta", "delta", "done"]);
    let data: serde_json::Value =
        serde_json::from_str(&events.iter().find(passing).unwrap().data).unwrap();
    assert_eq!((&data["offset"], &data["text"]), (&0.into(), &"So".into()));
}
