//! `/v1/keys/providers`: the keys of model providers that people bring. They go in and never come
//! out: answers show a hint, whose it is, and what the provider said to it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use nexus_bus::Chain;
use nexus_contracts::LOCAL_TENANT;
use nexus_vault::{KeyRefused, NewKey, Owner, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::keys::Principal;
use crate::refused::{self, Refused};

/// The user for whom `nexus up` makes the first key: whoever runs this installation.
const OPERATOR: &str = "local";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    #[default]
    User,
    Tenant,
}

/// Whose key is meant.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    #[serde(default)]
    scope: Scope,
}

/// The body of `PUT`. Not `Debug`: it holds the key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    key: String,
    #[serde(default)]
    base_url: Option<String>,
    #[serde(default = "yes")]
    test: bool,
}

fn yes() -> bool {
    true
}

/// The keys that are used for who asks.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let who = app.authorize(&headers).await?;
    let owner = Owner::user(who.tenant, who.user);
    let listed = app.provider_keys.list(&owner).await.map_err(|error| refused(error.into()))?;
    Ok(Json(json!({ "object": "list", "data": listed })))
}

/// Takes a key, after its provider has taken it.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    Query(whose): Query<Whose>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Status>), Refused> {
    let owner = owner(app.authorize(&headers).await?, whose.scope, Right::Change)?;
    let body = refused::whole(body).await?;
    // The reader's own words may repeat what was sent.
    let given: Given = serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refused::invalid(format!(
            "The body is no key (line {line}, column {column}); send {{\"key\": ..., \"base_url\": optional, \"test\": true}}."
        ))
    })?;
    let new = NewKey {
        secret: given.key.into(),
        base_url: given.base_url.as_deref(),
        untested: !given.test,
    };
    let added = app.provider_keys.add(&owner, &provider, new).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// What is known of a key.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    Query(whose): Query<Whose>,
    headers: HeaderMap,
) -> Result<Json<Status>, Refused> {
    let owner = owner(app.authorize(&headers).await?, whose.scope, Right::Look)?;
    let status = app.provider_keys.status(&owner, &provider).await;
    let status = status.map_err(|error| refused(error.into()))?;
    status.map(Json).ok_or_else(|| refused(KeyRefused::None { provider }))
}

/// Asks the provider whether it takes the key that is kept.
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    Query(whose): Query<Whose>,
    headers: HeaderMap,
) -> Result<Json<Status>, Refused> {
    let owner = owner(app.authorize(&headers).await?, whose.scope, Right::Change)?;
    app.provider_keys.test(&owner, &provider).await.map(Json).map_err(refused)
}

/// Takes a key away.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(provider): Path<String>,
    Query(whose): Query<Whose>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    let owner = owner(app.authorize(&headers).await?, whose.scope, Right::Change)?;
    app.provider_keys.remove(&owner, &provider).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody wants to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Look,
    Change,
}

fn owner(who: Principal, scope: Scope, right: Right) -> Result<Owner, Refused> {
    let runs_it = who.tenant == LOCAL_TENANT && who.user == OPERATOR;
    match (scope, right) {
        (Scope::User, Right::Look | Right::Change) => Ok(Owner::user(who.tenant, who.user)),
        (Scope::Tenant, Right::Change) if !runs_it => {
            let message = "This API key may not change the tenant's keys: only whoever runs this installation may, also with `nexus keys provider`.";
            Err(Refused::new(StatusCode::FORBIDDEN, "not_allowed", message.to_owned()))
        }
        (Scope::Tenant, Right::Look | Right::Change) => Ok(Owner::tenant(who.tenant)),
    }
}

fn refused(error: KeyRefused) -> Refused {
    let (status, code) = match &error {
        KeyRefused::UnknownProvider { .. } => (StatusCode::NOT_FOUND, "unknown_provider"),
        KeyRefused::None { .. } => (StatusCode::NOT_FOUND, "no_key"),
        KeyRefused::TakesNone { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "takes_no_key"),
        KeyRefused::Shape { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_key"),
        KeyRefused::Address(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_base_url"),
        KeyRefused::NotAccepted { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "key_not_accepted"),
        KeyRefused::Untestable { .. } => (StatusCode::BAD_GATEWAY, "key_not_tested"),
        KeyRefused::Vault(error) => {
            // Which row or file it is concerns the operator alone.
            tracing::error!(error = %Chain(error), "the vault does not work");
            let message = match error {
                nexus_vault::Error::Untold(_) => error.to_string(),
                _ => "Keys cannot be kept or read now; try again.".to_owned(),
            };
            return Refused::new(StatusCode::SERVICE_UNAVAILABLE, "vault_unavailable", message);
        }
    };
    Refused::new(status, code, sentence(&error.to_string()))
}

/// An error's text as a sentence, as all other messages here.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use nexus_contracts::TenantId;
    use uuid::Uuid;

    use super::*;

    fn who(tenant: TenantId, user: &str) -> Principal {
        Principal { tenant, user: user.to_owned(), key: Uuid::nil() }
    }

    #[test]
    fn only_the_operator_changes_a_tenants_keys() {
        let other = TenantId(Uuid::from_u128(9));
        let allowed = |tenant, user, scope, right| owner(who(tenant, user), scope, right).ok();
        for right in [Right::Look, Right::Change] {
            let ada = Some(Owner::user(other, "ada"));
            assert_eq!(allowed(other, "ada", Scope::User, right), ada);
            let tenants = Some(Owner::tenant(LOCAL_TENANT));
            assert_eq!(allowed(LOCAL_TENANT, "local", Scope::Tenant, right), tenants);
        }
        assert_eq!(allowed(LOCAL_TENANT, "ada", Scope::Tenant, Right::Change), None);
        assert_eq!(allowed(other, "local", Scope::Tenant, Right::Change), None);
        let looked = allowed(other, "ada", Scope::Tenant, Right::Look);
        assert_eq!(looked, Some(Owner::tenant(other)));
    }

    #[test]
    fn what_is_refused_has_a_code_and_a_sentence() {
        let shape = KeyRefused::Shape { reason: "it is empty".to_owned() };
        let body = refused(shape).body().clone();
        assert_eq!(body.code.as_deref(), Some("invalid_key"));
        assert_eq!(body.message, "A key of the wrong shape: it is empty.");
        let closed = nexus_vault::Error::NoKeys { place: "/data/master.keys".to_owned() };
        let body = refused(closed.into()).body().clone();
        assert_eq!(body.message, "Keys cannot be kept or read now; try again.");
    }
}
