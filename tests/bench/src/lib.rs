//! Tools that measure Nexus: a strict stand-in for a model provider, and the
//! figures that the load generators print.

pub mod measure;
pub mod mockllm;
pub mod stamp;

/// A client for loopback servers: keep-alive, no proxy, no limit on idle connections.
///
/// # Errors
/// When the TLS part of the client cannot be set up.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    // reqwest wants a provider even for plain HTTP; a second installation changes nothing.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build()
}
