//! One target's socket: what goes out, what comes in, and who waits for it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexus_bus::Bus;
use nexus_contracts::{TenantId, Timestamp};
use nexus_osc_codec::{
    Argument, EncodeError, Limits, Message, Pattern, TimeTag, Timed, decode, encode_bundle,
    encode_message,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::allow::{Allow, is_near};
use super::declared::Declared;
use super::log::{Log, Recorder};
use super::profile::Profile;
use super::record::{Recording, Rule, Verdict, leads};
use crate::tool::ToolError;

/// Largest UDP payload.
const MAX_RECEIVED: usize = 65_536;
/// Largest datagram that is sent: many receivers have buffers of this size.
const MAX_SENT: usize = 8_192;
/// A target that was heard so lately need not be asked whether it is there.
const LATELY: Duration = Duration::from_secs(10);
/// Answers to one question.
const MOST_ANSWERS: usize = 1_024;
/// Renewal of subscriptions that no profile asks for.
const SELDOM: Duration = Duration::from_secs(3600);
/// Answers to a question with wildcards: nothing more for so long is the end of them.
const QUIET: Duration = Duration::from_millis(100);

/// A declared target that can be talked to.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) declared: Declared,
    pub(crate) profile: Arc<Profile>,
    pub(crate) allow: Allow,
    pub(crate) log: Log,
    peer: SocketAddr,
    socket: UdpSocket,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    heard_at: Option<Instant>,
}

/// Somebody who has asked something.
#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    answers: mpsc::Sender<Message>,
}

/// Which messages answer a question.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) pattern: Pattern,
    /// What they begin with.
    pub(crate) ids: Vec<Argument>,
}

/// Why there is no answer, or why nothing was sent.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Nothing came in time.
    Silent,
    /// The target says what is wrong.
    Refused(String),
    NotSent(io::Error),
    /// More than fits a packet.
    TooLong,
    Unwritable(EncodeError),
}

impl Link {
    /// Resolves the target's name and binds the port that it answers to.
    ///
    /// # Errors
    /// What is wrong and what to do, for the log.
    pub(crate) async fn open(
        name: &str,
        declared: Declared,
        profile: Arc<Profile>,
        bus: &Bus,
        now: fn() -> Timestamp,
    ) -> Result<(Self, Recorder, Recording), String> {
        if let Some(fault) = profile.fault() {
            return Err(format!("profile {:?}: {fault}", declared.profile));
        }
        let patterns = declared.allow.iter().chain(&profile.allow);
        let allow = Allow::compile(patterns.chain(profile.own_addresses()))
            .map_err(|(text, error)| format!("allow {text:?}: {error}"))?;
        let rules: Vec<Rule> =
            declared.record.iter().map(|text| Rule::read(text)).collect::<Result<_, _>>()?;
        let recording =
            Recording::new(rules, profile.subscribe.is_some(), declared.max_recorded_per_s);
        let peer = resolve(&declared).await?;
        let reply = declared.reply_address(peer, &profile);
        let socket = UdpSocket::bind(reply).await.map_err(|error| {
            format!("listening for its answers on {reply}: {error}; is another program, or another target, using this reply_port?")
        })?;
        let (log, recorder) = Log::new(bus, name, declared.tenant, now)?;
        let state = Mutex::default();
        let name = name.to_owned();
        Ok((Self { name, declared, profile, allow, log, peer, socket, state }, recorder, recording))
    }

    pub(crate) fn serves(&self, tenant: TenantId) -> bool {
        self.declared.tenant == tenant
    }

