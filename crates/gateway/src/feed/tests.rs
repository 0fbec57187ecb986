use nexus_contracts::{
    Effect, Finish, IncomingRequest, InferenceRequest, LOCAL_TENANT, Metadata, Payload, Sampling,
    Subject, Timestamp, Token, Usage,
};

use super::*;

/// A conversation that is written down, event by event.
#[derive(Default)]
pub(crate) struct Log {
    sequence: u64,
}

impl Log {
    pub(crate) fn metadata() -> Metadata {
        let token = |text| Token::encode(text).unwrap();
        Metadata::at(LOCAL_TENANT, token("web"), token("kitchen"))
    }

    pub(crate) fn stored<P: Payload>(&mut self, run: Uuid, id: Uuid, payload: P) -> Message {
        self.caused(run, id, None, payload)
    }

    pub(crate) fn caused<P: Payload>(
        &mut self,
        run: Uuid,
        id: Uuid,
        cause: Option<Uuid>,
        payload: P,
    ) -> Message {
        self.sequence += 1;
        let at = Timestamp::from_micros(1);
        let metadata = Metadata { causation_id: cause, ..Self::metadata() };
        let event = Event::new(id, run, metadata, at, payload);
        Message {
            sequence: self.sequence,
            stored_at: at,
            subject: Subject::of(P::TYPE, &event.metadata).stored(),
            bytes: event.encode().into(),
            attempt: 1,
            pending: 0,
        }
    }

    pub(crate) fn asks_model(&mut self, run: Uuid, call: Uuid) -> Message {
        let request = InferenceRequest {
            model: "m".to_owned(),
            messages: Vec::new(),
            tools: Vec::new(),
            sampling: Sampling::default(),
            limits: nexus_contracts::AttemptLimits::default(),
            number: 1,
            start_within_ms: 1,
            timeout_ms: 1,
        };
        self.stored(run, call, request)
    }

    pub(crate) fn model_says(
        &mut self,
        run: Uuid,
        call: Uuid,
        text: &str,
        tools: &[&str],
    ) -> Message {
        let asked = |tool: &&str| nexus_contracts::RequestedCall {
            provider_id: None,
            tool: (*tool).to_owned(),
            arguments: "{}".to_owned(),
        };
        let outcome = InferenceOutcome::Completed {
            text: text.to_owned(),
            tool_calls: tools.iter().map(asked).collect(),
            finish: if tools.is_empty() { Finish::Stop } else { Finish::ToolCalls },
            usage: Usage::of(3, 2),
            turn: None,
        };
        let response = InferenceResponse::of(call, "m".to_owned(), outcome, 1);
        self.stored(run, derived(call, "response"), response)
    }

    pub(crate) fn executes(
        &mut self,
        run: Uuid,
        call: Uuid,
        tool: &str,
        by: Option<&str>,
    ) -> Message {
        self.executes_after(run, call, tool, by, None)
    }

    pub(crate) fn executes_after(
        &mut self,
        run: Uuid,
        call: Uuid,
        tool: &str,
        by: Option<&str>,
        cause: Option<Uuid>,
    ) -> Message {
        let execute = ToolExecute {
            tool: tool.to_owned(),
            arguments: "{}".to_owned(),
            effect: Effect::Read,
            index: 0,
            start_within_ms: 1,
            timeout_ms: 9,
            client: by.map(str::to_owned),
        };
        self.caused(run, call, cause, execute)
    }

    pub(crate) fn ends(&mut self, run: Uuid, outcome: Outcome) -> Message {
        self.stored(run, derived(run, "processed"), ProcessedRequest::of(run, outcome))
    }

    pub(crate) fn asked(&mut self, run: Uuid, text: &str) -> Message {
        self.stored(run, run, IncomingRequest::text(text))
    }
}

fn derived(id: Uuid, role: &str) -> Uuid {
    nexus_contracts::derived_id(id, role)
}

pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn piece(
    run: Uuid,
    call: Uuid,
    attempt: u32,
    delta: ChunkDelta,
) -> Event<InferenceChunk> {
    let chunk = InferenceChunk { call, attempt, delta };
    Event::new(id(99), run, Log::metadata(), Timestamp::from_micros(1), chunk)
}

