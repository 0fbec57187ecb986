//! Recorded OSC packets sent again, with their timing.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use nexus_contracts::{Event, EventType, OscMessage, OscReceived, OscSent, Timestamp};
use nexus_osc_codec::{EncodeError, Message, TimeTag, encode_bundle, encode_message};
use serde_json::json;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::cli::{Misuse, now};
use crate::records::Record;

/// Where OSC is recorded.
pub(super) const CHANNEL: &str = "osc";
/// From the plan to the first packet: time to start the thread.
const LEAD: Duration = Duration::from_millis(50);
/// The last stretch before a packet is waited for awake: a sleep may be late by so much when the
/// thread goes before all others, and when it is one among many.
const AWAKE: Duration = Duration::from_micros(200);
const LONG_AWAKE: Duration = Duration::from_micros(1_500);

#[derive(Debug, Args)]
pub(super) struct Sending {
    /// Send the recorded OSC packets there again: osc://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with_all = ["verify", "save"])]
    pub(super) to: Option<String>,
    /// With --to: the host may be another machine
    #[arg(long, requires = "to")]
    allow_remote: bool,
}

/// What one event has said.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    at: Timestamp,
    messages: Vec<OscMessage>,
}

/// A packet and when it goes out, from the start.
#[derive(Debug, Clone, PartialEq)]
struct Planned {
    after: Duration,
    packet: Vec<u8>,
}

