//! What can be got, set and done with a kind of target: a file of `bus-config/osc-profiles/`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its name for people, for example `Ableton Live`.
    pub(crate) title: String,
    /// The tools are called `PREFIX_get`, `PREFIX_set` and `PREFIX_GROUP`.
    pub(crate) prefix: String,
    pub(crate) reply_port: Option<u16>,
    /// Answers begin with the arguments of their question.
    pub(crate) ids_lead: bool,
    /// Where it reports errors; the first argument is the text.
    pub(crate) error: Option<String>,
    /// A question without arguments that it always answers; asked before something is changed.
    pub(crate) ping: Option<String>,
    /// What to do when it does not answer.
    pub(crate) silent: String,
    /// Address patterns that agents may send to.
    pub(crate) allow: Vec<String>,
    pub(crate) subscribe: Option<Subscribe>,
    /// What the numbers are that name a thing, for example `track`.
    pub(crate) ids: BTreeMap<String, String>,
    /// What the tool of each group of actions is for.
    pub(crate) groups: BTreeMap<String, String>,
    #[serde(rename = "property")]
    pub(crate) properties: Vec<Property>,
    #[serde(rename = "action")]
    pub(crate) actions: Vec<Action>,
}

/// How values are asked for that are sent whenever they change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribe {
    /// This part of a recorded address ...
    pub(crate) part: String,
    /// ... is replaced by this one.
    pub(crate) by: String,
    /// Asked again so often: the target may have been restarted.
    #[serde(with = "humantime_serde")]
    pub(crate) renew: Duration,
}

/// Something that has a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Property {
    /// For example `track.volume`.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) about: String,
    /// What names the thing, in the order of the arguments.
    #[serde(default)]
    pub(crate) ids: Vec<String>,
    /// Where its value is asked for.
    pub(crate) get: String,
    /// Where it is set; it cannot be set when absent.
    #[serde(default)]
    pub(crate) set: Option<String>,
    #[serde(default)]
    pub(crate) value: Option<Rule>,
}

/// Something that can be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    pub(crate) group: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) ids: Vec<String>,
    pub(crate) send: String,
    #[serde(default)]
    pub(crate) value: Option<Rule>,
}

/// Which values fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) min: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Number,
    Integer,
    /// Sent as 1 or 0, which every receiver takes.
    Boolean,
    Text,
}

impl Rule {
    /// For people and models: `a number from 0 to 1`.
    pub(crate) fn text(&self) -> String {
        let kind = match self.kind {
            Kind::Number => "a number",
            Kind::Integer => "a whole number",
            Kind::Boolean => "true or false",
            Kind::Text => "a text",
        };
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{kind} from {min} to {max}"),
            (Some(min), None) => format!("{kind}, at least {min}"),
            (None, Some(max)) => format!("{kind}, at most {max}"),
            (None, None) => kind.to_owned(),
        }
    }
}

impl Profile {
    /// Every address that its tables name, so that they need not be allowed again.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = &String> {
        let properties = self
            .properties
            .iter()
            .flat_map(|property| [Some(&property.get), property.set.as_ref()]);
        properties.flatten().chain(self.actions.iter().map(|action| &action.send))
    }

    /// The first thing in its tables that is not described, for the log.
    pub(crate) fn fault(&self) -> Option<String> {
        let ids = self.properties.iter().flat_map(|property| &property.ids);
        let mut ids = ids.chain(self.actions.iter().flat_map(|action| &action.ids));
        if let Some(id) = ids.find(|id| !self.ids.contains_key(*id)) {
            return Some(format!("id {id:?} is not described in [ids]"));
        }
        let mut groups = self.actions.iter().map(|action| &action.group);
        if let Some(group) = groups.find(|group| !self.groups.contains_key(*group)) {
            return Some(format!("group {group:?} is not described in [groups]"));
        }
        let tables = !(self.properties.is_empty() && self.actions.is_empty());
        (tables && self.prefix.is_empty()).then(|| "it has tables and no prefix".to_owned())
    }
}
