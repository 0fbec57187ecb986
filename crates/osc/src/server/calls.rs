//! What clients with a session ask for.

use nexus_contracts::{Metadata, Token};
use uuid::Uuid;

use super::{Server, Work};
use crate::ask;
use crate::peer::Peer;
use crate::protocol::{Ask, Call, Refusal, Reply};
use crate::session::Asked;

/// Token messages that one `resend` may ask for.
const MAX_RESENT: usize = 64;

/// Where a packet came from, and how many bytes it may be answered with when nobody is known there.
pub(super) struct Origin {
    pub(super) source: Peer,
    pub(super) allowance: usize,
}

impl Server {
    pub(super) fn call(&mut self, call: Call, origin: &mut Origin) -> Result<(), Refusal> {
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
    fn touched(&mut self, session: &str, req: &str, source: Peer) -> Result<Uuid, Refusal> {
        let now = (self.now)();
        let known = self.table.touch(session, source, now);
        let id = known.ok_or_else(|| Refusal::new(req, "unknown_session", "say hello first"))?;
        self.recheck(id, now);
        Ok(id)
    }

    fn ask(&mut self, ask: &Ask, source: Peer) -> Result<(), Refusal> {
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
        let (bus, history, report) = (self.bus.clone(), self.history.clone(), self.report.clone());
        self.tasks.spawn(async move {
            let published = ask::publish(&bus, &history, &event).await;
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
        source: Peer,
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

    fn cancel(&mut self, session: &str, req: &str, source: Peer) -> Result<(), Refusal> {
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
        let now = (self.now)();
        let known = self.table.at(origin.source, now).next().map(|(_, session)| session.reply);
        if let Some(reply) = known {
            return self.out.push((reply, full));
        }
        let short = Reply::Error { req, code, message: "" }.encode();
        let Some(error) = [full, short].into_iter().find(|error| error.len() <= origin.allowance)
        else {
            return;
        };
        if !self.strangers.may_answer(now) {
            return;
        }
        origin.allowance -= error.len();
        self.out.push((origin.source.replying_to(reply_port.unwrap_or(0)), error));
    }

    pub(super) fn reply(&mut self, id: Uuid, reply: Reply<'_>) {
        if let Some(session) = self.table.session(id) {
            self.out.push((session.reply, reply.encode()));
        }
    }
}

pub(super) fn conflict(req: &str) -> Refusal {
    Refusal::new(req, "conflict", "this req was another question; number questions freshly")
}
