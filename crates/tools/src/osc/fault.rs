//! What is wrong with settings of OSC, before they are used.

use serde_json::Value;

use super::declared::Declared;
use super::profile::Profile;
use super::record::Rule;

/// What is wrong with a target, a file of `bus-config/osc/`.
#[must_use]
pub fn fault_of_target(value: &Value) -> Option<String> {
    match serde_json::from_value::<Declared>(value.clone()) {
        Ok(declared) => declared.record.iter().find_map(|rule| Rule::read(rule).err()),
        Err(error) => Some(error.to_string()),
    }
}

/// What is wrong with a profile, a file of `bus-config/osc-profiles/`.
#[must_use]
pub fn fault_of_profile(value: &Value) -> Option<String> {
    match serde_json::from_value::<Profile>(value.clone()) {
        Ok(profile) => profile.fault(),
        Err(error) => Some(error.to_string()),
    }
}
