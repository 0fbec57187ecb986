//! The NPC protocol: dialogue for game engines.
//!
//! Flat JSON text frames of at most 16 KiB both ways; integers fit into 32 bits; ids are strings.
//! After `hello {protocol: "npc", key, client?}` and `welcome`, from the game:
//! - `npc.open {npc, persona_ref?, persona?, session?, actions?, fallback_after_ms?, fallback_text?}`:
//!   `persona_ref` is an agent's name, `persona` a text added to its instructions; without `session` a
//!   new one begins, with one it goes on. An action is `{name, description?, args?, wait?}`, `args` a
//!   JSON Schema of an object; with `wait: false` it is done as soon as it is sent
//! - `state {npc, rev, set?, unset?}`: merged, newest `rev` wins, at most 4 KiB; goes with the next line
//! - `say {npc, text, id?, seq?}`: the same id is the same line; lines are answered one by one
//! - `action.result {call, ok?, output?, error?}` within 2 s
//! - `interrupt {npc}`: ends the line that is being answered and those that wait, at once
//! - `session.export {npc}`, `session.import {npc, token}`, `npc.close {npc}`, `ping`, `pong`
//!
//! From the server: `npc.opened {npc, session, turns}`, `accepted {npc, say}` when the line is stored,
//! `delta {npc, say, seq, text}` with `seq` from 1, `reset {npc, say, keep}` (forget the deltas behind
//! `keep`), `action {npc, say, call, name, args}`, `filler {npc, say, text?}` when no delta came within
//! `fallback_after_ms`, `done {npc, say, total, status, text?, code?, message?}` once per line, with
//! `answered`, `cancelled` or `failed`, `session.exported {npc, token}`, `session.imported {npc,
//! turns}`, `npc.closed`, `error {code, message, npc?, say?}`, `ping`, `pong`.
//! State is merged when it arrives and never queued, so a slow moment drops stale state, no dialogue.

mod character;
mod frames;
mod open;
pub(in crate::socket) mod past;
pub(in crate::socket) mod save;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use crate::cursor::Cursor;
use crate::frames::ServerFrame as Stored;

use super::answer::{completed, failed};
use super::dialect::{Call, Command, Dialect, Happening, Refused, SLOW, Taken, encode, send};
use super::native::unreadable;
use super::runs::Runs;
use character::{Character, Line};
use frames::{ClientFrame, KNOWN, MAX_FRAME, Open, ServerFrame};
use past::Past;

/// The agent of characters that name none, when the installation has it.
const AGENT: &str = "npc";
/// Open characters of one connection.
const MOST: usize = 256;
/// Bytes of a character's and of a session's name; both are part of the conversation's.
const NAME: usize = 64;
/// The characters of one connection.
#[derive(Debug, Default)]
pub(super) struct Npc {
    session: Uuid,
    agent: Option<String>,
    opened: u32,
    lines: u32,
    asked: u64,
    characters: BTreeMap<String, Character>,
    /// The character that each run answers for.
    runs: Runs<String>,
    /// Requests that were interrupted before they were stored.
    unwanted: HashSet<String>,
}

