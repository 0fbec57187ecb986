//! One character: who it is, what it knows, and the line that it is about to answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::socket::dialect::{Asking, Command, send};
use crate::socket::offer::Offer;

use super::frames::{Done, MAX_FRAME, ServerFrame, pieces};
use super::past::{Past, Turn, Turns};
use super::save::Save;
use super::world::World;

/// Lines that wait for the one before them, most.
const WAITING: usize = 16;
/// Ended lines whose last frame is sent again when the line is repeated.
const ENDED: usize = 32;

/// A line of the player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) say: String,
    /// The game numbers its lines itself.
    pub(super) is_numbered: bool,
    pub(super) text: String,
}

/// The line that is being answered.
#[derive(Debug)]
struct Current {
    line: Line,
    tag: String,
    run: Option<Uuid>,
    /// Deltas so far.
    seq: u32,
    /// What the player has been told.
    heard: String,
    /// Where each model call's text begins in it, and the number of the delta before it.
    calls: Vec<(Uuid, usize, u32)>,
    filler_at: Option<Duration>,
}

/// One open character.
#[derive(Debug)]
pub(super) struct Character {
    pub(super) npc: String,
    pub(super) session: String,
    pub(super) conversation: String,
    pub(super) agent: Option<String>,
    pub(super) persona: String,
    pub(super) world: World,
    pub(super) turns: Turns,
    pub(super) offer: Arc<Offer>,
    /// By name, whether the model waits for the action's result.
    pub(super) waits: BTreeMap<String, bool>,
    pub(super) fallback_after: Option<Duration>,
    pub(super) fallback_text: Option<String>,
    /// What was said before is known, and lines may be asked.
    pub(super) is_open: bool,
    before: Vec<(Uuid, Option<String>)>,
    current: Option<Current>,
    waiting: VecDeque<Line>,
    ended: VecDeque<(String, String)>,
}

/// A character without a past.
pub(super) struct New {
    pub(super) npc: String,
    pub(super) session: String,
    pub(super) agent: Option<String>,
    pub(super) persona: String,
    pub(super) offer: Arc<Offer>,
    pub(super) waits: BTreeMap<String, bool>,
    pub(super) fallback_after: Option<Duration>,
    pub(super) fallback_text: Option<String>,
}

