use nexus_contracts::{RunUsage, ToolOutcome};
use serde_json::{Value, json};

use super::past::{Turn, Turns};
use super::*;
use crate::frames::{DoneFrame, ErrorBody};
use crate::socket::dialect::Asking;

const CALL: Uuid = Uuid::from_u128(2);

/// A game's connection, with what was asked of the rest of the gateway.
struct Game {
    npc: Npc,
    at: Duration,
    asked: Vec<Asking>,
    others: Vec<Command>,
    runs: u128,
}

impl Game {
    fn begin() -> Self {
        let npc = Npc::default();
        let mut game =
            Self { npc, at: Duration::ZERO, asked: Vec::new(), others: Vec::new(), runs: 100 };
        let (session, heartbeat) = (Uuid::from_u128(3), Duration::from_secs(15));
        let (user, agents) = ("ann".to_owned(), vec!["assistant".to_owned(), "npc".to_owned()]);
        let welcome = game.happens(Happening::Welcome { session, user, agents, heartbeat });
        assert_eq!(welcome[0]["type"], "welcome");
        game
    }

    /// With an open smith, who can open a door and wave.
    fn with_smith() -> Self {
        let mut game = Self::begin();
        let args = json!({
            "type": "object", "properties": { "door": { "type": "integer", "minimum": 0 } },
            "required": ["door"], "additionalProperties": false,
        });
        let actions =
            json!([{ "name": "open_door", "args": args }, { "name": "wave", "wait": false }]);
        let opened = game.says(json!({ "type": "npc.open", "npc": "smith", "persona": "A smith.", "actions": actions }));
        let session = format!("{}-1", Uuid::from_u128(3).simple());
        assert_eq!(
            opened,
            [json!({ "type": "npc.opened", "npc": "smith", "session": session, "turns": 0 })]
        );
        game.others.clear();
        game
    }

    fn says(&mut self, frame: Value) -> Vec<Value> {
        let commands = self.npc.said(&frame.to_string(), self.at);
        self.sort(commands)
    }

    fn happens(&mut self, what: Happening) -> Vec<Value> {
        let commands = self.npc.happened(what, self.at);
        self.sort(commands)
    }

    fn sort(&mut self, commands: Vec<Command>) -> Vec<Value> {
        let mut frames = Vec::new();
        for command in commands {
            match command {
                Command::Send(text) => {
                    assert!(text.len() <= MAX_FRAME, "a frame of {} bytes", text.len());
                    frames.push(serde_json::from_str(&text).unwrap());
                }
                Command::Ask(asking) => self.asked.push(*asking),
                other => self.others.push(other),
            }
        }
        frames
    }

    /// Says a line and has it accepted; its run.
    fn line(&mut self, text: &str) -> Uuid {
        self.says(json!({ "type": "say", "npc": "smith", "text": text }));
        self.accept()
    }

    fn accept(&mut self) -> Uuid {
        let asked = self.asked.last().unwrap();
        self.runs += 1;
        let run = Uuid::from_u128(self.runs);
        let (tag, conversation) = (asked.tag.clone(), asked.conversation.clone());
        let taken = Taken { tag, conversation, run, cursor: Cursor::at(1), repeated: false };
        let frames = self.happens(Happening::Accepted(taken));
        assert!(frames.iter().all(|frame| frame["type"] == "accepted"), "{frames:?}");
        run
    }

    fn delta(&mut self, run: Uuid, text: &str) -> Vec<Value> {
        let (conversation, text) = ("c".to_owned(), text.to_owned());
        let cursor = Cursor::default();
        self.happens(Happening::Frame(Stored::Delta {
            conversation,
            run,
            call: CALL,
            offset: 0,
            text,
            cursor,
        }))
    }

    fn done(&mut self, run: Uuid, outcome: &'static str, error: Option<ErrorBody>) -> Vec<Value> {
        self.happens(Happening::Frame(Stored::Done(DoneFrame {
            conversation: "c".to_owned(),
            run,
            outcome,
            text: "the last call's text".to_owned(),
            into: None,
            attachments: Vec::new(),
            usage: RunUsage::default(),
            error,
            cursor: Cursor::default(),
        })))
    }

    fn call(&mut self, run: Uuid, tool: &str, arguments: Value) -> Vec<Value> {
        let (conversation, tool) =
            (self.asked.last().unwrap().conversation.clone(), tool.to_owned());
        let (call, timeout_ms) = (CALL, 2000);
        self.happens(Happening::Call(Call {
            conversation,
            run,
            call,
            tool,
            arguments,
            timeout_ms,
            device: None,
        }))
    }

    fn answers(&mut self) -> Vec<ToolOutcome> {
        let answer = |command| match command {
            Command::Answer { outcome, .. } => Some(outcome),
            _ => None,
        };
        std::mem::take(&mut self.others).into_iter().filter_map(answer).collect()
    }