pub(crate) fn says(
    run: Uuid,
    call: Uuid,
    attempt: u32,
    offset: u64,
    text: &str,
) -> Event<InferenceChunk> {
    piece(run, call, attempt, ChunkDelta::Text { offset, text: text.to_owned() })
}

pub(crate) fn answered(text: &str) -> Outcome {
    Outcome::Answered { text: text.to_owned() }
}

pub(crate) fn feed(cursor: Cursor) -> Feed {
    Feed::after("kitchen".to_owned(), cursor, true)
}

/// What a client shows of the text, resets obeyed; a gap or a repeat is an error.
fn shown(frames: &[ServerFrame]) -> String {
    let mut calls: Vec<(Uuid, String)> = Vec::new();
    for frame in frames {
        match frame {
            ServerFrame::Delta { call, offset, text, .. } => {
                if !calls.iter().any(|(of, _)| of == call) {
                    calls.push((*call, String::new()));
                }
                let (_, known) = calls.iter_mut().find(|(of, _)| of == call).unwrap();
                assert_eq!(*offset, known.chars().count(), "a gap or a repeat in {frames:#?}");
                known.push_str(text);
            }
            ServerFrame::Reset { call, .. } => {
                calls.iter_mut().filter(|(of, _)| of == call).for_each(|(_, text)| text.clear());
            }
            _ => {}
        }
    }
    calls.into_iter().map(|(_, text)| text).collect()
}

/// What happens, as the hub tells it.
enum Happens {
    Event(Message),
    Piece(Box<Event<InferenceChunk>>),
}

fn tell(feed: &mut Feed, happens: &[Happens]) -> Vec<ServerFrame> {
    happens
        .iter()
        .flat_map(|happens| match happens {
            Happens::Event(message) => feed.event(message),
            Happens::Piece(piece) => feed.chunk(piece),
        })
        .collect()
}

/// As somebody hears of it who comes back while it goes on: what is stored, and pieces that are
/// still there.
fn tell_again(feed: &mut Feed, happens: &[Happens]) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    for happens in happens {
        match happens {
            Happens::Event(message) => frames.extend(feed.event(message)),
            Happens::Piece(piece) if feed.awaits(piece.payload.call) => {
                frames.extend(feed.chunk(piece));
            }
            Happens::Piece(_) => {}
        }
    }
    frames
}

fn begins() -> ChunkDelta {
    ChunkDelta::Begin { model: "p/m".to_owned() }
}

fn thinks(offset: u64, text: &str) -> ChunkDelta {
    ChunkDelta::Reasoning { offset, text: text.to_owned() }
}

#[test]
fn an_attempt_that_begins_shows_nothing_and_voids_what_the_one_before_showed() {
    let (run, call) = (id(1), id(2));
    let mut feed = feed(Cursor::default());
    assert_eq!(feed.chunk(&piece(run, call, 1, begins())), []);
    let thought = feed.chunk(&piece(run, call, 1, thinks(0, "Hm")));
    assert!(matches!(thought[..], [ServerFrame::Reasoning { offset: 0, .. }]), "{thought:?}");
    assert_eq!(feed.chunk(&piece(run, call, 1, thinks(9, "behind a gap"))), []);
    let voided = feed.chunk(&piece(run, call, 2, begins()));
    assert!(matches!(voided[..], [ServerFrame::Reset { .. }]), "{voided:?}");
    assert_eq!(feed.chunk(&piece(run, call, 2, ChunkDelta::Reset)), []);
    assert_eq!(feed.chunk(&piece(run, call, 1, thinks(2, "late"))), []);
    let again = feed.chunk(&piece(run, call, 2, thinks(0, "Oh")));
    assert!(matches!(&again[..], [ServerFrame::Reasoning { offset: 0, text, .. }] if text == "Oh"));
}

