use std::error::Error as StdError;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::is_public;

/// Resolves names to their public addresses, for the client that connects to them.
///
/// A client does not ask its resolver about addresses that are numbers: those are [`Guard`]'s.
///
/// [`Guard`]: crate::Guard
#[derive(Debug, Clone, Copy, Default)]
pub struct PublicOnly;

/// A name has no public address.
#[derive(Debug, thiserror::Error)]
#[error("{name} has no public address")]
pub struct NotPublic {
    name: String,
}

impl PublicOnly {
    /// The public addresses of a name, at this moment.
    ///
    /// # Errors
    /// [`NotPublic`] when it has addresses and none of them is public; else why it has none.
    pub async fn lookup(name: &str) -> Result<Vec<SocketAddr>, Box<dyn StdError + Send + Sync>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
        if public.is_empty() {
            return Err(NotPublic { name: name.to_owned() }.into());
        }
        Ok(public)
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(
            async move { Ok(Box::new(Self::lookup(name.as_str()).await?.into_iter()) as Addrs) },
        )
    }
}

/// Whether a request failed because [`PublicOnly`] found no public address.
#[must_use]
pub fn is_refused(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |cause| (*cause).source())
        .any(<dyn StdError>::is::<NotPublic>)
}
