//! Named places at which a test may kill the process, and guards that it may switch off.
//!
//! Compiled in only with the feature `failpoints`; without it every call is empty.
//! `NEXUS_FAILPOINTS="bus.after_publish=7;tools.after_claim=1"` kills the process with SIGKILL
//! at the 7th and the 1st hit. `NEXUS_ABLATE="fence,ledger"` switches guards off, to prove that
//! the tests notice.

/// Kills the process here if a test asked for it.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &'static str) {}

/// Whether a test has switched this guard off.
#[cfg(not(feature = "failpoints"))]
#[inline]
#[must_use]
pub fn ablated(_guard: &'static str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub use armed::{ablated, hit};

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static POINTS: LazyLock<BTreeMap<String, (u64, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var("NEXUS_FAILPOINTS").unwrap_or_default();
        let points = text.split(';').filter_map(|point| point.split_once('='));
        points
            .filter_map(|(name, hits)| Some((name.trim().to_owned(), hits.trim().parse().ok()?)))
            .map(|(name, hits)| (name, (hits, AtomicU64::new(0))))
            .collect()
    });

    static ABLATED: LazyLock<Vec<String>> = LazyLock::new(|| {
        let text = std::env::var("NEXUS_ABLATE").unwrap_or_default();
        text.split(',').map(|guard| guard.trim().to_owned()).collect()
    });

    pub fn hit(name: &'static str) {
        let Some((hits, count)) = POINTS.get(name) else { return };
        if count.fetch_add(1, Ordering::SeqCst) + 1 == *hits {
            // For the log of the test that asked: this was no other kill.
            let _ = std::io::stderr().write_all(format!("killed at {name}\n").as_bytes());
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    pub fn ablated(guard: &'static str) -> bool {
        ABLATED.iter().any(|ablated| ablated == guard)
    }
}
