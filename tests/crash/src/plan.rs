use std::time::Duration;

/// A guard that is switched off, to see that its loss is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ablation {
    /// The broker does not check epochs.
    Fence,
    /// Workers acknowledge before they publish.
    AckFirst,
    /// Commands get random ids.
    RandomIds,
    /// Effects are not recorded.
    Ledger,
}

impl Ablation {
    pub(crate) fn guard(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::AckFirst => "ack-first",
            Self::RandomIds => "ids",
            Self::Ledger => "ledger",
        }
    }

    /// Whether calls stay unanswered without the guard, so that short limits end the run sooner.
    pub(crate) fn leaves_calls_open(self) -> bool {
        matches!(self, Self::AckFirst | Self::RandomIds)
    }

    /// The kill points at which the loss of the guard shows.
    fn points(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Fence => &[],
            Self::AckFirst => {
                &[("inference", "bus.after_early_ack"), ("tools", "bus.after_early_ack")]
            }
            Self::RandomIds => &[("orchestrator", "orchestrator.after_publish")],
            Self::Ledger => &[("tools", "bus.after_handle")],
        }
    }
}

/// Every named step, with the worker that passes it.
const POINTS: &[(&str, &str)] = &[
    ("orchestrator", "orchestrator.after_claim"),
    ("orchestrator", "orchestrator.after_fold"),
    ("orchestrator", "orchestrator.after_receive"),
    ("orchestrator", "orchestrator.before_publish"),
    ("orchestrator", "orchestrator.after_publish"),
    ("orchestrator", "orchestrator.before_checkpoint"),
    ("orchestrator", "orchestrator.after_checkpoint"),
    ("inference", "bus.after_receive"),
    ("inference", "inference.after_call"),
    ("inference", "bus.after_handle"),
    ("inference", "bus.after_publish"),
    ("inference", "bus.after_ack"),
    ("tools", "bus.after_receive"),
    ("tools", "tools.after_claim"),
    ("tools", "tools.after_effect"),
    ("tools", "tools.after_done"),
    ("tools", "bus.after_handle"),
    ("tools", "bus.after_publish"),
    ("tools", "bus.after_ack"),
    ("memory", "bus.after_receive"),
    ("memory", "memory.after_record"),
    ("memory", "memory.after_learn"),
    ("memory", "bus.after_publish"),
    ("memory", "bus.after_ack"),
    ("gateway", "web.after_publish"),
    ("telegram", "telegram.after_publish"),
    ("telegram", "telegram.after_cursor"),
    ("telegram", "telegram.after_send"),
    ("telegram", "telegram.after_edit"),
    ("osc", "osc.before_publish"),
    ("osc", "osc.after_publish"),
];

/// What one run of the matrix does.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub seed: u64,
    /// Requests over all adapters, at least.
    pub requests: usize,
    /// Kills at each named step.
    pub kills: usize,
    pub(crate) points: Vec<(&'static str, &'static str)>,
    /// Random kills of workers and servers, and pauses of orchestrators, go on meanwhile.
    pub random: bool,
    pub ablation: Option<Ablation>,
    /// Longest time for load and faults.
    pub limit: Duration,
}

impl Plan {
    /// Everything: 2,000 requests, 20 kills at each step.
    #[must_use]
    pub fn full(seed: u64) -> Self {
        Self {
            name: "full".to_owned(),
            seed,
            requests: 2000,
            kills: 20,
            points: POINTS.to_vec(),
            random: true,
            ablation: None,
            limit: Duration::from_secs(2400),
        }
    }

    /// Small enough for every commit: each step once.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        let (requests, kills, limit) = (150, 1, Duration::from_secs(150));
        Self { name: "small".to_owned(), requests, kills, limit, ..Self::full(seed) }
    }

    /// How long clients may wait for what they asked last.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(if self.ablation.is_some() { 20 } else { 120 })
    }

    /// A run that has to fail.
    #[must_use]
    pub fn ablated(ablation: Ablation, seed: u64) -> Self {
        Self {
            name: format!("without {}", ablation.guard()),
            seed,
            requests: 60,
            kills: 4,
            points: ablation.points().to_vec(),
            random: false,
            ablation: Some(ablation),
            limit: Duration::from_secs(60),
        }
    }
}
