use std::sync::Arc;

use nexus_bus::{Delivery, Handler, failpoint};
use nexus_contracts::{EmbedResponse, Event, InferenceResponse};

use crate::error::Error;
use crate::record::UsageRecord;
use crate::writer::Writer;

/// Records what model calls used.
#[derive(Debug)]
pub(crate) struct Calls(pub(crate) Arc<Writer>);

impl Handler for Calls {
    type In = InferenceResponse;
    type Out = InferenceResponse;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<InferenceResponse>,
        delivery: Delivery,
    ) -> Result<Option<Event<InferenceResponse>>, Error> {
        let records = UsageRecord::of_response(event, delivery.sequence);
        self.0.write(event.metadata.tenant, records).await?;
        failpoint::hit("billing.after_record");
        Ok(None)
    }
}

/// Records what embedding calls used.
#[derive(Debug)]
pub(crate) struct Embeddings(pub(crate) Arc<Writer>);

impl Handler for Embeddings {
    type In = EmbedResponse;
    type Out = EmbedResponse;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<EmbedResponse>,
        delivery: Delivery,
    ) -> Result<Option<Event<EmbedResponse>>, Error> {
        let records = vec![UsageRecord::of_embedded(event, delivery.sequence)];
        self.0.write(event.metadata.tenant, records).await?;
        failpoint::hit("billing.after_record");
        Ok(None)
    }
}
