use std::process::ExitCode;

use anyhow::Result;
use nexus_bus::{Bus, Chain, DeadLetters, Topology};
use nexus_store::Store;
use serde_json::json;

use crate::bus_config;
use crate::config::Settings;
use crate::installation::Installation;

/// One check: what was looked at, and what to do when it is wrong.
struct Check {
    name: &'static str,
    result: Result<String, String>,
}

/// Says what is wrong with this installation, and the mend.
pub(crate) async fn run(settings: &Settings, json: bool) -> Result<ExitCode> {
    let mut checks = vec![servers(settings), spec(settings), master_keys(settings)];
    match Installation::find(settings) {
        Err(error) => checks.push(Check { name: "running", result: Err(format!("{error:#}")) }),
        Ok(installation) => {
            checks.push(gateway(&installation).await);
            checks.extend(bus(settings, &installation).await);
            checks.extend(database(settings, &installation).await);
            let result = crate::vault::look_at_rows(settings).await;
            let result = result.map_err(|error| format!("{error:#}"));
            checks.push(Check { name: "vault", result });
        }
    }
    let healthy = checks.iter().all(|check| check.result.is_ok());
    for check in &checks {
        let (mark, text) = match &check.result {
            Ok(text) => ("ok", text),
            Err(text) => ("WRONG", text),
        };
        if json {
            say!("{}", json!({ "check": check.name, "ok": check.result.is_ok(), "detail": text }));
        } else {
            say!("{mark:<6} {:<14} {text}", check.name);
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn servers(settings: &Settings) -> Check {
    let config = &settings.config;
    if config.nats_url.is_some() {
        return Check { name: "servers", result: Ok("external, as configured".to_owned()) };
    }
    let folders = crate::up::server_folders(config);
    let found = nexus_embedded::find_nats(&folders).and_then(|nats| {
        let postgres = nexus_embedded::find_postgres(&folders)?;
        Ok(format!(
            "{} and PostgreSQL {} in {}",
            nats.display(),
            postgres.major,
            postgres.bin.display()
        ))
    });
    Check { name: "servers", result: found.map_err(|error| Chain(&error).to_string()) }
}

fn spec(settings: &Settings) -> Check {
    let spec = bus_config::spec(settings.bus_config().as_deref(), settings.config.durability);
    let place = settings
        .bus_config()
        .map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
    Check { name: "bus-config", result: spec.map(|_| place).map_err(|error| format!("{error:#}")) }
}

fn master_keys(settings: &Settings) -> Check {
    Check { name: "master keys", result: crate::vault::look_at_keys(settings) }
}

async fn gateway(installation: &Installation) -> Check {
    let ask = async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(std::time::Duration::from_secs(3))
            .build()?;
        client.get(format!("{}/readyz", installation.http)).send().await?.text().await
    };
    let result = match ask.await {
        Ok(text) if text.contains("\"ready\":true") => {
            Ok(format!("{} is ready", installation.http))
        }
        Ok(text) => Err(format!("{} is not ready: {text}", installation.http)),
        Err(_) => {
            Err(format!("nothing answers at {}; start it with `nexus up`", installation.http))
        }
    };
    Check { name: "gateway", result }
}

async fn bus(settings: &Settings, installation: &Installation) -> Vec<Check> {
    let bus = match Bus::connect(&installation.nats_url, "nexus doctor").await {
        Ok(bus) => bus,
        Err(error) => return vec![Check { name: "nats", result: Err(Chain(&error).to_string()) }],
    };
    let mut checks = vec![Check { name: "nats", result: Ok("connected".to_owned()) }];
    if let Ok(spec) = bus_config::spec(settings.bus_config().as_deref(), settings.config.durability)
    {
        let result = match Topology::new(&bus, &spec).plan().await {
            Ok(changes) if changes.is_empty() => Ok("as described".to_owned()),
            Ok(changes) => Err(format!(
                "{} differences; see `nexus bus plan`, mend with `nexus bus apply`",
                changes.len()
            )),
            Err(error) => Err(Chain(&error).to_string()),
        };
        checks.push(Check { name: "topology", result });
    }
    let result = match DeadLetters::new(&bus).list().await {
        Ok(letters) if letters.is_empty() => Ok("none".to_owned()),
        Ok(letters) => {
            Err(format!("{} messages were given up; see `nexus dead list`", letters.len()))
        }
        Err(error) => Err(Chain(&error).to_string()),
    };
    checks.push(Check { name: "dead letters", result });
    checks
}

async fn database(settings: &Settings, installation: &Installation) -> Vec<Check> {
    let store = match Store::connect(&installation.database_url, &settings.config.database) {
        Ok(store) => store,
        Err(error) => {
            return vec![Check { name: "database", result: Err(Chain(&error).to_string()) }];
        }
    };
    if let Err(error) = store.ping().await {
        return vec![Check { name: "database", result: Err(Chain(&error).to_string()) }];
    }
    let result = match nexus_store::lint(store.pool()).await {
        Ok(findings) if findings.is_empty() => Ok("tenants are kept apart".to_owned()),
        Ok(findings) => Err(findings
            .iter()
            .map(|found| format!("{} {}", found.subject, found.problem))
            .collect::<Vec<_>>()
            .join("; ")),
        Err(error) => Err(Chain(&error).to_string()),
    };
    vec![
        Check { name: "database", result: Ok("connected".to_owned()) },
        Check { name: "row security", result },
    ]
}