impl Character {
    pub(super) fn new(new: New) -> Self {
        let conversation = format!("npc/{}/{}", new.session, new.npc);
        Self {
            npc: new.npc,
            session: new.session,
            conversation,
            agent: new.agent,
            persona: new.persona,
            world: World::default(),
            turns: Turns::default(),
            offer: new.offer,
            waits: new.waits,
            fallback_after: new.fallback_after,
            fallback_text: new.fallback_text,
            is_open: false,
            before: Vec::new(),
            current: None,
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// What was said before is known: the character listens.
    pub(super) fn opened(&mut self, past: Past, agent: Option<String>) -> Command {
        self.is_open = true;
        self.turns = past.turns;
        self.before = past.ended;
        self.agent = self.agent.take().or(agent);
        let turns = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
        send(&ServerFrame::Opened { npc: &self.npc, session: &self.session, turns })
    }

    /// The player says a line; `false` when too many wait.
    pub(super) fn said(&mut self, line: Line, commands: &mut Vec<Command>) -> bool {
        let ended = self.ended.iter().find(|(say, _)| *say == line.say);
        if let Some((_, frame)) = ended {
            commands.push(Command::Send(frame.clone()));
            return true;
        }
        let is_current = self.current.as_ref().is_some_and(|current| current.line.say == line.say);
        if is_current || self.waiting.iter().any(|waiting| waiting.say == line.say) {
            return true;
        }
        if self.waiting.len() >= WAITING {
            return false;
        }
        self.waiting.push_back(line);
        true
    }

    /// Asks for the next line, when nothing is in its way.
    ///
    /// One at a time, so that each is asked with the answers to those before it, and with the state
    /// of the game as it is then.
    pub(super) fn ask(&mut self, tag: impl FnOnce() -> String, at: Duration) -> Option<Command> {
        if !self.is_open || self.current.is_some() {
            return None;
        }
        let line = self.waiting.pop_front()?;
        let tag = tag();
        let persona = (!self.persona.is_empty()).then(|| self.persona.clone());
        let instructions: Vec<String> = persona.into_iter().chain(self.world.told()).collect();
        let asking = Asking {
            tag: tag.clone(),
            id: line.is_numbered.then(|| line.say.clone()),
            conversation: self.conversation.clone(),
            agent: self.agent.clone(),
            text: line.text.clone(),
            instructions: (!instructions.is_empty()).then(|| instructions.join("\n\n")),
            history: Some(self.turns.messages()),
            tools: (self.offer.len() > 0).then(|| Arc::clone(&self.offer)),
            ..Asking::default()
        };
        self.current = Some(Current {
            line,
            tag,
            run: None,
            seq: 0,
            heard: String::new(),
            calls: Vec::new(),
            filler_at: self.fallback_after.map(|after| at + after),
        });
        Some(Command::Ask(Box::new(asking)))
    }

    /// The request with this tag is stored; `false` when it is not waited for any more.
    pub(super) fn accepted(
        &mut self,
        tag: &str,
        run: Uuid,
        is_repeated: bool,
        commands: &mut Vec<Command>,
    ) -> bool {
        let Some(current) = self.current.as_mut().filter(|current| current.tag == tag) else {
            return false;
        };
        current.run = Some(run);
        commands.push(send(&ServerFrame::Accepted { npc: &self.npc, say: &current.line.say }));
        let before = self.before.iter().find(|(ended, _)| *ended == run);
        if let Some((_, answer)) = before.filter(|_| is_repeated).cloned() {
            // It was answered before this connection; the turn is known already.
            let status = if answer.is_some() { "answered" } else { "failed" };
            self.end(status, answer.as_deref(), None, commands);
        }
        true
    }

    /// Whether this run's frames are for the player: not those of an interrupted line.
    pub(super) fn is_speaking(&self, run: Uuid) -> bool {
        self.current.as_ref().is_some_and(|current| current.run == Some(run))
    }

    /// Whether a line is on its way that is not stored yet.
    pub(super) fn is_unstored(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.run.is_none())
    }

    pub(super) fn is_asked_as(&self, tag: &str) -> bool {
        self.current.as_ref().is_some_and(|current| current.tag == tag)
    }

    pub(super) fn delta(&mut self, call: Uuid, text: &str, commands: &mut Vec<Command>) {
        let Some(current) = self.current.as_mut() else { return };
        current.filler_at = None;
        if !current.calls.iter().any(|(known, ..)| *known == call) {
            current.calls.push((call, current.heard.len(), current.seq));
        }
        current.heard.push_str(text);
        for text in pieces(text) {
            current.seq += 1;
            let (npc, say, seq) = (&self.npc, &current.line.say, current.seq);
            commands.push(send(&ServerFrame::Delta { npc, say, seq, text }));
        }
    }

    /// The model begins its answer again: what it said is to be forgotten.
    pub(super) fn reset(&mut self, call: Uuid) -> Option<Command> {
        let current = self.current.as_mut()?;
        let at = current.calls.iter().position(|(known, ..)| *known == call)?;
        let (_, heard, keep) = current.calls.remove(at);
        current.heard.truncate(heard);
        let (npc, say) = (&self.npc, &current.line.say);
        Some(send(&ServerFrame::Reset { npc, say, keep }))
    }

    /// The action frame of a call; `None` when it is too long for one.
    pub(super) fn action(&self, call: &crate::socket::dialect::Call) -> Option<String> {
        let say = self.current.as_ref().map_or("", |current| current.line.say.as_str());
        let (name, args) = (call.tool.as_str(), &call.arguments);
        let frame = ServerFrame::Action { npc: &self.npc, say, call: call.call, name, args };
        Some(crate::socket::dialect::encode(&frame)).filter(|frame| frame.len() <= MAX_FRAME)
    }

    /// The run has ended.
    pub(super) fn done(
        &mut self,
        status: &str,
        error: Option<(&str, &str)>,
        commands: &mut Vec<Command>,
    ) {
        if let Some(current) = &self.current
            && status == "answered"
        {
            let (said, answered) = (current.line.text.clone(), current.heard.clone());
            self.turns.push(Turn { said, answered });
        }
        self.end(status, None, error, commands);
    }

    fn end(
        &mut self,
        status: &str,
        text: Option<&str>,
        error: Option<(&str, &str)>,
        commands: &mut Vec<Command>,
    ) {
        let Some(current) = self.current.take() else { return };
        let heard = (!current.heard.is_empty()).then_some(current.heard.as_str());
        self.last_word(&current.line.say, current.seq, status, text.or(heard), error, commands);
    }

    fn last_word(
        &mut self,
        say: &str,
        total: u32,
        status: &str,
        text: Option<&str>,
        error: Option<(&str, &str)>,
        commands: &mut Vec<Command>,
    ) {
        let (code, message) = error.unzip();
        let done = Done { npc: &self.npc, say, total, status, text, code, message };
        let frame = done.encode();
        commands.push(Command::Send(frame.clone()));
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((say.to_owned(), frame));
    }

    /// Ends the line that is being answered and those that wait; nothing more comes of them.
    ///
    /// The run to cancel, or the tag of the request when it is not stored yet.
    pub(super) fn interrupt(
        &mut self,
        commands: &mut Vec<Command>,
    ) -> Option<Result<Uuid, String>> {
        let current =
            self.current.as_ref().map(|current| current.run.ok_or_else(|| current.tag.clone()));
        if let Some(current) = &self.current
            && !current.heard.is_empty()
        {
            // The player heard it, so it was said.
            let (said, answered) = (current.line.text.clone(), current.heard.clone());
            self.turns.push(Turn { said, answered });
        }
        self.end("cancelled", None, None, commands);
        for line in std::mem::take(&mut self.waiting) {
            self.last_word(&line.say, 0, "cancelled", None, None, commands);
        }
        current
    }

    /// The request was refused; the line is forgotten, so that it can be said again.
    pub(super) fn refused(&mut self) -> Option<String> {
        self.current.take().map(|current| current.line.say)
    }

    pub(super) fn wakes(&self) -> Option<Duration> {
        self.current.as_ref().and_then(|current| current.filler_at)
    }

    /// The filler, when the player has waited for long enough.
    pub(super) fn filler(&mut self, at: Duration) -> Option<Command> {
        let current = self.current.as_mut()?;
        current.filler_at.take_if(|due| *due <= at)?;
        let (npc, say, text) = (&self.npc, &current.line.say, self.fallback_text.as_deref());
        Some(send(&ServerFrame::Filler { npc, say, text }))
    }

    pub(super) fn save(&self) -> Save {
        Save {
            agent: self.agent.clone(),
            persona: self.persona.clone(),
            state: self.world.facts().clone(),
            turns: self.turns.clone(),
        }
    }

    /// Becomes the character of a save; its revisions begin again.
    pub(super) fn load(&mut self, save: Save) -> Command {
        let turns = u32::try_from(save.turns.len()).unwrap_or(u32::MAX);
        (self.agent, self.persona, self.turns) = (save.agent, save.persona, save.turns);
        self.world = World::of(save.state);
        send(&ServerFrame::Imported { npc: &self.npc, turns })
    }
}