    fn cancelled(&mut self) -> Vec<Uuid> {
        let run = |command| match command {
            Command::Cancel { run, .. } => Some(run),
            _ => None,
        };
        std::mem::take(&mut self.others).into_iter().filter_map(run).collect()
    }
}

fn texts(messages: &[nexus_contracts::Message]) -> Vec<String> {
    messages.iter().map(nexus_contracts::Message::joined_text).collect()
}

#[test]
fn golden_dialogue() {
    let mut game = Game::with_smith();
    assert!(
        game.says(json!({ "type": "state", "npc": "smith", "rev": 2.0, "set": { "gold": 7 } }))
            .is_empty()
    );
    assert!(
        game.says(json!({ "type": "state", "npc": "smith", "rev": 1, "set": { "gold": 1 } }))
            .is_empty()
    );
    let run = game.line("Good day");
    let asked = game.asked.last().unwrap();
    assert_eq!((asked.agent.as_deref(), asked.text.as_str()), (Some("npc"), "Good day"));
    let told = "A smith.\n\nThe state of the game now, as JSON: {\"gold\":7}";
    assert_eq!(asked.instructions.as_deref(), Some(told));
    assert_eq!(asked.history.as_deref(), Some(&[][..]));
    assert!(!asked.with_devices, "a game does not get the player's phone");

    let mut frames = game.delta(run, "Well ");
    frames.extend(game.call(run, "wave", json!({})));
    frames.extend(game.call(run, "open_door", json!({ "door": 3 })));
    frames.extend(game.delta(run, "met."));
    frames.extend(game.done(run, "answered", None));
    let say = "line-1";
    assert_eq!(
        frames,
        [
            json!({ "type": "delta", "npc": "smith", "say": say, "seq": 1, "text": "Well " }),
            json!({ "type": "action", "npc": "smith", "say": say, "call": CALL, "name": "wave", "args": {} }),
            json!({ "type": "action", "npc": "smith", "say": say, "call": CALL, "name": "open_door", "args": { "door": 3 } }),
            json!({ "type": "delta", "npc": "smith", "say": say, "seq": 2, "text": "met." }),
            json!({ "type": "done", "npc": "smith", "say": say, "total": 2, "status": "answered", "text": "Well met." }),
        ]
    );
    assert_eq!(
        game.answers(),
        [completed("done".to_owned())],
        "who does not wait is answered at once"
    );
    let result = json!({ "type": "action.result", "npc": "smith", "call": CALL, "ok": true, "output": "open" });
    game.says(result);
    assert_eq!(game.answers(), [completed("open".to_owned())]);

    game.line("Farewell");
    let history = game.asked.last().unwrap().history.clone().unwrap();
    assert_eq!(texts(&history), ["Good day", "Well met."]);
}

#[test]
fn after_an_interrupt_nothing_more_is_said() {
    let mut game = Game::with_smith();
    let run = game.line("Tell me everything");
    game.says(json!({ "type": "say", "npc": "smith", "text": "And more", "id": "2" }));
    game.delta(run, "Long ago");
    let frames = game.says(json!({ "type": "interrupt", "npc": "smith" }));
    let done = |say: &str, total: u32| json!({ "type": "done", "npc": "smith", "say": say, "total": total, "status": "cancelled" });
    let mut first = done("line-1", 1);
    first["text"] = json!("Long ago");
    assert_eq!(frames, [first, done("2", 0)]);
    assert_eq!(game.cancelled(), [run]);
    assert_eq!(game.delta(run, ", there was"), Vec::<Value>::new());
    assert_eq!(game.call(run, "wave", json!({})), Vec::<Value>::new());
    assert_eq!(game.answers(), [failed("interrupted", "the player has interrupted or left")]);
    assert_eq!(game.done(run, "cancelled", None), Vec::<Value>::new());

    // What was heard was said.
    game.line("Stop.");
    assert_eq!(
        texts(game.asked.last().unwrap().history.as_ref().unwrap()),
        ["Tell me everything", "Long ago"]
    );
}

#[test]
fn a_line_that_is_interrupted_before_it_is_stored_is_cancelled_when_it_is() {
    let mut game = Game::with_smith();
    game.says(json!({ "type": "say", "npc": "smith", "text": "Hello" }));
    game.says(json!({ "type": "interrupt", "npc": "smith" }));
    assert_eq!(game.cancelled(), Vec::<Uuid>::new());
    let run = game.accept();
    assert_eq!(game.cancelled(), [run]);
    assert_eq!(game.delta(run, "Hi"), Vec::<Value>::new());
}

