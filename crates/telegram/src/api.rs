//! One call of the Bot API: what goes out, and what its answer means.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::Error;

/// A Bot API server, as one bot reaches it.
pub(crate) struct Api {
    /// Made anew when a connection stalls: a broken one of HTTP/2 would be used again.
    http: RwLock<reqwest::Client>,
    address: String,
    token: SecretString,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What Telegram answers to any call.
#[derive(Deserialize)]
struct Answer<T> {
    ok: bool,
    result: Option<T>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// A body of another type than JSON.
pub(crate) struct Body {
    pub(crate) content_type: String,
    pub(crate) bytes: bytes::Bytes,
}

impl Api {
    pub(crate) fn new(api: &str, token: &SecretString, token_env: &str) -> Result<Self, Error> {
        let token = token.expose_secret().trim();
        if bot_id(token).is_none() {
            return Err(Error::Config {
                what: format!("{token_env} is empty or no token of a bot"),
                hint: "put in the line that @BotFather gave you, digits:letters",
            });
        }
        let hint = "set telegram.api to an address such as https://api.telegram.org";
        let no_url = |what: String| Error::Config { what, hint };
        let address =
            Url::parse(api).map_err(|error| no_url(format!("telegram.api is {api:?}: {error}")))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(no_url(format!("telegram.api has the scheme {:?}", address.scheme())));
        }
        Ok(Self {
            http: RwLock::new(http()?),
            address: address.as_str().trim_end_matches('/').to_owned(),
            token: token.into(),
        })
    }

    /// The bot's id, which its token begins with.
    pub(crate) fn bot_id(&self) -> i64 {
        bot_id(self.token.expose_secret()).unwrap_or_default()
    }

    pub(crate) fn token(&self) -> &SecretString {
        &self.token
    }

    /// Forgets all connections.
    pub(crate) fn renew(&self) {
        match http() {
            Ok(fresh) => *self.http.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::warn!(%error, "no fresh connection"),
        }
    }

    fn http(&self) -> reqwest::Client {
        self.http.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, Error> {
        let request = self.http().post(self.method(method)).timeout(timeout).json(body);
        answer(method, request).await
    }

    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: Body,
        timeout: Duration,
    ) -> Result<T, Error> {
        let request = self.http().post(self.method(method)).timeout(timeout);
        let request = request.header(CONTENT_TYPE, body.content_type).body(body.bytes);
        answer(method, request).await
    }

    /// Fetches a file by the path that `getFile` gave.
    pub(crate) async fn download(
        &self,
        path: &str,
        limit: u64,
        timeout: Duration,
    ) -> Result<bytes::Bytes, Error> {
        const METHOD: &str = "file";
        let address = format!("{}/file/bot{}/{path}", self.address, self.token.expose_secret());
        let request = self.http().get(address).timeout(timeout);
        let mut response = request.send().await.map_err(Error::transport(METHOD))?;
        if !response.status().is_success() {
            let code = response.status().as_u16();
            let description = "the file cannot be fetched".to_owned();
            let (retry_after, migrated_to) = (None, None);
            return Err(Error::Refused {
                method: METHOD,
                code,
                description,
                retry_after,
                migrated_to,
            });
        }
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(Error::transport(METHOD))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > limit {
                return Err(Error::FileTooLarge { bytes: bytes.len() as u64, limit });
            }
        }
        Ok(bytes.into())
    }

    fn method(&self, method: &str) -> String {
        format!("{}/bot{}/{method}", self.address, self.token.expose_secret())
    }
}

/// The digits before the colon, if it is a token at all.
fn bot_id(token: &str) -> Option<i64> {
    let (id, secret) = token.split_once(':')?;
    let is_secret = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_token = !secret.is_empty() && secret.chars().all(is_secret);
    id.parse().ok().filter(|id| is_token && *id > 0)
}

fn http() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        // A redirect would carry the token to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(Error::transport("client"))
}

async fn answer<T: DeserializeOwned>(
    method: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<T, Error> {
    let response = request.send().await.map_err(Error::transport(method))?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(Error::transport(method))?;
    let answer: Answer<T> = match serde_json::from_slice(&bytes) {
        Ok(answer) => answer,
        Err(source) if status.is_success() => return Err(Error::Unreadable { method, source }),
        // A proxy's page.
        Err(_) => Answer {
            ok: false,
            result: None,
            error_code: Some(status.as_u16()),
            description: status.canonical_reason().map(str::to_owned),
            parameters: None,
        },
    };
    match answer {
        Answer { ok: true, result: Some(result), .. } => Ok(result),
        Answer { error_code, description, parameters, .. } => {
            let parameters = parameters.unwrap_or_default();
            Err(Error::Refused {
                method,
                code: error_code.unwrap_or_else(|| status.as_u16()),
                description: description.unwrap_or_else(|| "no reason given".to_owned()),
                retry_after: parameters.retry_after.map(Duration::from_secs),
                migrated_to: parameters.migrate_to_chat_id,
            })
        }
    }
}
