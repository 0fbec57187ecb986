//! A character as the game declares it.

use std::sync::Arc;
use std::time::Duration;

use crate::socket::dialect::Refused;
use crate::socket::offer::{Numbers, Offer, Patience};

use super::NAME;
use super::character::{Character, New};
use super::frames::Open;

/// How long the game may take for an action.
const ACTION: Patience = Patience { default_ms: 2_000, most_ms: 2_000 };
/// Wait for the first words before a filler, when the game does not say.
const FALLBACK_AFTER_MS: u32 = 1_500;
/// Bytes of a persona's text.
const PERSONA: usize = 8 * 1024;
/// Bytes of a filler's text.
const FALLBACK: usize = 1_024;

impl Open {
    /// The character, in its session or in a new one.
    pub(super) fn character(
        self,
        new_session: impl FnOnce() -> String,
    ) -> Result<Character, Refused> {
        let npc = self.npc.clone();
        let refused = |code, message: String| Err(Refused::new(code, message).npc(npc.clone()));
        let is_name = |name: &str| !name.is_empty() && name.len() <= NAME;
        if !is_name(&self.npc) || !self.session.as_deref().is_none_or(is_name) {
            return refused("bad_frame", format!("npc and session have 1 to {NAME} bytes"));
        }
        let persona = self.persona.unwrap_or_default();
        let fallback_text = self.fallback_text;
        if persona.len() > PERSONA || fallback_text.as_ref().is_some_and(|t| t.len() > FALLBACK) {
            let message = format!("persona has at most {PERSONA} bytes, fallback_text {FALLBACK}");
            return refused("text_too_long", message);
        }
        let waits = self.actions.iter().map(|action| (action.declared.name.clone(), action.wait));
        let waits = waits.collect();
        let declared = self.actions.into_iter().map(|action| action.declared).collect();
        let offer = match Offer::new(declared, ACTION, Numbers::Small) {
            Ok(offer) => Arc::new(offer),
            Err(error) => return refused("bad_action", error.to_string()),
        };
        let after = self.fallback_after_ms.unwrap_or(FALLBACK_AFTER_MS);
        Ok(Character::new(New {
            npc: self.npc,
            session: self.session.unwrap_or_else(new_session),
            agent: self.persona_ref,
            persona,
            offer,
            waits,
            fallback_after: (after > 0).then(|| Duration::from_millis(after.into())),
            fallback_text,
        }))
    }
}
