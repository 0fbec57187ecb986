use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// Ids that are remembered; far more than can be in flight.
const MOST: usize = 4096;

/// The last ids that were put in.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ids: Mutex<(HashSet<Uuid>, VecDeque<Uuid>)>,
}

impl Recent {
    pub(crate) fn insert(&self, id: Uuid) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, order) = &mut *ids;
        if !set.insert(id) {
            return;
        }
        order.push_back(id);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, id: Uuid) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).0.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let recent = Recent::default();
        for id in 0..=MOST {
            recent.insert(Uuid::from_u128(u128::try_from(id).unwrap()));
        }
        assert!(!recent.contains(Uuid::from_u128(0)));
        assert!(recent.contains(Uuid::from_u128(1)));
    }
}
