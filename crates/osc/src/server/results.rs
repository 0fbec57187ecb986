//! What the tasks beside the loop have done, told to the clients.

use uuid::Uuid;

use super::calls::{Origin, conflict};
use super::{Server, Work};
use crate::ask::Published;
use crate::protocol::{Refusal, Reply};
use crate::recording::NotRecorded;

impl Server {
    /// Takes up what a task has done.
    pub(super) fn done(&mut self, work: Work) {
        match work {
            Work::Verified { source, size, hello, verdict } => {
                self.verified(&hello, verdict, &mut Origin { source, allowance: size });
            }
            Work::Rechecked { session, key, verdict } => self.rechecked(session, &key, verdict),
            Work::Published { run, published } => self.published(run, published),
            Work::NotCancelled { run, code, message } => {
                if let Some((to, request)) = self.table.reply_to(run).zip(self.table.request(run)) {
                    let error = Reply::Error { req: &request.req, code, message: &message };
                    self.out.push((to, error.encode()));
                }
            }
            Work::NotRecorded(NotRecorded { session, code, message }) => {
                metrics::counter!("nexus_osc_not_recorded_total", "code" => code).increment(1);
                if self.table.may_tell(session, (self.now)()) {
                    self.reply(session, Reply::Error { req: "", code, message: &message });
                }
            }
        }
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
}
