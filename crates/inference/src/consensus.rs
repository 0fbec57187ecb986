//! How far several answers to the same question agree, and which of them to give. Pure.
//!
//! Answers are grouped by what they come to: the same tool calls, the same value (the field
//! `answer` of a JSON object, a choice's letter, the last number), or, where an answer comes to
//! nothing that short, much the same words. What an answer comes to depends on it alone, so that a
//! later sample never takes earlier groups apart: a majority that is settled stays one.
//!
//! Source: Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning", section 2.

mod extract;

use nexus_contracts::Consensus;

use crate::call::Completion;
use extract::{Gist, gist};

/// Share of common words from which two texts say much the same.
const SAME: f64 = 0.8;

/// The answer to give, as its index, and how far all of them agree.
///
/// It is the first of the largest group; of groups of one size the one that began first. Without
/// answers there is nothing to give: index 0, all shares 0.
pub(crate) fn weigh(answers: &[&Completion], asked: u32) -> (usize, Consensus) {
    let gists: Vec<Gist> = answers.iter().map(|answer| gist(answer)).collect();
    let groups = group(&gists);
    let chosen = groups.first().and_then(|group| group.first()).copied().unwrap_or(0);
    let clusters: Vec<u32> = groups.iter().map(|group| count(group.len())).collect();
    let answered = count(answers.len());
    let share = |size: u32| f64::from(size) / f64::from(answered);
    let majority_share = clusters.first().map_or(0.0, |size| share(*size));
    let entropy = clusters.iter().map(|size| -share(*size) * share(*size).log2()).sum::<f64>();
    let method = gists.get(chosen).map_or("none", Gist::method).to_owned();
    let consensus = Consensus {
        asked,
        answered,
        method,
        clusters,
        majority_share,
        disagreement: 1.0 - majority_share,
        // One group: minus zero otherwise.
        entropy: entropy.max(0.0),
    };
    (chosen, consensus)
}

/// Whether the samples that are still to come cannot change which group is the largest.
pub(crate) fn settled(answers: &[&Completion], asked: u32) -> bool {
    let missing = asked.saturating_sub(count(answers.len()));
    if missing == 0 {
        return true;
    }
    let gists: Vec<Gist> = answers.iter().map(|answer| gist(answer)).collect();
    let groups = group(&gists);
    let Some((largest, others)) = groups.split_first() else { return false };
    let is_text = |group: &&Vec<usize>| {
        group.first().and_then(|index| gists.get(*index)).is_some_and(Gist::is_text)
    };
    // A text between two groups of texts makes them one.
    let texts: usize = others.iter().filter(is_text).map(Vec::len).sum();
    let values = others.iter().filter(|group| !is_text(group)).map(Vec::len).max().unwrap_or(0);
    count(largest.len()) > count(texts.max(values)).saturating_add(missing)
}

/// Indices by group, the largest group first, each in order.
fn group(gists: &[Gist]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, this) in gists.iter().enumerate() {
        let same = |other: &usize| gists.get(*other).is_some_and(|other| alike(this, other));
        let (joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.iter().any(same));
        groups = apart;
        let mut group = joined.concat();
        group.push(index);
        group.sort_unstable();
        groups.push(group);
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group.first().copied()));
    groups
}

fn alike(one: &Gist, other: &Gist) -> bool {
    match (one, other) {
        (Gist::Words(one), Gist::Words(other)) => {
            let common = one.intersection(other).count();
            let all = one.len() + other.len() - common;
            all == 0 || ratio(common, all) >= SAME
        }
        _ => one == other,
    }
}

fn ratio(part: usize, all: usize) -> f64 {
    f64::from(count(part)) / f64::from(count(all))
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