/// Sends what the records hold.
pub(super) async fn play(
    records: &[&Record],
    to: &str,
    options: &Sending,
    speed: Option<f64>,
    json: bool,
) -> Result<ExitCode> {
    let speed = speed.unwrap_or(1.0);
    if !(speed.is_finite() && speed > 0.0) {
        return Err(
            Misuse(format!("--speed {speed}: give a number above 0, such as 1 or 0.5")).into()
        );
    }
    let to = target(to, options.allow_remote).await?;
    let heard: Vec<Heard> = records.iter().filter_map(|record| heard(record)).collect();
    anyhow::ensure!(!heard.is_empty(), "no OSC events were recorded there");
    let starts_at = now().as_micros() + micros(LEAD);
    let start = Instant::now() + LEAD;
    let planned = plan(heard, starts_at, speed).context("writing the recorded packets")?;
    let mut errors = send(to, start, planned).await?;
    errors.sort_unstable();
    let (p50, p99) = (millis(quantile(&errors, 50)), millis(quantile(&errors, 99)));
    let (packets, seconds) = (errors.len(), start.elapsed().as_secs_f64());
    if json {
        say!(
            "{}",
            json!({ "packets": packets, "seconds": seconds, "timing_error_p50_ms": p50, "timing_error_p99_ms": p99 })
        );
    } else {
        say!(
            "sent {packets} packets to {to} in {seconds:.1} s, timing error p50 {p50:.3} ms, p99 {p99:.3} ms"
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn target(url: &str, allow_remote: bool) -> Result<SocketAddr> {
    let place = url.strip_prefix("osc://").map(|place| place.trim_end_matches('/'));
    let wrong =
        || Misuse(format!("--to {url:?}: give osc://HOST:PORT, such as osc://127.0.0.1:57120"));
    let place = place.ok_or_else(wrong)?;
    let mut found = tokio::net::lookup_host(place).await.map_err(|_| wrong())?;
    let to = found.next().ok_or_else(wrong)?;
    if to.ip().is_loopback() || allow_remote {
        return Ok(to);
    }
    Err(Misuse(format!(
        "{to} is another machine, and OSC is not encrypted; add --allow-remote if that is meant"
    ))
    .into())
}

fn heard(record: &Record) -> Option<Heard> {
    let (at, messages) = match record.kind? {
        EventType::OscReceived => {
            let event = Event::<OscReceived>::decode(&record.bytes).ok()?;
            (event.timestamp, event.payload.known.messages)
        }
        EventType::OscSent => {
            let event = Event::<OscSent>::decode(&record.bytes).ok()?;
            (event.timestamp, event.payload.known.messages)
        }
        _ => return None,
    };
    (!messages.is_empty()).then_some(Heard { at, messages })
}

/// The packets in the order of their times; time tags are moved to where the replay is in time.
///
/// # Errors
/// When a recorded message is none: the export has been changed.
fn plan(mut heard: Vec<Heard>, starts_at_us: i64, speed: f64) -> Result<Vec<Planned>> {
    heard.sort_by_key(|heard| heard.at);
    let first = heard.first().map_or(0, |heard| heard.at.as_micros());
    let mut planned = Vec::with_capacity(heard.len());
    for Heard { at, messages } in heard {
        let offset = at.as_micros() - first;
        // What is due at one time came in one bundle.
        for together in messages.chunk_by(|a, b| a.due_us == b.due_us) {
            let due_us = together.first().map_or(0, |message| message.due_us);
            let due = match due_us {
                0 => TimeTag::IMMEDIATE,
                _ => TimeTag::from_unix_micros(starts_at_us + scaled(offset + due_us, speed)),
            };
            let messages: Vec<Message> = together.iter().map(read).collect::<Result<_>>()?;
            let after = Duration::from_micros(scaled(offset, speed).unsigned_abs());
            planned.push(Planned { after, packet: packet(due, &messages)? });
        }
    }
    Ok(planned)
}

fn read(kept: &OscMessage) -> Result<Message> {
    let arguments = kept.arguments.iter().map(nexus_tools::osc::played).collect::<Option<_>>();
    let arguments =
        arguments.with_context(|| format!("an argument of {} cannot be read", kept.address))?;
    Ok(Message::new(&kept.address, arguments))
}

fn packet(due: TimeTag, messages: &[Message]) -> Result<Vec<u8>, EncodeError> {
    match messages {
        [message] if due.is_immediate() => encode_message(message),
        messages => encode_bundle(due, messages),
    }
}

/// Sends the packets at their times; how far each was off, in microseconds.
async fn send(to: SocketAddr, start: Instant, planned: Vec<Planned>) -> Result<Vec<u64>> {
    let from: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(from).context("opening a UDP socket")?;
    let (done, ended) = tokio::sync::oneshot::channel();
    // A thread of its own: tasks of the runtime would wait for each other.
    let thread = std::thread::Builder::new().name("osc replay".to_owned());
    thread
        .spawn(move || {
            let awake = if hurry() { AWAKE } else { LONG_AWAKE };
            let _ = done.send(keep_time(&socket, to, start, &planned, awake));
        })
        .context("starting the thread that sends")?;
    ended.await.context("the thread that sends broke")?.with_context(|| format!("sending to {to}"))
}

/// Puts this thread before all others, where the user may (`ulimit -r`, as for audio programs):
/// on a busy machine the difference between milliseconds and microseconds.
fn hurry() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let Ok(least) = ThreadPriorityValue::try_from(1_u8) else { return false };
    let priority = ThreadPriority::Crossplatform(least);
    set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok()
}

#[allow(clippy::disallowed_methods, reason = "the thread is this loop's own")]
fn keep_time(
    socket: &UdpSocket,
    to: SocketAddr,
    start: Instant,
    planned: &[Planned],
    awake: Duration,
) -> std::io::Result<Vec<u64>> {
    let mut errors = Vec::with_capacity(planned.len());
    for Planned { after, packet } in planned {
        let due = start + *after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()).saturating_sub(awake));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        socket.send_to(packet, to)?;
        let off = Instant::now().saturating_duration_since(due);
        errors.push(u64::try_from(off.as_micros()).unwrap_or(u64::MAX));
    }
    Ok(errors)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "microseconds of a recording, far from 2^53"
)]
fn scaled(micros: i64, speed: f64) -> i64 {
    (micros as f64 / speed).round() as i64
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// The value that so many percent do not exceed; `sorted` ascends.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use nexus_contracts::OscArgument;

    use super::*;

    fn said(at_us: i64, messages: &[(&str, i64)]) -> Heard {
        let message = |(address, due_us): &(&str, i64)| OscMessage {
            address: (*address).to_owned(),
            arguments: vec![OscArgument::Int(1)],
            due_us: *due_us,
        };
        let at = Timestamp::from_micros(1_700_000_000_000_000 + at_us);
        Heard { at, messages: messages.iter().map(message).collect() }
    }

    fn message(address: &str) -> Message {
        Message::new(address, vec![1.into()])
    }

    #[test]
    fn packets_keep_their_distances_and_bundles_their_time_from_then_to_now() {
        let heard = vec![
            said(500_000, &[("/later", 100_000), ("/with", 100_000), ("/now", 0)]),
            said(0, &[("/one", 0)]),
            said(250_000, &[("/a", 0), ("/b", 0)]),
        ];
        let start = 1_800_000_000_000_000;
        let planned = plan(heard, start, 2.0).unwrap();
        let after = |micros, packet: Result<Vec<u8>, EncodeError>| Planned {
            after: Duration::from_micros(micros),
            packet: packet.unwrap(),
        };
        let tag = TimeTag::from_unix_micros(start + 300_000);
        let expected = [
            after(0, encode_message(&message("/one"))),
            after(125_000, encode_bundle(TimeTag::IMMEDIATE, &[message("/a"), message("/b")])),
            after(250_000, encode_bundle(tag, &[message("/later"), message("/with")])),
            after(250_000, encode_message(&message("/now"))),
        ];
        assert_eq!(planned, expected);
    }

    #[test]
    fn a_changed_argument_is_an_error_that_names_its_message() {
        let mut heard = said(0, &[("/one", 0)]);
        heard.messages[0].arguments = vec![OscArgument::Long("x".to_owned())];
        let refused = plan(vec![heard], 0, 1.0).unwrap_err();
        assert_eq!(refused.to_string(), "an argument of /one cannot be read");
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let errors: Vec<u64> = (1..=200).collect();
        assert_eq!((quantile(&errors, 50), quantile(&errors, 99)), (100, 198));
        assert_eq!((quantile(&[7], 99), quantile(&[], 50)), (7, 0));
    }

    #[tokio::test]
    async fn other_machines_are_refused_unless_they_are_meant() {
        for wrong in ["127.0.0.1:9", "udp://127.0.0.1:9", "osc://127.0.0.1", "osc://"] {
            let refused = target(wrong, true).await.unwrap_err();
            assert!(refused.is::<Misuse>() && refused.to_string().contains("osc://HOST:PORT"));
        }
        let refused = target("osc://192.0.2.1:9", false).await.unwrap_err();
        assert!(refused.to_string().contains("--allow-remote"));
        let there: SocketAddr = "192.0.2.1:9".parse().unwrap();
        assert_eq!(target("osc://192.0.2.1:9", true).await.unwrap(), there);
        assert!(target("osc://127.0.0.1:9/", false).await.is_ok());
    }
}