impl Npc {
    fn read(&mut self, text: &str, at: Duration) -> Result<Vec<Command>, Refused> {
        if text.len() > MAX_FRAME {
            let message = format!("the frame has {} bytes, the limit is {MAX_FRAME}", text.len());
            return Err(Refused::new("frame_too_large", message));
        }
        let frame = serde_json::from_str(text).map_err(|error| {
            let (code, message) = unreadable(text, &error, &KNOWN);
            Refused::new(code, message)
        })?;
        let mut commands = Vec::new();
        match frame {
            ClientFrame::Hello {} | ClientFrame::Pong => {}
            ClientFrame::Ping => commands.push(send(&ServerFrame::Pong)),
            ClientFrame::Open(open) => self.open(open, &mut commands)?,
            ClientFrame::Close { npc } => self.close(&npc, &mut commands)?,
            ClientFrame::State { npc, rev, set, unset } => {
                let changed = self.character(&npc)?.world.change(rev, set, &unset);
                changed
                    .map_err(|error| Refused::new("state_too_large", error.to_string()).npc(npc))?;
            }
            ClientFrame::Say { npc, text, id, seq } => {
                let line = self.line(text, id, seq);
                if !self.character(&npc)?.said(line, &mut commands) {
                    let message = "too many lines wait; say it after the next done";
                    return Err(Refused::new("busy", message).npc(npc));
                }
                self.ask(&npc, at, &mut commands);
            }
            ClientFrame::ActionResult { answer } => {
                commands.push(Command::Answer { call: answer.call, outcome: answer.outcome() });
            }
            ClientFrame::Interrupt { npc } => self.interrupt(&npc, &mut commands)?,
            ClientFrame::Export { npc } => {
                let save = Box::new(self.character(&npc)?.save());
                commands.push(Command::Save { npc, save });
            }
            ClientFrame::Import { npc, token } => {
                self.character(&npc)?;
                commands.push(Command::Load { npc, token });
            }
        }
        Ok(commands)
    }

    fn open(&mut self, open: Open, commands: &mut Vec<Command>) -> Result<(), Refused> {
        let npc = open.npc.clone();
        let refused = |code, message: String| Err(Refused::new(code, message).npc(npc.clone()));
        if self.characters.contains_key(&npc) {
            return refused("already_open", "close it first, or use it as it is".to_owned());
        }
        if self.characters.len() >= MOST {
            return refused("busy", format!("one connection has at most {MOST} open characters"));
        }
        let goes_on = open.session.is_some();
        let mut character = open.character(|| self.new_session())?;
        let conversation = character.conversation.clone();
        if goes_on {
            commands.push(Command::Recall { conversation });
        } else {
            let cursor = Cursor::default();
            commands.push(character.opened(Past::default(), self.agent.clone()));
            commands.push(Command::Follow { conversation, cursor, timeline: false });
        }
        self.characters.insert(npc, character);
        Ok(())
    }

    fn new_session(&mut self) -> String {
        self.opened += 1;
        format!("{}-{}", self.session.simple(), self.opened)
    }

    fn close(&mut self, npc: &str, commands: &mut Vec<Command>) -> Result<(), Refused> {
        self.interrupt(npc, commands)?;
        if let Some(character) = self.characters.remove(npc) {
            commands.push(Command::Unfollow { conversation: character.conversation });
        }
        commands.push(send(&ServerFrame::Closed { npc }));
        Ok(())
    }

    fn line(&mut self, text: String, id: Option<String>, seq: Option<u32>) -> Line {
        let id = id.or_else(|| seq.map(|seq| seq.to_string()));
        let is_numbered = id.is_some();
        self.lines += 1;
        let say = id.unwrap_or_else(|| format!("line-{}", self.lines));
        Line { say: say.chars().take(NAME).collect(), is_numbered, text }
    }

    fn interrupt(&mut self, npc: &str, commands: &mut Vec<Command>) -> Result<(), Refused> {
        let character = self.character(npc)?;
        let conversation = character.conversation.clone();
        match character.interrupt(commands) {
            Some(Ok(run)) => {
                self.runs.ended(run);
                commands.push(Command::Cancel { conversation, run });
            }
            Some(Err(tag)) => drop(self.unwanted.insert(tag)),
            None => {}
        }
        Ok(())
    }

    fn character(&mut self, npc: &str) -> Result<&mut Character, Refused> {
        self.characters.get_mut(npc).ok_or_else(|| {
            Refused::new("unknown_npc", "open it with npc.open first").npc(npc.to_owned())
        })
    }