    /// Sends messages: one as it is, several, or one for later, as a bundle.
    ///
    /// # Errors
    /// [`NoAnswer::NotSent`], [`NoAnswer::TooLong`] or [`NoAnswer::Unwritable`]: nothing has gone out.
    pub(crate) async fn send(&self, due: TimeTag, messages: &[Message]) -> Result<(), NoAnswer> {
        let packet = match messages {
            [message] if due.is_immediate() => encode_message(message),
            messages => encode_bundle(due, messages),
        };
        let packet = packet.map_err(NoAnswer::Unwritable)?;
        if packet.len() > MAX_SENT {
            return Err(NoAnswer::TooLong);
        }
        self.socket.send_to(&packet, self.peer).await.map_err(NoAnswer::NotSent)?;
        metrics::counter!("nexus_tools_osc_sent_total", "target" => self.name.clone()).increment(1);
        Ok(())
    }

    /// Asks, and waits for the answer; for all answers where the address has wildcards.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn ask(
        &self,
        question: Message,
        wanted: Wanted,
        limit: Duration,
    ) -> Result<Vec<Message>, NoAnswer> {
        let one = wanted.pattern.is_literal();
        let end = tokio::time::Instant::now() + limit;
        let (sender, mut answers) = mpsc::channel(MOST_ANSWERS);
        self.wait_for(wanted, sender);
        self.send(TimeTag::IMMEDIATE, &[question]).await?;
        let mut heard = Vec::new();
        loop {
            let until = match heard.is_empty() {
                true => end,
                false => end.min(tokio::time::Instant::now() + QUIET),
            };
            match tokio::time::timeout_at(until, answers.recv()).await {
                Ok(Some(message)) if self.is_error(&message) => {
                    return Err(NoAnswer::Refused(error_text(&message)));
                }
                Ok(Some(message)) => heard.push(message),
                Ok(None) | Err(_) if heard.is_empty() => return Err(NoAnswer::Silent),
                Ok(None) | Err(_) => return Ok(heard),
            }
            if one || heard.len() >= MOST_ANSWERS {
                return Ok(heard);
            }
        }
    }

    /// Those who have gone since are forgotten.
    fn wait_for(&self, wanted: Wanted, answers: mpsc::Sender<Message>) {
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.answers.is_closed());
        state.waiting.push(Waiting { wanted, answers });
    }

    /// Whether the target is there: it was heard lately, or answers its profile's ping.
    pub(crate) async fn is_there(&self) -> bool {
        let lately = self.lock().heard_at.is_some_and(|at| at.elapsed() < LATELY);
        let Some(ping) = self.profile.ping.as_ref().filter(|_| !lately) else { return true };
        let Ok(pattern) = Pattern::compile(ping) else { return true };
        let wanted = Wanted { pattern, ids: Vec::new() };
        let question = Message::new(ping, Vec::new());
        !matches!(self.ask(question, wanted, self.declared.timeout).await, Err(NoAnswer::Silent))
    }

    /// What a model is told when there is no answer.
    pub(crate) fn explain(&self, why: NoAnswer) -> ToolError {
        match why {
            NoAnswer::Silent => ToolError::failed("no_answer", self.silence()),
            NoAnswer::Refused(text) => {
                ToolError::failed("refused", format!("{} says: {text}", self.name))
            }
            NoAnswer::NotSent(error) => ToolError::failed(
                "not_sent",
                format!("sending to {} ({}): {error}", self.name, self.declared.address),
            ),
            NoAnswer::TooLong => ToolError::failed(
                "too_long",
                format!("more than {MAX_SENT} bytes in one packet; send fewer messages at once"),
            ),
            NoAnswer::Unwritable(error) => ToolError::failed("invalid_message", error.to_string()),
        }
    }

    /// Why a message to this address may not be sent.
    ///
    /// # Errors
    /// For the model: what may be sent.
    pub(crate) fn check(&self, address: &str) -> Result<(), ToolError> {
        if self.allow.permits(address) {
            return Ok(());
        }
        let text = format!(
            "{address:?} may not be sent to {}; allowed are: {}",
            self.name,
            self.allow.text()
        );
        Err(ToolError::failed("address_not_allowed", text))
    }

    fn silence(&self) -> String {
        let heard = self.socket.local_addr().map_or(0, |address| address.port());
        let hint = if self.profile.silent.is_empty() {
            format!("is it running, and does it answer to UDP port {heard}?")
        } else {
            self.profile.silent.clone()
        };
        format!(
            "{} ({}) did not answer within {} ms: {hint}",
            self.name,
            self.declared.address,
            self.declared.timeout.as_millis()
        )
    }

    /// Listens, and keeps its subscriptions, for ever.
    pub(crate) async fn listen(&self, mut recording: Recording) {
        let subscriptions = self.subscriptions(&recording);
        let renew = self.profile.subscribe.as_ref().map(|subscribe| subscribe.renew);
        let mut renewal = tokio::time::interval(renew.unwrap_or(SELDOM).max(QUIET));
        let mut buffer = vec![0; MAX_RECEIVED];
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((size, source)) if source.ip().to_canonical() == self.peer.ip().to_canonical() => {
                        self.packet(buffer.get(..size).unwrap_or_default(), &mut recording);
                    }
                    Ok(_) => self.dropped("stranger"),
                    Err(error) => {
                        tracing::debug!(target_name = %self.name, %error, "receiving failed");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                _ = renewal.tick(), if !subscriptions.is_empty() => {
                    for message in &subscriptions {
                        if let Err(error) = self.send(TimeTag::IMMEDIATE, std::slice::from_ref(message)).await {
                            tracing::debug!(target_name = %self.name, ?error, "subscribing failed");
                        }
                    }
                }
            }
        }
    }

    fn subscriptions(&self, recording: &Recording) -> Vec<Message> {
        let Some(subscribe) = &self.profile.subscribe else { return Vec::new() };
        recording.rules().iter().filter_map(|rule| rule.subscription(subscribe)).collect()
    }

    fn packet(&self, bytes: &[u8], recording: &mut Recording) {
        let at = self.log.now();
        let mut messages = match decode(bytes, &Limits::default()) {
            Ok(messages) => messages,
            Err(error) => {
                tracing::debug!(target_name = %self.name, %error, "a packet that is no osc");
                return self.dropped("unreadable");
            }
        };
        self.wake(&messages);
        match recording.judge(&mut messages, at.as_micros()) {
            Verdict::Keep if self.log.heard(&messages, at) => {}
            Verdict::Keep | Verdict::Drop => self.dropped("too_many"),
            Verdict::Ignore => {}
        }
    }

    /// Hands answers to those who have asked.
    fn wake(&self, messages: &[Timed]) {
        let mut state = self.lock();
        state.heard_at = Some(Instant::now());
        for Timed { message, .. } in messages {
            for waiting in &state.waiting {
                if self.is_error(message) || waiting.wanted.fits(message) {
                    // Whoever has so many answers waiting needs no more.
                    let _ = waiting.answers.try_send(message.clone());
                }
            }
        }
    }

    fn is_error(&self, message: &Message) -> bool {
        self.profile.error.as_ref() == Some(&message.address)
    }

    fn dropped(&self, reason: &'static str) {
        metrics::counter!("nexus_tools_osc_dropped_total", "target" => self.name.clone(), "reason" => reason).increment(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn fits(&self, message: &Message) -> bool {
        self.pattern.matches(&message.address) && leads(&self.ids, &message.arguments)
    }
}

fn error_text(message: &Message) -> String {
    let texts = message.arguments.iter().filter_map(nexus_osc_codec::coerce::text);
    texts.collect::<Vec<_>>().join(" ")
}

async fn resolve(declared: &Declared) -> Result<SocketAddr, String> {
    let address = &declared.address;
    let mut found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("address {address:?}: {error}; give host:port"))?;
    let peer = found.next().ok_or_else(|| format!("address {address:?} has no IP address"))?;
    if declared.remote || is_near(peer.ip()) {
        Ok(peer)
    } else {
        Err(format!(
            "{peer} is neither this machine nor in a private network, and OSC is not encrypted; set remote = true if that is meant"
        ))
    }
}
