//! Save games: a character as it was, behind a short token.
//!
//! A token is a claim check. What it stands for is kept in the installation's blob store under the
//! hash of its bytes, so a token cannot be made up or changed, and it fits into a frame however long
//! the dialogue was. What is kept names the user whose it is: somebody else's token is refused, in
//! another tenant it does not exist. It is good for as long as the blob store keeps it, also after
//! restarts and on any installation with the same blobs. What was said before travels with the next
//! request, so the restored dialogue is in the log of its new session.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::past::Turns;

const PREFIX: &str = "nxs1.";
/// Hexadecimal digits of SHA-256.
const DIGITS: usize = 64;
const FORMAT: &str = "nexus npc save 1";

/// A character as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::socket) struct Save {
    pub(in crate::socket) agent: Option<String>,
    pub(in crate::socket) persona: String,
    pub(in crate::socket) state: Map<String, Value>,
    pub(in crate::socket) turns: Turns,
}

/// A save as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    format: String,
    user: String,
    save: Save,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::socket) enum BadToken {
    #[error("this is no token of session.export")]
    NoToken,
    #[error("this installation keeps nothing for this token and this user")]
    Unknown,
}

impl Save {
    /// The bytes that are kept for this user.
    pub(in crate::socket) fn keep(&self, user: &str) -> Vec<u8> {
        let kept = Kept { format: FORMAT.to_owned(), user: user.to_owned(), save: self.clone() };
        // Strings and maps with string keys cannot fail.
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    /// The save, when it is this user's.
    pub(in crate::socket) fn restore(bytes: &[u8], user: &str) -> Result<Self, BadToken> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(|_| BadToken::Unknown)?;
        if kept.format != FORMAT || kept.user != user {
            return Err(BadToken::Unknown);
        }
        Ok(kept.save)
    }
}

/// The token of what is kept under this hash.
pub(in crate::socket) fn token(sha256: &str) -> String {
    format!("{PREFIX}{sha256}")
}

/// The hash in a token.
pub(in crate::socket) fn hash(token: &str) -> Result<&str, BadToken> {
    let hash = token.strip_prefix(PREFIX).ok_or(BadToken::NoToken)?;
    let is_hash = hash.len() == DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(hash) } else { Err(BadToken::NoToken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::npc::past::Turn;

    #[test]
    fn a_save_comes_back_for_its_user_alone() {
        let mut turns = Turns::default();
        turns.push(Turn { said: "Who are you?".to_owned(), answered: "The smith.".to_owned() });
        let state = Map::from_iter([("hp".to_owned(), Value::from(3))]);
        let save =
            Save { agent: Some("npc".to_owned()), persona: "A smith.".to_owned(), state, turns };
        let kept = save.keep("ann");
        assert_eq!(Save::restore(&kept, "ann"), Ok(save));
        assert_eq!(Save::restore(&kept, "ben"), Err(BadToken::Unknown));
        assert_eq!(Save::restore(b"{}", "ann"), Err(BadToken::Unknown));
    }

    #[test]
    fn only_what_session_export_gave_is_a_token() {
        let digits = "0a".repeat(32);
        assert_eq!(hash(&token(&digits)), Ok(digits.as_str()));
        for wrong in ["", "nxs1.", "nxs1.0a", &digits, &format!("nxs1.../{}", &digits[3..])] {
            assert_eq!(hash(wrong), Err(BadToken::NoToken), "{wrong}");
        }
    }
}