    /// Asks for a character's next line, when it can be.
    fn ask(&mut self, npc: &str, at: Duration, commands: &mut Vec<Command>) {
        let Some(character) = self.characters.get_mut(npc) else { return };
        let asked = &mut self.asked;
        let tag = || {
            *asked += 1;
            asked.to_string()
        };
        if let Some(command) = character.ask(tag, at) {
            self.runs.asked();
            commands.push(command);
        }
    }

    fn accepted(&mut self, taken: Taken, at: Duration) -> Vec<Command> {
        let Taken { tag, conversation, run, repeated, .. } = taken;
        let mut commands = Vec::new();
        let owner = self.characters.values_mut().find(|npc| npc.is_asked_as(&tag));
        let is_waited_for =
            owner.is_some_and(|npc| npc.accepted(&tag, run, repeated, &mut commands));
        if self.unwanted.remove(&tag) || !is_waited_for {
            self.runs.refused();
            return vec![Command::Cancel { conversation, run }];
        }
        let npc = self.characters.values().find(|npc| npc.conversation == conversation);
        let Some(npc) = npc.map(|npc| npc.npc.clone()) else { return commands };
        let early = self.runs.accepted(run, npc.clone());
        for frame in early {
            commands.extend(self.frame(frame, at));
        }
        self.ask(&npc, at, &mut commands);
        commands
    }

    fn frame(&mut self, frame: Stored, at: Duration) -> Vec<Command> {
        if let Stored::Resume { .. } = frame {
            let message = "the game reads too slowly; connect again and open the session again";
            return vec![error("too_slow", message, None, None), Command::Close(SLOW)];
        }
        let Some(frame) = self.runs.ours(frame) else { return Vec::new() };
        let mut commands = Vec::new();
        match frame {
            Stored::Delta { run, call, text, .. } => {
                if let Some(npc) = self.speaker(run) {
                    npc.delta(call, &text, &mut commands);
                }
            }
            Stored::Reset { run, call, .. } => {
                commands.extend(self.speaker(run).and_then(|npc| npc.reset(call)));
            }
            Stored::Done(done) => {
                let failure = done.error.as_ref();
                let failure = failure.map(|error| (error.code.as_str(), error.message.as_str()));
                if let Some(npc) = self.speaker(done.run) {
                    npc.done(done.outcome, failure, &mut commands);
                }
                if let Some(npc) = self.runs.ended(done.run) {
                    self.ask(&npc, at, &mut commands);
                }
            }
            _ => {}
        }
        commands
    }

    /// The character that speaks in this run.
    fn speaker(&mut self, run: Uuid) -> Option<&mut Character> {
        let npc = self.runs.get(run)?;
        self.characters.get_mut(npc).filter(|npc| npc.is_speaking(run))
    }

    /// A declared action with arguments that fit.
    fn call(&mut self, call: &Call) -> Vec<Command> {
        let refuse = |code: &str, message: &str| {
            vec![Command::Answer { call: call.call, outcome: failed(code, message) }]
        };
        let owner = self.characters.values().find(|npc| npc.conversation == call.conversation);
        // A call may overtake the acceptance of its run; that of an interrupted line is not sent.
        let is_open = owner.is_some_and(|npc| npc.is_speaking(call.run) || npc.is_unstored());
        let Some(npc) = owner.filter(|_| is_open) else {
            return refuse("interrupted", "the player has interrupted or left");
        };
        let Some(frame) = npc.action(call) else {
            return refuse("arguments_too_long", "the arguments do not fit into 16 KiB");
        };
        let mut commands = vec![Command::Send(frame)];
        if npc.waits.get(&call.tool) == Some(&false) {
            let outcome = completed("done".to_owned());
            commands.push(Command::Answer { call: call.call, outcome });
        }
        commands
    }

