//! From datagrams to what is done about them.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_contracts::{Metadata, Token};
use uuid::Uuid;

use super::{Server, Work};
use crate::ask;
use crate::codec;
use crate::protocol::{Ask, Call, Hello, Refusal, Reply};
use crate::session::{Asked, wire_name};

/// Longest look-up of a key.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Token messages that one `resend` may ask for.
const MAX_RESENT: usize = 64;

/// Where a datagram came from, and how many bytes it may be answered with when nobody is known there.
pub(super) struct Origin {
    pub(super) source: SocketAddr,
    pub(super) allowance: usize,
}

impl Server {
    pub(super) fn datagram(&mut self, bytes: &[u8], source: SocketAddr) {
        let mut origin = Origin { source, allowance: bytes.len() };
        let packet = match codec::decode(bytes, (self.now)()) {
            Ok(packet) => packet,
            Err(error) => {
                metrics::counter!("nexus_osc_datagrams_total", "result" => "malformed")
                    .increment(1);
                let refusal = Refusal::new("", error.code(), error.to_string());
                return self.refuse(&mut origin, None, &refusal);
            }
        };
        metrics::counter!("nexus_osc_datagrams_total", "result" => "read").increment(1);
        metrics::counter!("nexus_osc_late_bundles_total").increment(packet.late);
        for message in &packet.messages {
            let done = Call::read(message).and_then(|call| self.call(call, &mut origin));
            if let Err(refusal) = done {
                self.refuse(&mut origin, None, &refusal);
            }
        }
    }

    fn call(&mut self, call: Call, origin: &mut Origin) -> Result<(), Refusal> {
        match call {
            Call::Hello(hello) => self.hello(hello, origin),
            Call::Ask(ask) => self.ask(&ask, origin.source),
            Call::Resend { session, req, from, to } => {
                self.resend(session.as_deref(), &req, (from, to), origin.source)
            }
            Call::Cancel { session, req } => self.cancel(&session, &req, origin.source),
            Call::Ping { session } => {
                let id = self.touched(&session, "", origin.source)?;
                self.reply(id, Reply::Pong { session: &session });
                Ok(())
            }
        }
    }

    /// The session, if it may speak from there.
    fn touched(&mut self, session: &str, req: &str, source: SocketAddr) -> Result<Uuid, Refusal> {
        let known = self.table.touch(session, source, (self.now)());
        known.ok_or_else(|| Refusal::new(req, "unknown_session", "say hello first"))
    }

    fn hello(&mut self, hello: Hello, origin: &mut Origin) -> Result<(), Refusal> {
        let known = self.table.knows(&wire_name(&hello));
        if !known && self.guard.refuses(&hello.token, origin.source.ip(), (self.now)()) {
            self.unauthorised(&hello, origin);
            return Ok(());
        }
        let Ok(permit) = self.verifying.clone().try_acquire_owned() else {
            return Err(Refusal::new("", "busy", "too many clients say hello at once; try again"));
        };
        let (verifying, report) = ((self.verify)(hello.token.clone()), self.report.clone());
        let (source, size) = (origin.source, origin.allowance);
        // It answers later, so the rest of this datagram is answered with nothing.
        origin.allowance = 0;
        self.tasks.spawn(async move {
            let speaker = tokio::time::timeout(VERIFY_TIMEOUT, verifying).await.ok().flatten();
            // The permit goes before the report, so that waiting reports hold up no look-up.
            drop(permit);
            let _ = report.send(Work::Verified { source, size, hello, speaker }).await;
        });
        Ok(())
    }

    fn ask(&mut self, ask: &Ask, source: SocketAddr) -> Result<(), Refusal> {
        let id = self.touched(&ask.session, &ask.req, source)?;
        let refusal = |code, message: &str| Refusal::new(&ask.req, code, message);
        let native = ask.conversation.clone().unwrap_or_else(|| id.to_string());
        let conversation =
            Token::encode(&native).map_err(|error| refusal("bad_request", &error.to_string()))?;
        let known = self.table.run(id, &self.channel, &ask.req).zip(self.table.session(id));
        let Some((run, session)) = known else {
            return Ok(());
        };
        let place = Metadata::at(session.tenant, self.channel.clone(), conversation.clone());
        let event = ask::event(run, place, &session.user, ask, (self.now)());
        let Ok(permit) = self.publishing.clone().try_acquire_owned() else {
            return Err(refusal("busy", "too many questions at once; try again"));
        };
        match self.table.ask(id, run, &conversation, ask) {
            Asked::New => {}
            Asked::Pending => return Ok(()),
            Asked::Repeated => {
                self.reply(id, Reply::Accepted { req: &ask.req, run: &run.to_string() });
                return Ok(());
            }
            Asked::Conflict => return Err(conflict(&ask.req)),
            Asked::TooMany => {
                return Err(refusal("busy", "too many questions of this session are open"));
            }
        }
        let (bus, report) = (self.bus.clone(), self.report.clone());
        self.tasks.spawn(async move {
            let published = ask::publish(&bus, &event).await;
            drop(permit);
            let _ = report.send(Work::Published { run, published }).await;
        });
        Ok(())
    }

