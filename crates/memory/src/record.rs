use std::sync::Arc;

use nexus_bus::{Delivery, Handler, failpoint};
use nexus_contracts::{Event, IncomingRequest, ProcessedRequest};

use crate::error::Error;
use crate::interactions::Row;
use crate::mind::Mind;

/// Records what was asked.
#[derive(Debug)]
pub(crate) struct Record(pub(crate) Arc<Mind>);

impl Handler for Record {
    type In = IncomingRequest;
    type Out = IncomingRequest;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<IncomingRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<IncomingRequest>>, Error> {
        if !event.payload.kind.is_turn() {
            return Ok(None);
        }
        self.0.known(event.metadata.tenant)?;
        let row = Row::Request(Box::new(event.clone()), delivery);
        self.0.writing.run(event.metadata.tenant.0, row).await?;
        failpoint::hit("memory.after_record");
        Ok(None)
    }
}

/// Records what was answered.
#[derive(Debug)]
pub(crate) struct Learn(pub(crate) Arc<Mind>);

impl Handler for Learn {
    type In = ProcessedRequest;
    type Out = ProcessedRequest;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<ProcessedRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<ProcessedRequest>>, Error> {
        if !event.payload.kind.is_turn() {
            return Ok(None);
        }
        self.0.known(event.metadata.tenant)?;
        let row = Row::Reply(Box::new(event.clone()), delivery);
        self.0.writing.run(event.metadata.tenant.0, row).await?;
        failpoint::hit("memory.after_learn");
        self.0.learned.notify_waiters();
        Ok(None)
    }
}
