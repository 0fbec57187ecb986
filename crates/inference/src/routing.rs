//! Which models are asked for a request, and in which order. Pure.

use nexus_contracts::{InferenceRequest, Route};

use crate::choice::{Choice, Offer, Preference};

/// What will be asked, best first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Never empty.
    pub(crate) targets: Vec<Choice>,
    /// How it was found, when the request left it open.
    pub(crate) route: Option<Route>,
}

/// The plan for a request; `None` when its model means nothing that is offered.
pub(crate) fn plan(
    request: &InferenceRequest,
    preference: Preference<'_>,
    offers: &[Offer],
) -> Option<Plan> {
    let choice = preference.resolve(&request.model, offers)?;
    Some(Plan { targets: vec![choice], route: None })
}
