//! `GET /v1/usage`: what the caller's own model calls used and cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use nexus_billing::{By, Group, Ledger, Question, Totals};
use nexus_contracts::{ACCOUNT_CHANNELS, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::refused::Refused;

/// How far back is looked when nothing is said, in milliseconds: as long as EVENTS keeps events.
const LOOK_BACK_MS: u64 = 30 * 24 * 3600 * 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    by: Option<String>,
}

/// Sums over the caller's calls. A key stands for one user and sees that user's calls alone.
pub(crate) async fn usage(
    State(app): State<Arc<App>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let who = app.authorize(&headers).await?;
    let now = (app.now)();
    let moment = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| moment(name, text, now)).transpose()
    };
    let since = moment("since", &asked.since)?.unwrap_or_else(|| earlier(now, LOOK_BACK_MS));
    let until = moment("until", &asked.until)?;
    let by = asked.by.as_deref().map_or(Ok(By::Model), by)?;
    let user = Some((who.user.clone(), ACCOUNT_CHANNELS.map(str::to_owned).to_vec()));
    let ledger = Ledger::new(app.store.clone());
    let groups = ledger.totals(who.tenant, &Question { since, until, by, user }).await;
    let groups = groups.map_err(|error| {
        tracing::error!(error = %nexus_bus::Chain(&error), "usage cannot be read");
        let message = "Usage cannot be read now; try again.".to_owned();
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    })?;
    let total = groups.iter().map(|group| group.totals).fold(Totals::default(), Totals::plus);
    let groups: Vec<Value> = groups.iter().map(|group| line(by, group)).collect();
    Ok(Json(json!({
        "object": "usage", "since": since, "until": until, "by": by,
        "total": with_dollars(&total), "data": groups,
    })))
}

fn line(by: By, group: &Group) -> Value {
    let mut line = with_dollars(&group.totals);
    if let Some(line) = line.as_object_mut() {
        line.insert(by.as_str().to_owned(), json!(group.name));
    }
    line
}

/// The dollars are text, because they are exact.
fn with_dollars(totals: &Totals) -> Value {
    let mut line = json!(totals);
    if let Some(line) = line.as_object_mut() {
        line.insert("cost_usd".to_owned(), json!(totals.dollars()));
    }
    line
}

fn by(text: &str) -> Result<By, Refused> {
    serde_json::from_value(json!(text)).map_err(|_| {
        let choices = "model, provider, user, tenant, day, month or key";
        Refused::invalid(format!("by: {text:?} is not supported; use {choices}"))
    })
}

/// A moment in RFC 3339, a day, or so long ago.
fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    if let Ok(at) = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()) {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        Refused::invalid(format!(
            "{name}: {text:?} is neither a moment such as 2026-11-20T12:00:00Z, nor a day such as 2026-11-20, nor a duration such as 24h"
        ))
    })?;
    Ok(earlier(now, u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

fn earlier(now: Timestamp, millis: u64) -> Timestamp {
    let micros = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-20T11:00:00Z", "2026-11-20T11:00:00Z"),
            ("2026-11-20T12:00:00+01:00", "2026-11-20T11:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("1h", "2026-11-20T11:00:00Z"),
            ("30d", "2026-10-21T12:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(moment("since", text, now).unwrap(), expected, "{text}");
        }
        let refused = moment("until", "yesterday", now).unwrap_err();
        assert!(refused.body().message.starts_with("until: \"yesterday\" is neither"));
        assert!(moment("since", "99999999999y", now).unwrap() < now, "long ago, not refused");
    }

    #[test]
    fn unknown_sums_are_refused_with_those_that_there_are() {
        assert_eq!(by("key").unwrap(), By::Key);
        assert!(by("colour").unwrap_err().body().message.contains("provider"));
    }
}
