//! What a model is shown.

use nexus_contracts::{IncomingRequest, Message, Part, RecalledTurn, Role};

use crate::state::Run;

/// Begins the run's conversation with the model: instructions, what was said before, the request.
pub(crate) fn begin(run: &mut Run, turns: &[RecalledTurn]) {
    let agents = run.agent.as_ref().map(|agent| agent.definition.instructions.trim());
    let places = run.request.payload.instructions.as_deref().map(str::trim);
    let instructions: Vec<&str> =
        agents.into_iter().chain(places).filter(|text| !text.is_empty()).collect();
    if !instructions.is_empty() {
        run.messages.push(Message::text(Role::System, instructions.join("\n\n")));
    }
    let before = run.messages.len();
    match run.request.payload.history.take() {
        Some(history) => run.messages.extend(history),
        None => run.messages.extend(turns.iter().flat_map(|turn| {
            [
                Message::text(Role::User, turn.input.clone()),
                Message::text(Role::Assistant, turn.output.clone()),
            ]
        })),
    }
    run.history =
        run.messages.iter().skip(before).filter(|message| message.role != Role::System).count();
    run.messages.push(said(&run.request.payload));
}

/// What the speaker says, as the model is shown it: the text, then the files.
pub(crate) fn said(request: &IncomingRequest) -> Message {
    let text = (!request.text.is_empty()).then(|| Part::Text { text: request.text.clone() });
    let files = request.attachments.iter();
    let files = files.map(|attachment| Part::Attachment { attachment: attachment.clone() });
    Message { role: Role::User, parts: text.into_iter().chain(files).collect() }
}

/// Forgets the oldest of what the model can do without; `false` when nothing is left.
///
/// First what was said before, then what the model thought in earlier steps of this run: the other
/// parts of those messages say what it said and asked for. Instructions stay. A tool's result goes
/// with the call that it answers.
pub(crate) fn drop_oldest(run: &mut Run) -> bool {
    if run.history == 0 {
        return drop_oldest_turn(run);
    }
    let first = run.messages.iter().position(|message| message.role != Role::System);
    let Some(first) = first else { return false };
    run.messages.remove(first);
    run.history -= 1;
    while run.history > 0 && run.messages.get(first).is_some_and(|next| next.role == Role::Tool) {
        run.messages.remove(first);
        run.history -= 1;
    }
    true
}

fn drop_oldest_turn(run: &mut Run) -> bool {
    let is_turn = |part: &Part| matches!(part, Part::Native { .. });
    let oldest = run.messages.iter_mut().find(|message| message.parts.iter().any(is_turn));
    if let Some(message) = oldest {
        message.parts.retain(|part| !is_turn(part));
        return true;
    }
    false
}

/// The beginning of a text, at most `limit` bytes of it.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default().to_owned()
}
