//! What was found lately: pure, with the time passed in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_contracts::TenantId;

use crate::vault::Credential;

/// A decrypted secret lives no longer in memory without being read anew.
pub const REMEMBER: Duration = Duration::from_secs(60);
/// Findings kept at most; beyond that the cache begins anew.
const MOST: usize = 4096;

/// A question: which credential this user has for this service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) user: Option<String>,
    pub(crate) service: String,
}

/// State of a tenant's credentials, as the bus tells it; `None` before its first change.
pub(crate) type Revision = Option<String>;

/// What was found; `None`: there is none.
pub(crate) type Finding = Option<Arc<Credential>>;

#[derive(Debug)]
struct Entry {
    finding: Finding,
    at: Instant,
    revision: Revision,
}

/// What was found lately. Dropping an entry wipes its secret once nobody uses it any more.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Key, Entry>,
    /// Whether a tenant of which the bus tells nothing has any, and when that was looked up.
    holders: HashMap<TenantId, (bool, Instant)>,
}

impl Cache {
    /// A finding that is fresh and of this revision.
    pub(crate) fn get(&self, key: &Key, revision: &Revision, now: Instant) -> Option<Finding> {
        let entry = self.entries.get(key).filter(|entry| entry.revision == *revision)?;
        (now.saturating_duration_since(entry.at) < REMEMBER).then(|| entry.finding.clone())
    }

    /// Whether there was no credential when somebody looked last, and nothing has changed since:
    /// no secret, so it may be older.
    pub(crate) fn was_absent(&self, key: &Key, revision: &Revision) -> bool {
        let entry = self.entries.get(key).filter(|entry| entry.revision == *revision);
        entry.is_some_and(|entry| entry.finding.is_none())
    }

    /// Keeps a finding; `revision` and `at` are of before it was looked for.
    pub(crate) fn put(&mut self, key: Key, finding: Finding, revision: Revision, at: Instant) {
        if self.entries.len() >= MOST && !self.entries.contains_key(&key) {
            self.entries.clear();
        }
        self.entries.insert(key, Entry { finding, at, revision });
    }

    /// Whether a tenant has any credential, as far as that was looked up lately.
    pub(crate) fn holds(&self, tenant: TenantId, now: Instant) -> Option<bool> {
        let (holds, at) = self.holders.get(&tenant)?;
        (now.saturating_duration_since(*at) < REMEMBER).then_some(*holds)
    }

    /// Keeps whether a tenant has any; `at` is of before it was looked up.
    pub(crate) fn note_holds(&mut self, tenant: TenantId, holds: bool, at: Instant) {
        if self.holders.len() >= MOST && !self.holders.contains_key(&tenant) {
            self.holders.clear();
        }
        self.holders.insert(tenant, (holds, at));
    }

    /// Forgets all of a tenant.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        self.holders.remove(&tenant);
        self.entries.retain(|key, _| key.tenant != tenant);
    }

    /// Drops the secrets that are too old, or not of the current revision.
    pub(crate) fn purge(&mut self, now: Instant, current: impl Fn(TenantId) -> Revision) {
        self.entries.retain(|key, entry| {
            let fresh = now.saturating_duration_since(entry.at) < REMEMBER;
            (fresh || entry.finding.is_none()) && entry.revision == current(key.tenant)
        });
    }
}

#[cfg(test)]
mod tests {
    use nexus_contracts::KeyOwner;
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn key(service: &str) -> Key {
        Key { tenant: TENANT, user: None, service: service.to_owned() }
    }

    fn credential() -> Finding {
        Some(Arc::new(Credential {
            id: Uuid::from_u128(7),
            owner: KeyOwner::Tenant,
            secret: "sk".into(),
            base_url: None,
            expires_at: None,
        }))
    }

    fn revision(text: &str) -> Revision {
        Some(text.to_owned())
    }

    #[test]
    fn a_secret_is_gone_after_a_minute_and_an_absence_when_something_changed() {
        let (start, mut cache) = (Instant::now(), Cache::default());
        cache.put(key("a"), credential(), revision("1"), start);
        cache.put(key("b"), None, revision("1"), start);
        let almost = start + REMEMBER - Duration::from_millis(1);
        assert!(matches!(cache.get(&key("a"), &revision("1"), almost), Some(Some(_))));
        assert!(matches!(cache.get(&key("b"), &revision("1"), almost), Some(None)));
        assert!(cache.get(&key("a"), &revision("1"), start + REMEMBER).is_none());
        assert!(cache.get(&key("b"), &revision("1"), start + REMEMBER).is_none());

        cache.purge(start + REMEMBER, |_| revision("1"));
        assert_eq!(cache.entries.keys().collect::<Vec<_>>(), [&key("b")]);
        assert!(cache.was_absent(&key("b"), &revision("1")));
        assert!(!cache.was_absent(&key("b"), &revision("2")));
        assert!(!cache.was_absent(&key("a"), &revision("1")));
        cache.purge(start, |_| revision("2"));
        assert!(cache.entries.is_empty());
    }

    #[test]
    fn a_change_makes_what_was_found_before_it_void() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        cache.put(key("a"), credential(), None, now);
        assert!(cache.get(&key("a"), &None, now).is_some());
        assert!(cache.get(&key("a"), &revision("1"), now).is_none());
        cache.forget(TenantId(Uuid::from_u128(2)));
        assert!(cache.get(&key("a"), &None, now).is_some());
        cache.forget(TENANT);
        assert!(cache.get(&key("a"), &None, now).is_none());
    }

    #[test]
    fn that_a_tenant_has_none_is_looked_up_again_after_a_minute_or_a_change() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        assert_eq!(cache.holds(TENANT, now), None);
        cache.note_holds(TENANT, false, now);
        assert_eq!(cache.holds(TENANT, now + REMEMBER - Duration::from_millis(1)), Some(false));
        assert_eq!(cache.holds(TENANT, now + REMEMBER), None);
        cache.forget(TENANT);
        assert_eq!(cache.holds(TENANT, now), None);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        for number in 0..=u128::try_from(MOST).unwrap() {
            cache.note_holds(TenantId(Uuid::from_u128(number)), false, now);
        }
        assert_eq!(cache.holders.len(), 1);
        for number in 0..=MOST {
            cache.put(key(&number.to_string()), None, None, now);
        }
        assert_eq!(cache.entries.len(), 1);
    }
}