/// A run with a tool of the client, whose first model call breaks off and is begun again.
fn eventful() -> Vec<Happens> {
    let (run, first, second) = (id(1), id(2), id(3));
    let mut log = Log::default();
    let event = Happens::Event;
    let piece_of = |piece| Happens::Piece(Box::new(piece));
    vec![
        event(log.asked(run, "hello")),
        event(log.asks_model(run, first)),
        piece_of(piece(run, first, 0, begins())),
        piece_of(piece(run, first, 0, thinks(0, "Hm"))),
        piece_of(says(run, first, 0, 0, "Let ")),
        piece_of(says(run, first, 0, 4, "us 🧀")),
        piece_of(piece(run, first, 1, begins())),
        piece_of(piece(run, first, 1, ChunkDelta::Reset)),
        piece_of(piece(run, first, 1, thinks(0, "Oh"))),
        piece_of(piece(run, first, 1, thinks(2, "…"))),
        piece_of(says(run, first, 1, 0, "I ")),
        piece_of(says(run, first, 1, 2, "see.")),
        event(log.model_says(run, first, "I see. ", &["lookup"])),
        event(log.executes(run, id(4), "lookup", Some("api"))),
        event(log.asks_model(run, second)),
        piece_of(says(run, second, 0, 0, "Grün")),
        event(log.model_says(run, second, "Grün ist es.", &[])),
        event(log.ends(run, answered("Grün ist es."))),
    ]
}

#[test]
fn a_cut_after_any_frame_loses_and_repeats_nothing_even_when_live_pieces_are_gone() {
    let happens = eventful();
    let whole = tell(&mut feed(Cursor::default()), &happens);
    assert_eq!(shown(&whole), "I see. Grün ist es.");
    let stored: Vec<Happens> =
        eventful().into_iter().filter(|happens| matches!(happens, Happens::Event(_))).collect();
    let lasting = |frames: &[ServerFrame]| -> Vec<ServerFrame> {
        let passing = |frame: &&ServerFrame| {
            !matches!(
                frame,
                ServerFrame::Delta { .. }
                    | ServerFrame::Reasoning { .. }
                    | ServerFrame::Reset { .. }
            )
        };
        frames.iter().filter(passing).cloned().collect()
    };
    for cut in 1..whole.len() {
        let cursor = whole[cut - 1].place().unwrap().2;
        let cursor: Cursor = cursor.to_string().parse().unwrap();
        for log in [&happens, &stored] {
            let mut joined = whole[..cut].to_vec();
            joined.extend(tell_again(&mut feed(cursor), log));
            assert_eq!(shown(&joined), shown(&whole), "cut after {:?}", whole[cut - 1]);
            assert_eq!(lasting(&joined), lasting(&whole), "cut after {:?}", whole[cut - 1]);
        }
    }
}

#[test]
fn an_answer_that_began_otherwise_than_it_was_stored_is_begun_again() {
    let (run, call) = (id(1), id(2));
    let mut log = Log::default();
    let mut feed = feed(Cursor::default());
    let mut frames = feed.event(&log.asks_model(run, call));
    frames.extend(feed.chunk(&says(run, call, 0, 0, "It was ")));
    frames.extend(feed.event(&log.model_says(run, call, "It is blue.", &[])));
    assert_eq!(shown(&frames), "It is blue.");
    assert!(frames.iter().any(|frame| matches!(frame, ServerFrame::Reset { .. })));
}

#[test]
fn the_end_of_a_waiting_request_leaves_the_answer_that_is_being_made_alone() {
    let (run, waiting, call) = (id(1), id(5), id(2));
    let mut log = Log::default();
    let mut feed = feed(Cursor::default());
    let mut frames = feed.event(&log.asks_model(run, call));
    frames.extend(feed.chunk(&says(run, call, 0, 0, "It is ")));
    let cancelled = Outcome::Cancelled { reason: "never mind".to_owned() };
    frames.extend(feed.event(&log.ends(waiting, cancelled)));
    frames.extend(feed.chunk(&says(run, call, 0, 6, "blue.")));
    frames.extend(feed.event(&log.model_says(run, call, "It is blue.", &[])));
    assert_eq!(shown(&frames), "It is blue.");
}

#[test]
fn a_gap_in_the_live_pieces_is_filled_by_the_stored_answer() {
    let (run, call) = (id(1), id(2));
    let mut log = Log::default();
    let mut feed = feed(Cursor::default());
    let mut frames = feed.event(&log.asks_model(run, call));
    frames.extend(feed.chunk(&says(run, call, 0, 0, "a")));
    frames.extend(feed.chunk(&says(run, call, 0, 2, "c")));
    frames.extend(feed.chunk(&says(run, call, 0, 0, "ab")));
    frames.extend(feed.event(&log.model_says(run, call, "abcd", &[])));
    assert_eq!(shown(&frames), "abcd");
}