#[test]
fn lines_are_answered_one_by_one_and_a_repeated_one_once() {
    let mut game = Game::with_smith();
    let say = |id: &str| json!({ "type": "say", "npc": "smith", "text": id, "id": id });
    for id in ["a", "a", "b", "b"] {
        game.says(say(id));
    }
    assert_eq!(game.asked.len(), 1);
    let run = game.accept();
    game.delta(run, "A!");
    let last = game.done(run, "answered", None);
    assert_eq!(game.asked.len(), 2);
    assert_eq!(texts(game.asked[1].history.as_ref().unwrap()), ["a", "A!"]);
    assert_eq!(game.says(say("a")), last, "its end comes again");
    for number in 0..16 {
        assert_eq!(game.says(say(&number.to_string())), Vec::<Value>::new());
    }
    assert_eq!(game.says(say("too many"))[0]["code"], "busy");
}

#[test]
fn a_filler_comes_once_and_only_without_a_delta() {
    let mut game = Game::begin();
    game.says(json!({ "type": "npc.open", "npc": "smith", "fallback_after_ms": 500, "fallback_text": "Hm." }));
    game.at = Duration::from_secs(10);
    let run = game.line("Hello");
    assert_eq!(game.npc.wakes(), Some(Duration::from_millis(10_500)));
    assert!(game.npc.woke(Duration::from_millis(10_499)).is_empty());
    let filler = game.npc.woke(Duration::from_millis(10_500));
    let filler = game.sort(filler);
    assert_eq!(
        filler,
        [json!({ "type": "filler", "npc": "smith", "say": "line-1", "text": "Hm." })]
    );
    assert_eq!(game.npc.wakes(), None);
    game.done(run, "answered", None);
    let run = game.line("And?");
    game.delta(run, "So");
    assert_eq!(game.npc.wakes(), None);

    let mut game = Game::begin();
    game.says(json!({ "type": "npc.open", "npc": "smith", "fallback_after_ms": 0 }));
    game.line("Hello");
    assert_eq!(game.npc.wakes(), None, "0 is never");
}

#[test]
fn a_long_text_comes_in_frames_of_at_most_16_kib() {
    let mut game = Game::with_smith();
    let run = game.line("Hello");
    let long: String = ["\u{1}".repeat(9_000), "\"ä🧀\n".repeat(9_000)].concat();
    let frames = game.delta(run, &long);
    let joined: String = frames.iter().map(|frame| frame["text"].as_str().unwrap()).collect();
    assert_eq!(joined, long);
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, Vec::from_iter(1..=frames.len() as u64));
    let done = game.done(run, "answered", None).remove(0);
    assert_eq!((&done["total"], done.get("text")), (&json!(frames.len()), None));
    // Nor is an action longer than a frame sent.
    let run = game.line("Open");
    assert_eq!(
        game.call(run, "open_door", json!({ "door": "x".repeat(MAX_FRAME) })),
        Vec::<Value>::new()
    );
    assert_eq!(game.answers().len(), 1);
    let too_long =
        game.says(json!({ "type": "say", "npc": "smith", "text": "x".repeat(MAX_FRAME) }));
    assert_eq!(too_long[0]["code"], "frame_too_large");
}

#[test]
fn a_reset_takes_the_deltas_of_one_model_call_back() {
    let mut game = Game::with_smith();
    let run = game.line("Hello");
    game.delta(run, "Wrong");
    let (conversation, cursor) = ("c".to_owned(), Cursor::default());
    let frames =
        game.happens(Happening::Frame(Stored::Reset { conversation, run, call: CALL, cursor }));
    assert_eq!(frames, [json!({ "type": "reset", "npc": "smith", "say": "line-1", "keep": 0 })]);
    game.delta(run, "Right");
    assert_eq!(game.done(run, "answered", None)[0]["text"], "Right");
}

#[test]
fn what_is_wrong_is_a_typed_error() {
    let mut game = Game::with_smith();
    let long = "x".repeat(5_000);
    for (frame, code) in [
        (json!({ "type": "dance" }), "unknown_frame"),
        (json!({ "type": "say" }), "bad_frame"),
        (json!({ "type": "say", "npc": "nobody", "text": "Hi" }), "unknown_npc"),
        (json!({ "type": "interrupt", "npc": "nobody" }), "unknown_npc"),
        (json!({ "type": "npc.open", "npc": "smith" }), "already_open"),
        (json!({ "type": "npc.open", "npc": "" }), "bad_frame"),
        (json!({ "type": "npc.open", "npc": "x", "persona": "x".repeat(9_000) }), "text_too_long"),
        (json!({ "type": "npc.open", "npc": "x", "actions": [{ "name": "a b" }] }), "bad_action"),
        (
            json!({ "type": "state", "npc": "smith", "rev": 1, "set": { "a": long } }),
            "state_too_large",
        ),
        (json!({ "type": "state", "npc": "smith", "rev": 4_294_967_296_u64 }), "bad_frame"),
        (json!({ "type": "state", "npc": "smith", "rev": 0.5 }), "bad_frame"),
        (json!({ "type": "state", "npc": "smith", "rev": -1 }), "bad_frame"),
    ] {
        let error = game.says(frame.clone()).remove(0);
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{frame}");
    }
}