    fn refused(&mut self, what: Refused, at: Duration) -> Vec<Command> {
        let Refused { code, message, tag, conversation, npc } = what;
        let is_ask = tag.is_some();
        let tagged = tag.as_deref().filter(|tag| !self.unwanted.remove(*tag));
        let owner = self.characters.values_mut().find(|character| {
            tagged.is_some_and(|tag| character.is_asked_as(tag))
                || Some(&character.npc) == npc.as_ref()
                || Some(&character.conversation) == conversation.as_ref()
        });
        let name = owner.as_ref().map(|owner| owner.npc.clone()).or(npc);
        let is_open = owner.as_ref().is_none_or(|owner| owner.is_open);
        let say = owner.filter(|_| tagged.is_some()).and_then(Character::refused);
        let mut commands = vec![error(code, &message, name.as_deref(), say.as_deref())];
        if let Some(name) = name.as_ref().filter(|_| !is_open) {
            // Its past could not be read: without it, it would be somebody else.
            self.characters.remove(name);
        }
        if is_ask {
            self.runs.refused();
            if let Some(name) = name {
                self.ask(&name, at, &mut commands);
            }
        }
        commands
    }

    fn recalled(&mut self, conversation: String, past: Past, at: Duration) -> Vec<Command> {
        let (agent, cursor) = (self.agent.clone(), Cursor::at(past.last));
        let owner = self.characters.values_mut().find(|npc| npc.conversation == conversation);
        let Some(character) = owner else { return Vec::new() };
        let mut commands = vec![
            character.opened(past, agent),
            Command::Follow { conversation, cursor, timeline: false },
        ];
        let npc = character.npc.clone();
        self.ask(&npc, at, &mut commands);
        commands
    }
}

impl Dialect for Npc {
    fn said(&mut self, text: &str, at: Duration) -> Vec<Command> {
        self.read(text, at).unwrap_or_else(|what| {
            let Refused { code, message, npc, .. } = what;
            vec![error(code, &message, npc.as_deref(), None)]
        })
    }

    fn happened(&mut self, what: Happening, at: Duration) -> Vec<Command> {
        match what {
            Happening::Welcome { session, user, agents, heartbeat } => {
                self.session = session;
                self.agent = agents.iter().find(|agent| *agent == AGENT).cloned();
                let heartbeat_s = u32::try_from(heartbeat.as_secs()).unwrap_or(u32::MAX);
                let (user, agents) = (user.as_str(), agents.as_slice());
                vec![send(&ServerFrame::Welcome { session, user, agents, heartbeat_s })]
            }
            Happening::Accepted(taken) => self.accepted(taken, at),
            Happening::Refused(what) => self.refused(what, at),
            Happening::Frame(frame) => self.frame(frame, at),
            Happening::Call(call) => self.call(&call),
            Happening::Recalled { conversation, past } => self.recalled(conversation, past, at),
            Happening::Saved { npc, token } => {
                vec![send(&ServerFrame::Exported { npc: &npc, token: &token })]
            }
            Happening::Loaded { npc, save } => {
                self.characters.get_mut(&npc).map(|npc| npc.load(*save)).into_iter().collect()
            }
            Happening::Attached { .. } | Happening::Found { .. } => Vec::new(),
        }
    }

    fn fault(&self, code: &'static str, message: String) -> String {
        encode(&ServerFrame::Error { code, message: &message, npc: None, say: None })
    }

    fn beat(&self) -> Option<String> {
        Some(encode(&ServerFrame::Ping))
    }

    fn wakes(&self) -> Option<Duration> {
        self.characters.values().filter_map(Character::wakes).min()
    }

    fn woke(&mut self, at: Duration) -> Vec<Command> {
        self.characters.values_mut().filter_map(|npc| npc.filler(at)).collect()
    }
}

fn error(code: &str, message: &str, npc: Option<&str>, say: Option<&str>) -> Command {
    let message: String = message.chars().take(1_000).collect();
    send(&ServerFrame::Error { code, message: &message, npc, say })
}

#[cfg(test)]
#[path = "npc/tests.rs"]
mod tests;