    fn resend(
        &mut self,
        session: Option<&str>,
        req: &str,
        (from, to): (usize, usize),
        source: SocketAddr,
    ) -> Result<(), Refusal> {
        let unknown = || {
            Refusal::new(
                req,
                "unknown_request",
                "it was never asked, or is forgotten; ask it again",
            )
        };
        let id = match session {
            Some(session) => self.touched(session, req, source)?,
            None => {
                // Two sessions may share a socket; then it is the one that asked.
                let there: Vec<(Uuid, String)> = self
                    .table
                    .at(source, (self.now)())
                    .map(|(id, session)| (id, session.wire.clone()))
                    .collect();
                if there.is_empty() {
                    return Err(Refusal::new(req, "unknown_session", "say hello first"));
                }
                let asked = |id| {
                    self.table
                        .run(id, &self.channel, req)
                        .is_some_and(|run| self.table.request(run).is_some())
                };
                let (_, wire) = there.into_iter().find(|(id, _)| asked(*id)).ok_or_else(unknown)?;
                self.touched(&wire, req, source)?
            }
        };
        let again = self
            .table
            .run(id, &self.channel, req)
            .and_then(|run| self.table.again(run, from, to, MAX_RESENT));
        let datagrams = again.ok_or_else(unknown)?;
        if let Some(reply) = self.table.session(id).map(|session| session.reply) {
            self.out.extend(datagrams.into_iter().map(|datagram| (reply, datagram)));
        }
        Ok(())
    }

    fn cancel(&mut self, session: &str, req: &str, source: SocketAddr) -> Result<(), Refusal> {
        let id = self.touched(session, req, source)?;
        let run = self.table.run(id, &self.channel, req);
        let Some((run, request)) =
            run.and_then(|run| self.table.request(run).map(|request| (run, request)))
        else {
            return Err(Refusal::new(
                req,
                "unknown_request",
                "ask it again with the same req, then cancel it",
            ));
        };
        let place =
            Metadata::at(request.tenant, self.channel.clone(), request.conversation.clone());
        let Ok(permit) = self.publishing.clone().try_acquire_owned() else {
            return Err(Refusal::new(req, "busy", "too many questions at once; try again"));
        };
        let (bus, report, at) = (self.bus.clone(), self.report.clone(), (self.now)());
        self.tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = ask::cancel(&bus, run, place, at).await {
                let _ = report
                    .send(Work::NotCancelled {
                        run,
                        code: error.code(),
                        message: error.to_string(),
                    })
                    .await;
            }
        });
        Ok(())
    }

    /// Says no: in full to a client that is known, otherwise in no more bytes than came in.
    pub(super) fn refuse(
        &mut self,
        origin: &mut Origin,
        reply_port: Option<u16>,
        refusal: &Refusal,
    ) {
        metrics::counter!("nexus_osc_refused_total", "code" => refusal.code).increment(1);
        let Refusal { req, code, message } = refusal;
        let full = Reply::Error { req, code, message }.encode();
        let known =
            self.table.at(origin.source, (self.now)()).next().map(|(_, session)| session.reply);
        if let Some(reply) = known {
            return self.out.push((reply, full));
        }
        let short = Reply::Error { req, code, message: "" }.encode();
        let Some(error) = [full, short].into_iter().find(|error| error.len() <= origin.allowance)
        else {
            return;
        };
        origin.allowance -= error.len();
        let port = reply_port.filter(|port| *port != 0).unwrap_or_else(|| origin.source.port());
        self.out.push((SocketAddr::new(origin.source.ip(), port), error));
    }

    fn reply(&mut self, id: Uuid, reply: Reply<'_>) {
        if let Some(session) = self.table.session(id) {
            self.out.push((session.reply, reply.encode()));
        }
    }
}

pub(super) fn conflict(req: &str) -> Refusal {
    Refusal::new(req, "conflict", "this req was another question; number questions freshly")
}
