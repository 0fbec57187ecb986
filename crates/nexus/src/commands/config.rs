use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::config::Settings;

/// Prints every setting with its value and where that came from.
pub(crate) fn run(settings: &Settings, json: bool) -> Result<ExitCode> {
    let value = serde_json::to_value(&settings.config)?;
    let mut rows = Vec::new();
    flatten("", &value, &mut rows);
    for (key, value) in rows {
        let source = settings.source_of(&key);
        let shown = if is_address_with_secret(&key, &value) { Value::from("***") } else { value };
        if json {
            say!("{}", serde_json::json!({ "key": key, "value": shown, "source": source }));
        } else {
            say!("{key:<36} {shown:<40} {source}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Server addresses hold tokens and passwords.
fn is_address_with_secret(key: &str, value: &Value) -> bool {
    key.ends_with("_url") && !value.is_null()
}

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, rows);
            }
        }
        other => rows.push((prefix.to_owned(), other.clone())),
    }
}
