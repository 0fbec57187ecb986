use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the process has finished starting. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on the process is ready, as long as its servers answer.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