#[test]
fn a_refused_line_is_an_error_and_the_next_one_is_asked() {
    let mut game = Game::with_smith();
    game.says(json!({ "type": "say", "npc": "smith", "text": " ", "id": "1" }));
    game.says(json!({ "type": "say", "npc": "smith", "text": "Hello", "id": "2" }));
    let refused = Refused::new("bad_frame", "empty").tag(game.asked[0].tag.clone());
    let frames = game.happens(Happening::Refused(refused));
    assert_eq!(
        frames,
        [
            json!({ "type": "error", "code": "bad_frame", "message": "empty", "npc": "smith", "say": "1" })
        ]
    );
    assert_eq!(game.asked[1].text, "Hello");
    let run = game.accept();
    let error = ErrorBody { code: "run_timeout".to_owned(), message: "Too slow.".to_owned() };
    let done = game.done(run, "failed", Some(error)).remove(0);
    assert_eq!((&done["status"], &done["code"]), (&json!("failed"), &json!("run_timeout")));
}

#[test]
fn a_session_goes_on_with_what_was_said_and_waits_for_it() {
    let mut game = Game::begin();
    game.says(json!({ "type": "npc.open", "npc": "smith", "session": "save1", "persona_ref": "blacksmith" }));
    assert_eq!(
        game.says(json!({ "type": "say", "npc": "smith", "text": "Hello again", "id": "9" })),
        Vec::<Value>::new()
    );
    assert_eq!(game.asked.len(), 0, "its past is not known yet");
    let mut past = Past { last: 41, ..Past::default() };
    past.turns.push(Turn { said: "Hello".to_owned(), answered: "Hm?".to_owned() });
    past.ended.push((Uuid::from_u128(7), Some("Before.".to_owned())));
    let conversation = "npc/save1/smith".to_owned();
    let opened = game.happens(Happening::Recalled { conversation: conversation.clone(), past });
    assert_eq!(
        opened,
        [json!({ "type": "npc.opened", "npc": "smith", "session": "save1", "turns": 1 })]
    );
    let asked = &game.asked[0];
    assert_eq!((asked.agent.as_deref(), asked.id.as_deref()), (Some("blacksmith"), Some("9")));
    assert_eq!(texts(asked.history.as_ref().unwrap()), ["Hello", "Hm?"]);

    // It had been answered before the connection broke.
    let (tag, run) = (asked.tag.clone(), Uuid::from_u128(7));
    let taken = Taken { tag, conversation, run, cursor: Cursor::at(40), repeated: true };
    let frames = game.happens(Happening::Accepted(taken));
    let done = json!({ "type": "done", "npc": "smith", "say": "9", "total": 0, "status": "answered", "text": "Before." });
    assert_eq!(frames[1], done);
}

#[test]
fn an_imported_character_is_the_exported_one() {
    let mut game = Game::with_smith();
    game.says(json!({ "type": "state", "npc": "smith", "rev": 7, "set": { "gold": 7 } }));
    let run = game.line("Hello");
    game.delta(run, "Hm?");
    game.done(run, "answered", None);
    game.says(json!({ "type": "session.export", "npc": "smith" }));
    let Some(Command::Save { save, .. }) = game.others.pop() else { panic!() };

    let mut other = Game::begin();
    other.says(json!({ "type": "npc.open", "npc": "smith" }));
    other.says(json!({ "type": "session.import", "npc": "smith", "token": "nxs1.x" }));
    assert!(matches!(other.others.pop(), Some(Command::Load { .. })));
    let imported = other.happens(Happening::Loaded { npc: "smith".to_owned(), save });
    assert_eq!(imported, [json!({ "type": "session.imported", "npc": "smith", "turns": 1 })]);
    other.says(json!({ "type": "state", "npc": "smith", "rev": 1, "set": { "hp": 1 } }));
    other.line("Remember me?");
    let asked = other.asked.last().unwrap();
    let told = "A smith.\n\nThe state of the game now, as JSON: {\"gold\":7,\"hp\":1}";
    assert_eq!(asked.instructions.as_deref(), Some(told), "and its revisions begin again");
    assert_eq!(texts(asked.history.as_ref().unwrap()), ["Hello", "Hm?"]);
    assert_eq!(Turns::default().len(), 0);
}

#[path = "fuzz.rs"]
mod fuzz;
