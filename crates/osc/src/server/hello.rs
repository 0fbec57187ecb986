//! Who speaks: keys are looked up beside the loop, at hello and again while a session lives.

use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::Timestamp;
use uuid::Uuid;

use super::calls::Origin;
use super::{Server, Work};
use crate::protocol::{Hello, Key, Refusal, Reply};
use crate::session::wire_name;
use crate::speaker::Verdict;

/// Longest look-up of a key.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    pub(super) fn hello(&mut self, hello: Hello, origin: &mut Origin) -> Result<(), Refusal> {
        let (host, now) = (origin.source.host(), (self.now)());
        let known = self.table.knows(&wire_name(&hello));
        if !known && self.guard.refuses(&hello.token.0, host, now) {
            self.unauthorised(&hello, origin);
            return Ok(());
        }
        let permits = if known { &self.rechecking } else { &self.verifying };
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            return Err(Refusal::new("", "busy", "too many clients say hello at once; try again"));
        };
        let (looked_up, report) = (self.looked_up(&hello.token), self.report.clone());
        let (source, size) = (origin.source, origin.allowance);
        // It answers later, so the rest of this packet is answered with nothing.
        origin.allowance = 0;
        self.tasks.spawn(async move {
            let verdict = looked_up.await;
            // The permit goes before the report, so that waiting reports hold up no look-up.
            drop(permit);
            let _ = report.send(Work::Verified { source, size, hello, verdict }).await;
        });
        Ok(())
    }

    fn looked_up(&self, key: &Key) -> impl Future<Output = Verdict> + use<> {
        let verifying = (self.verify)(key.0.clone());
        async move {
            tokio::time::timeout(VERIFY_TIMEOUT, verifying).await.unwrap_or(Verdict::Unavailable)
        }
    }

    pub(super) fn verified(&mut self, hello: &Hello, verdict: Verdict, origin: &mut Origin) {
        let now = (self.now)();
        let speaker = match verdict {
            Verdict::Opens(speaker) => speaker,
            Verdict::Nothing => {
                self.guard.refused(&hello.token.0, origin.source.host(), now);
                return self.unauthorised(hello, origin);
            }
            Verdict::Unavailable => {
                let refusal =
                    Refusal::new("", "unavailable", "keys cannot be looked up; try again");
                return self.refuse(origin, Some(hello.reply_port), &refusal);
            }
        };
        let lease_s = self.table.lease_ms() / 1000;
        let Some(session) = self.table.hello(&speaker, hello, &self.channel, origin.source, now)
        else {
            let refusal = Refusal::new("", "too_many_sessions", "try again later");
            return self.refuse(origin, Some(hello.reply_port), &refusal);
        };
        let welcome = Reply::Welcome {
            session: &session.wire,
            lease: &lease_s.to_string(),
            heartbeat_s: lease_s / 3,
        };
        self.out.push((session.reply, welcome.encode()));
    }

    /// Asks about the key of a session that goes on, now and then.
    pub(super) fn recheck(&mut self, session: Uuid, now: Timestamp) {
        let Some(key) = self.table.key_to_check(session, now) else { return };
        let Ok(permit) = Arc::clone(&self.rechecking).try_acquire_owned() else {
            return self.table.check_soon(session);
        };
        let (looked_up, report) = (self.looked_up(&key), self.report.clone());
        self.tasks.spawn(async move {
            let verdict = looked_up.await;
            drop(permit);
            let _ = report.send(Work::Rechecked { session, key, verdict }).await;
        });
    }

    pub(super) fn rechecked(&mut self, session: Uuid, key: &Key, verdict: Verdict) {
        match verdict {
            Verdict::Opens(_) => {}
            Verdict::Unavailable => self.table.check_soon(session),
            Verdict::Nothing => {
                let Some(ended) = self.table.revoke(session, key) else { return };
                metrics::counter!("nexus_osc_revoked_total").increment(1);
                let error = Reply::Error {
                    req: "",
                    code: "unauthorised",
                    message: "the API key was revoked",
                };
                self.out.push((ended.reply, error.encode()));
            }
        }
    }

    fn unauthorised(&mut self, hello: &Hello, origin: &mut Origin) {
        let refusal = Refusal::new("", "unauthorised", "the API key opens nothing");
        self.refuse(origin, Some(hello.reply_port), &refusal);
    }
}
