//! What the tasks beside the loop have done, told to the clients.

use uuid::Uuid;

use super::calls::{Origin, conflict};
use super::{Server, Speaker, Work};
use crate::ask::Published;
use crate::protocol::{Hello, Refusal, Reply};

impl Server {
    /// Takes up what a task has done.
    pub(super) fn done(&mut self, work: Work) {
        match work {
            Work::Verified { source, size, hello, speaker } => {
                self.verified(&hello, speaker, &mut Origin { source, allowance: size });
            }
            Work::Published { run, published } => self.published(run, published),
            Work::NotCancelled { run, code, message } => {
                if let Some((to, request)) = self.table.reply_to(run).zip(self.table.request(run)) {
                    let error = Reply::Error { req: &request.req, code, message: &message };
                    self.out.push((to, error.encode()));
                }
            }
        }
    }

    fn verified(&mut self, hello: &Hello, speaker: Option<Speaker>, origin: &mut Origin) {
        let now = (self.now)();
        let Some(speaker) = speaker else {
            self.guard.refused(&hello.token, origin.source.ip(), now);
            return self.unauthorised(hello, origin);
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

    fn published(&mut self, run: Uuid, published: Published) {
        let Some(to) = self.table.reply_to(run) else {
            return;
        };
        let refusal = match published {
            Published::New | Published::Before(_) => {
                let Some(request) = self.table.accept(run) else {
                    return;
                };
                let accepted = Reply::Accepted { req: &request.req, run: &run.to_string() };
                self.out.push((to, accepted.encode()));
                metrics::counter!("nexus_osc_asked_total").increment(1);
                if let Published::Before(Some(answer)) = published {
                    let tenant = answer.metadata.tenant;
                    self.table.end(tenant, run, &answer.payload.outcome, (self.now)());
                }
                return;
            }
            Published::Conflict => conflict(""),
            Published::Failed { code, message } => Refusal::new("", code, message),
        };
        metrics::counter!("nexus_osc_refused_total", "code" => refusal.code).increment(1);
        if let Some(request) = self.table.withdraw(run) {
            let error =
                Reply::Error { req: &request.req, code: refusal.code, message: &refusal.message };
            self.out.push((to, error.encode()));
        }
    }

    pub(super) fn unauthorised(&mut self, hello: &Hello, origin: &mut Origin) {
        let refusal = Refusal::new("", "unauthorised", "the API key opens nothing");
        self.refuse(origin, Some(hello.reply_port), &refusal);
    }
}
