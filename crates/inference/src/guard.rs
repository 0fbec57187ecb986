use reqwest::Client;

use crate::http;

/// The client for addresses that people bring with their keys: their names are resolved to public
/// addresses only, at each connection, and redirects are not followed. Addresses that are numbers
/// are checked with the credential, because a client asks no resolver about them.
pub(crate) fn client() -> reqwest::Result<Client> {
    http::settings().dns_resolver(nexus_egress::PublicOnly).build()
}
