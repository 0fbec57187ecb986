use uuid::Uuid;

/// What an agent says in one run: the text of each model call, in order.
#[derive(Debug, Default)]
pub(super) struct Text {
    calls: Vec<(Uuid, String)>,
}

impl Text {
    /// Takes a piece; whether it begins the text of another call.
    pub(super) fn push(&mut self, call: Uuid, piece: &str) -> bool {
        match self.calls.iter_mut().find(|(of, _)| *of == call) {
            Some((_, text)) => {
                text.push_str(piece);
                false
            }
            None => {
                self.calls.push((call, piece.to_owned()));
                true
            }
        }
    }

    /// Forgets the text of a call that begins again.
    pub(super) fn reset(&mut self, call: Uuid) {
        self.calls.retain(|(of, _)| *of != call);
    }

    /// Whether a call has said anything.
    pub(super) fn has(&self, call: Uuid) -> bool {
        self.calls.iter().any(|(of, _)| *of == call)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// All of it, a paragraph for each call.
    pub(super) fn joined(&self) -> String {
        let texts: Vec<&str> = self.calls.iter().map(|(_, text)| text.as_str()).collect();
        texts.join("\n\n")
    }
}
