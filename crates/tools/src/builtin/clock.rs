use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use nexus_contracts::{Effect, Timestamp, ToolSpec};
use serde_json::{Value, json};

use crate::tool::{CallContext, Output, Tool, ToolError};

/// The zones that came with this build: the same answer on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Areas whose zones are named after cities.
const AREAS: [&str; 11] = [
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
    "Etc",
];

pub(crate) struct Clock {
    now: fn() -> Timestamp,
}

impl Clock {
    pub(crate) fn new(now: fn() -> Timestamp) -> Self {
        Self { now }
    }

    fn tell(&self, wanted: Option<&str>) -> Result<String, ToolError> {
        let zone = match wanted.map(str::trim).filter(|name| !name.is_empty()) {
            None => TimeZone::UTC,
            Some(name) => find(name).ok_or_else(|| {
                let message = format!(
                    "there is no time zone {name:?}; give an IANA name such as Europe/Berlin"
                );
                ToolError::failed("unknown_time_zone", message)
            })?,
        };
        let at = jiff::Timestamp::from((self.now)()).to_zoned(zone);
        Ok(at.strftime("%Y-%m-%dT%H:%M:%S%:z[%Q], %A").to_string())
    }
}

impl Tool for Clock {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "clock".to_owned(),
            description: "Tells the date, the time and the day of the week now, in a time zone."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "time_zone": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "IANA name such as Europe/Berlin, or a city such as Tokyo that a zone is named after. UTC when left out.",
                } },
                "additionalProperties": false,
            }),
            effect: Effect::Read,
            timeout_ms: 1_000,
            client: None,
        }
    }

    fn call(&self, arguments: Value, _: CallContext) -> BoxFuture<'_, Result<Output, ToolError>> {
        let told = self.tell(arguments.get("time_zone").and_then(Value::as_str));
        Box::pin(async { Ok(told?.into()) })
    }
}

/// A zone by its name, or by the city at the end of its name.
fn find(name: &str) -> Option<TimeZone> {
    let name = name.replace(' ', "_");
    if let Ok(zone) = ZONES.get(&name) {
        return Some(zone);
    }
    let names = ZONES.available().map(|zone| zone.to_string());
    let mut of_cities =
        names.filter(|zone| AREAS.iter().any(|area| zone.split('/').next() == Some(*area)));
    let found = of_cities.find(|zone| {
        zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&name))
    })?;
    ZONES.get(&found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(zone: Option<&str>) -> Result<String, ToolError> {
        Clock::new(|| "2026-11-20T12:00:03.987654Z".parse().unwrap()).tell(zone)
    }

    #[test]
    fn time_in_zones() {
        let cases = [
            (None, "2026-11-20T12:00:03+00:00[UTC], Friday"),
            (Some(""), "2026-11-20T12:00:03+00:00[UTC], Friday"),
            (Some("UTC"), "2026-11-20T12:00:03+00:00[UTC], Friday"),
            (Some("Asia/Tokyo"), "2026-11-20T21:00:03+09:00[Asia/Tokyo], Friday"),
            (Some("Tokyo"), "2026-11-20T21:00:03+09:00[Asia/Tokyo], Friday"),
            (Some(" tokyo "), "2026-11-20T21:00:03+09:00[Asia/Tokyo], Friday"),
            (Some("europe/berlin"), "2026-11-20T13:00:03+01:00[Europe/Berlin], Friday"),
            (Some("New York"), "2026-11-20T07:00:03-05:00[America/New_York], Friday"),
            (
                Some("Buenos Aires"),
                "2026-11-20T09:00:03-03:00[America/Argentina/Buenos_Aires], Friday",
            ),
            (Some("Kathmandu"), "2026-11-20T17:45:03+05:45[Asia/Kathmandu], Friday"),
            (Some("Auckland"), "2026-11-21T01:00:03+13:00[Pacific/Auckland], Saturday"),
        ];
        for (zone, expected) in cases {
            assert_eq!(tell(zone).unwrap(), expected, "{zone:?}");
        }
    }

    #[test]
    fn an_unknown_zone_is_named() {
        for zone in ["Atlantis", "Europe/", "/", "../../etc/passwd", "Europe"] {
            let error = tell(Some(zone)).unwrap_err();
            assert!(matches!(error, ToolError::Failed { code: "unknown_time_zone", .. }), "{zone}");
        }
    }
}
