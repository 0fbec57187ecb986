//! Processor time and memory of process trees from `/proc`, and what a run came to.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What `/proc` counts processor time in, per second (`USER_HZ`, 100 on every Linux).
const TICKS_PER_SECOND: f64 = 100.0;
/// Pause between two looks at the memory of the measured processes.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What the clients of a run saw.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Milliseconds of each right answer, in any order.
    pub latencies_ms: Vec<f64>,
    /// Answers that were refused, missing or wrong.
    pub errors: u64,
    /// The first of these errors.
    pub sample_error: Option<String>,
}

impl Outcome {
    /// Counts a failure, and keeps the first one's text.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.errors += 1;
        self.sample_error.get_or_insert_with(|| why.into());
    }

    /// Takes in what another client saw.
    pub fn merge(&mut self, other: Self) {
        self.latencies_ms.extend(other.latencies_ms);
        self.errors += other.errors;
        self.sample_error = self.sample_error.take().or(other.sample_error);
    }
}

/// One line of results.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub label: String,
    /// Clients at once.
    pub c: usize,
    /// Right answers.
    pub ok: usize,
    /// Answers that were refused, missing or wrong.
    pub errors: u64,
    /// Seconds the run took.
    pub wall_s: f64,
    /// Right answers a second.
    pub per_s: f64,
    /// Latency that half of the answers stay below.
    pub p50_ms: f64,
    /// Latency that 99 of 100 answers stay below.
    pub p99_ms: f64,
    /// Longest latency.
    pub max_ms: f64,
    /// User and system seconds of the measured processes for 1000 right answers.
    pub cpu_s_per_1000: f64,
    /// Highest memory seen, a page shared by n processes counted 1/n times in each.
    pub pss_peak_mib: f64,
    /// Cores used by programs that are no part of the test.
    pub other_cores: f64,
    /// The first error.
    pub sample_error: Option<String>,
}

/// Measures process trees from its start to [`Meter::finish`].
#[derive(Debug)]
pub struct Meter {
    measured: Vec<u32>,
    known: Vec<u32>,
    started: Instant,
    cpu: f64,
    others: f64,
    stop: Sender<()>,
    peak_mib: JoinHandle<f64>,
}

impl Meter {
    /// Starts to measure the trees of `measured`; those of `helpers`, and this
    /// process, belong to the test but are not what it measures.
    pub fn start(measured: &[u32], helpers: &[u32]) -> Self {
        let known = [measured, helpers, &[std::process::id()]].concat();
        let (stop, stopped) = mpsc::channel();
        let pids = measured.to_vec();
        let peak_mib = thread::spawn(move || {
            let mut peak = 0_f64;
            loop {
                peak = peak.max(memory_mib(&pids));
                if stopped.recv_timeout(SAMPLE_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return peak.max(memory_mib(&pids));
                }
            }
        });
        Self {
            measured: measured.to_vec(),
            cpu: cpu_seconds(measured),
            others: machine_cpu_seconds() - cpu_seconds(&known),
            known,
            started: Instant::now(),
            stop,
            peak_mib,
        }
    }

    /// Ends the measurement.
    pub fn finish(self, label: String, clients: usize, mut outcome: Outcome) -> Report {
        let wall_s = self.started.elapsed().as_secs_f64();
        let cpu = cpu_seconds(&self.measured) - self.cpu;
        let others = machine_cpu_seconds() - cpu_seconds(&self.known) - self.others;
        drop(self.stop);
        let latencies = &mut outcome.latencies_ms;
        latencies.sort_by(f64::total_cmp);
        let answers = latencies.len() as f64;
        Report {
            label,
            c: clients,
            ok: latencies.len(),
            errors: outcome.errors,
            wall_s: rounded(wall_s),
            per_s: rounded(answers / wall_s),
            p50_ms: rounded(percentile(latencies, 50.0)),
            p99_ms: rounded(percentile(latencies, 99.0)),
            max_ms: rounded(percentile(latencies, 100.0)),
            cpu_s_per_1000: rounded(cpu * 1000.0 / answers),
            pss_peak_mib: rounded(self.peak_mib.join().unwrap_or(f64::NAN)),
            other_cores: rounded(others.max(0.0) / wall_s),
            sample_error: outcome.sample_error,
        }
    }
}

fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// The smallest value that `p` of 100 values are not above; not a number for none.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Parent and processor ticks, reaped children included, from `/proc/PID/stat`.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command before it may hold spaces and brackets.
    let after_name = line.get(line.rfind(')')? + 2..)?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|f| f.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

/// The given processes and all their descendants.
fn tree(roots: &[u32]) -> HashSet<u32> {
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids {
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut seen, mut todo) = (HashSet::new(), roots.to_vec());
    while let Some(pid) = todo.pop() {
        if seen.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    seen
}

fn cpu_seconds(roots: &[u32]) -> f64 {
    let ticks: u64 = tree(roots).into_iter().filter_map(stat).map(|(_, ticks)| ticks).sum();
    ticks as f64 / TICKS_PER_SECOND
}

fn memory_mib(roots: &[u32]) -> f64 {
    let kib: f64 = tree(roots)
        .into_iter()
        .filter_map(|pid| {
            let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
            // Who forbids dumps shows its maps to nobody but root; then shared pages count whole.
            read("smaps_rollup").or_else(|| read("status"))
        })
        .filter_map(|text| {
            let line = text.lines().find_map(|line| {
                line.strip_prefix("Pss:").or_else(|| line.strip_prefix("VmRSS:"))
            })?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        })
        .sum();
    kib / 1024.0
}

/// Seconds that any program on this machine has used since it started.
fn machine_cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, irq, softirq, steal; between them idle and iowait
    let used: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| fields.get(i)).sum();
    used as f64 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([50.0, 99.0, 100.0].map(|p| percentile(&values, p)), [100.0, 198.0, 200.0]);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn meter_sees_its_own_process() {
        let me = [std::process::id()];
        let meter = Meter::start(&me, &[]);
        let outcome = Outcome { latencies_ms: vec![1.0, 3.0, 2.0], ..Outcome::default() };
        let report = meter.finish("self".into(), 1, outcome);
        assert_eq!((report.ok, report.p50_ms, report.max_ms), (3, 2.0, 3.0));
        assert!(report.pss_peak_mib > 0.0);
    }
}
