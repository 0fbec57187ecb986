//! What a character knows of the game.

use serde_json::{Map, Value};

/// Bytes of all that a character knows, as JSON.
const MOST: usize = 16 * 1024;
/// Bytes of one change, as JSON.
const MOST_AT_ONCE: usize = 4 * 1024;

/// Why a change was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::socket) enum TooMuch {
    #[error("one state frame sets {bytes} bytes, the limit is {MOST_AT_ONCE}; set less at once")]
    AtOnce { bytes: usize },
    #[error("the state has {bytes} bytes, the limit is {MOST}; unset what is no longer true")]
    Together { bytes: usize },
}

/// The facts of the newest revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::socket) struct World {
    rev: u32,
    facts: Map<String, Value>,
}

impl World {
    pub(in crate::socket) fn of(facts: Map<String, Value>) -> Self {
        Self { rev: 0, facts }
    }

    /// Merges a change; an older revision than the newest changes nothing.
    pub(in crate::socket) fn change(
        &mut self,
        rev: u32,
        set: Map<String, Value>,
        unset: &[String],
    ) -> Result<(), TooMuch> {
        if rev <= self.rev {
            return Ok(());
        }
        let bytes = bytes(&set);
        if bytes > MOST_AT_ONCE {
            return Err(TooMuch::AtOnce { bytes });
        }
        let mut facts = self.facts.clone();
        facts.extend(set);
        for name in unset {
            facts.remove(name);
        }
        let bytes = self::bytes(&facts);
        if bytes > MOST {
            return Err(TooMuch::Together { bytes });
        }
        *self = Self { rev, facts };
        Ok(())
    }

    pub(in crate::socket) fn facts(&self) -> &Map<String, Value> {
        &self.facts
    }

    /// What the model is told, when there is something.
    pub(in crate::socket) fn told(&self) -> Option<String> {
        let facts = serde_json::to_string(&self.facts).unwrap_or_default();
        (!self.facts.is_empty()).then(|| format!("The state of the game now, as JSON: {facts}"))
    }
}

fn bytes(facts: &Map<String, Value>) -> usize {
    serde_json::to_string(facts).map_or(usize::MAX, |text| text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_newest_revision_wins_whatever_the_order() {
        let mut world = World::default();
        world.change(2, map(json!({ "hp": 5, "door": "open" })), &[]).unwrap();
        world.change(1, map(json!({ "hp": 9 })), &["door".to_owned()]).unwrap();
        world.change(2, map(json!({ "hp": 7 })), &[]).unwrap();
        assert_eq!(world.facts(), &map(json!({ "hp": 5, "door": "open" })));
        world
            .change(3, map(json!({ "hp": 4 })), &["door".to_owned(), "no such".to_owned()])
            .unwrap();
        assert_eq!(world.told().unwrap(), r#"The state of the game now, as JSON: {"hp":4}"#);
        world.change(4, Map::new(), &["hp".to_owned()]).unwrap();
        assert_eq!(world.told(), None);
    }

    #[test]
    fn too_much_changes_nothing_and_the_next_change_counts() {
        let mut world = World::default();
        let long = "x".repeat(MOST_AT_ONCE);
        let refused = world.change(1, map(json!({ "a": long })), &[]);
        assert!(matches!(refused, Err(TooMuch::AtOnce { .. })), "{refused:?}");
        for rev in 1..=4 {
            let part = "x".repeat(MOST_AT_ONCE - 100);
            world.change(rev, map(json!({ rev.to_string(): part })), &[]).unwrap();
        }
        let (before, part) = (world.clone(), "x".repeat(1_000));
        let refused = world.change(5, map(json!({ "5": part })), &[]);
        assert!(matches!(refused, Err(TooMuch::Together { .. })), "{refused:?}");
        assert_eq!(world, before);
        world.change(5, Map::new(), &["1".to_owned()]).unwrap();
        assert_eq!(world.facts().len(), 3);
    }
}
