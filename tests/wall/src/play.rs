//! An answer on the wire, bent as the scenario wants.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;

use crate::line::Breaker;
use crate::script::{Bend, Ending};

/// Gives what was sent time to arrive before a connection breaks.
const BEFORE_BREAK: Duration = Duration::from_millis(20);

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) kind: BeatKind,
    /// All of it, the empty line at its end included.
    pub(crate) text: String,
}

/// What an event brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeatKind {
    /// Opens, closes, keeps alive.
    Frame,
    /// One token of the text.
    Token,
    /// Begins a call of a tool, without all of its arguments.
    CallBegins,
    /// Brings a call of a tool with all of its arguments.
    CallWhole,
    /// Says that the answer is finished.
    Finish,
    /// Says the usage and nothing else.
    Usage,
    /// Says that the stream is over.
    Sentinel,
}

impl Beat {
    pub(crate) fn new(kind: BeatKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// What is done on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Send(String),
    Wait(Duration),
    /// Break it, without the end of the body.
    Break(Ending),
}

/// Waits of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) latency: Duration,
    pub(crate) pause: Duration,
}

/// The steps of a stream; `in_band` says a failure within it.
pub(crate) fn streamed(
    beats: Vec<Beat>,
    bend: &Bend,
    pace: Pace,
    in_band: Option<String>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut tokens = 0;
    let latency = if let Bend::Slow(wait) = bend { *wait } else { pace.latency };
    if !latency.is_zero() {
        steps.push(Step::Wait(latency));
    }
    for (i, beat) in beats.into_iter().enumerate() {
        let begins_call = matches!(beat.kind, BeatKind::CallBegins | BeatKind::CallWhole);
        match (bend, beat.kind) {
            (Bend::NoSentinel(_), BeatKind::Sentinel) => continue,
            (Bend::LateUsage(wait), BeatKind::Usage) => steps.push(Step::Wait(*wait)),
            _ => {}
        }
        if beat.kind == BeatKind::Token {
            tokens += 1;
            if !pace.pause.is_zero() {
                steps.push(Step::Wait(pace.pause));
            }
        }
        let text = match bend {
            Bend::Garble(at) if *at == i => half(&beat.text),
            Bend::CutInCall if beat.kind == BeatKind::CallWhole => {
                beat.text[..beat.text.floor_char_boundary(beat.text.len() / 2)].to_owned()
            }
            _ => beat.text,
        };
        steps.push(Step::Send(text));
        match bend {
            Bend::Cut(after, ending) if tokens == *after => {
                steps.extend([Step::Wait(BEFORE_BREAK), Step::Break(*ending)]);
                return steps;
            }
            Bend::CutInCall if begins_call => {
                steps.extend([Step::Wait(BEFORE_BREAK), Step::Break(Ending::Fin)]);
                return steps;
            }
            Bend::Stall(after, silence) if tokens == *after => {
                steps.extend([Step::Wait(*silence), Step::Break(Ending::Fin)]);
                return steps;
            }
            Bend::InBand(after, _) if tokens == *after => {
                steps.extend(in_band.map(Step::Send));
                return steps;
            }
            _ => {}
        }
    }
    if let Bend::NoSentinel(hold) = bend {
        steps.push(Step::Wait(*hold));
    }
    join(steps)
}

/// The steps of an answer in one piece.
pub(crate) fn whole(body: &str, bend: &Bend, pace: Pace) -> Vec<Step> {
    let (middle, mut steps) = (body.floor_char_boundary(body.len() / 2), Vec::new());
    let latency = if let Bend::Slow(wait) = bend { *wait } else { pace.latency };
    if !latency.is_zero() {
        steps.push(Step::Wait(latency));
    }
    let first_half = Step::Send(body[..middle].to_owned());
    match bend {
        Bend::Cut(_, ending) => {
            steps.extend([first_half, Step::Wait(BEFORE_BREAK), Step::Break(*ending)]);
        }
        Bend::CutInCall => {
            steps.extend([first_half, Step::Wait(BEFORE_BREAK), Step::Break(Ending::Fin)]);
        }
        Bend::Stall(_, silence) => {
            steps.extend([first_half, Step::Wait(*silence), Step::Break(Ending::Fin)]);
        }
        Bend::Garble(_) => steps.push(first_half),
        Bend::Straight
        | Bend::Slow(_)
        | Bend::NoSentinel(_)
        | Bend::LateUsage(_)
        | Bend::InBand(..)
        | Bend::Empty => steps.push(Step::Send(body.to_owned())),
    }
    steps
}

/// The first half of an event as an event of its own.
fn half(event: &str) -> String {
    let event = event.trim_end();
    // The name of a named event stays: only its JSON is broken.
    let data = event.find("data: ").map_or(0, |at| at + "data: ".len());
    let middle = event.floor_char_boundary(data + (event.len() - data) / 2);
    format!("{}\n\n", &event[..middle])
}

/// What is sent without a wait in between is sent at once.
fn join(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Send(before)), Step::Send(text)) => before.push_str(&text),
            (_, step) => joined.push(step),
        }
    }
    joined
}

/// Called at the end of an answer, with whether all of it was taken.
pub(crate) type AtEnd = Box<dyn FnOnce(bool) + Send>;

struct Performance {
    steps: std::vec::IntoIter<Step>,
    breaker: Breaker,
    broken: bool,
    /// The scenario did not break it.
    whole: bool,
    at_end: Option<AtEnd>,
}

impl Performance {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.broken {
            return None;
        }
        for step in self.steps.by_ref() {
            match step {
                Step::Send(text) => return Some(Ok(Bytes::from(text))),
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Break(ending) => {
                    (self.whole, self.broken) = (false, true);
                    match ending {
                        Ending::Clean => return None,
                        Ending::Fin => {}
                        Ending::Rst => self.breaker.reset(),
                    }
                    return Some(Err(io::Error::other("cut")));
                }
            }
        }
        self.end(true);
        None
    }

    fn end(&mut self, taken: bool) {
        if let Some(at_end) = self.at_end.take() {
            at_end(taken && self.whole);
        }
    }
}

impl Drop for Performance {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// A body that makes these steps.
pub(crate) fn body(steps: Vec<Step>, breaker: Breaker, at_end: AtEnd) -> Body {
    let (steps, at_end) = (steps.into_iter(), Some(at_end));
    let performance = Performance { steps, breaker, broken: false, whole: true, at_end };
    Body::from_stream(stream::unfold(performance, |mut performance| async move {
        let next = performance.next().await?;
        Some((next, performance))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Pace = Pace { latency: Duration::ZERO, pause: Duration::ZERO };

    fn beats() -> Vec<Beat> {
        let token = |i| Beat::new(BeatKind::Token, format!("data: {{\"t\":{i}}}\n\n"));
        let mut beats = vec![Beat::new(BeatKind::Frame, "data: {}\n\n".into())];
        beats.extend((0..3).map(token));
        beats.push(Beat::new(BeatKind::Sentinel, "data: [DONE]\n\n".into()));
        beats
    }

    fn sent(steps: &[Step]) -> String {
        let sent = steps.iter().filter_map(|step| match step {
            Step::Send(text) => Some(text.as_str()),
            Step::Wait(_) | Step::Break(_) => None,
        });
        sent.collect()
    }

    #[test]
    fn cut_comes_after_the_token_that_is_named() {
        let steps = streamed(beats(), &Bend::Cut(2, Ending::Rst), AT_ONCE, None);
        assert_eq!(sent(&steps), "data: {}\n\ndata: {\"t\":0}\n\ndata: {\"t\":1}\n\n");
        assert_eq!(steps.last(), Some(&Step::Break(Ending::Rst)));
    }

    #[test]
    fn garbled_event_is_one_event_that_is_no_json() {
        let steps = streamed(beats(), &Bend::Garble(1), AT_ONCE, None);
        assert_eq!(sent(&steps).matches("\n\n").count(), beats().len());
        assert!(sent(&steps).contains("data: {\"t\n\n"), "{steps:?}");
    }

    #[test]
    fn straight_answer_is_sent_in_one_piece() {
        assert_eq!(streamed(beats(), &Bend::Straight, AT_ONCE, None).len(), 1);
    }
}
