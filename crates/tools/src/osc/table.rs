//! The tools that a profile's tables describe: `PREFIX_get`, `PREFIX_set` and one for each group of
//! actions.
//!
//! Their parameters are one flat object: several providers take no schema with `oneOf` at its top. What
//! belongs to which name stands in the description, and is checked here.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use nexus_osc_codec::{Argument, Message, TimeTag, coerce};
use serde_json::{Map, Value, json};

use super::argument::{float32, shown};
use super::link::Link;
use super::profile::{Kind, Profile, Rule};
use super::query::ask;
use super::send::target_schema;
use super::targets::Links;
use crate::tool::{CallContext, Output, Tool, ToolError};

/// What a tool does with its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Get,
    /// Sends a value, then asks what it is now.
    Set,
    Act,
}

/// One line of a tool's table.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    about: String,
    ids: Vec<String>,
    send: String,
    /// Where the value can be asked for afterwards.
    read: Option<String>,
    value: Option<Rule>,
}

#[derive(Debug)]
struct Table {
    name: String,
    about: String,
    way: Way,
    /// The profile's name in `bus-config/osc-profiles/`.
    profile_name: String,
    profile: Arc<Profile>,
    entries: Vec<Entry>,
    links: Links,
}

/// The tools of a profile.
pub(crate) fn tools(name: &str, profile: &Arc<Profile>, links: &Links) -> Vec<Arc<dyn Tool>> {
    let title = if profile.title.is_empty() { name } else { &profile.title };
    let table = |tool: String, about: String, way, entries: Vec<Entry>| Table {
        name: tool,
        about,
        way,
        profile_name: name.to_owned(),
        profile: Arc::clone(profile),
        entries,
        links: links.clone(),
    };
    let prefix = &profile.prefix;
    let mut tables = vec![
        table(
            format!("{prefix}_get"),
            format!("Reads a value from {title}."),
            Way::Get,
            properties(profile, Way::Get),
        ),
        table(
            format!("{prefix}_set"),
            format!("Changes a value in {title}, and says what it is then."),
            Way::Set,
            properties(profile, Way::Set),
        ),
    ];
    for (group, about) in &profile.groups {
        let actions = profile.actions.iter().filter(|action| action.group == *group);
        let entries = actions.map(|action| Entry {
            name: action.name.clone(),
            about: action.about.clone(),
            ids: action.ids.clone(),
            send: action.send.clone(),
            read: None,
            value: action.value.clone(),
        });
        tables.push(table(format!("{prefix}_{group}"), about.clone(), Way::Act, entries.collect()));
    }
    tables.retain(|table| !table.entries.is_empty());
    tables.into_iter().map(|table| Arc::new(table) as Arc<dyn Tool>).collect()
}

fn properties(profile: &Profile, way: Way) -> Vec<Entry> {
    let entries = profile.properties.iter().filter_map(|property| {
        let (send, read) = match way {
            Way::Get => (property.get.clone(), None),
            Way::Set | Way::Act => (property.set.clone()?, Some(property.get.clone())),
        };
        let (name, about) = (property.name.clone(), property.about.clone());
        Some(Entry {
            name,
            about,
            ids: property.ids.clone(),
            send,
            read,
            value: property.value.clone(),
        })
    });
    entries.collect()
}

impl Table {
    /// The parameter that chooses an entry.
    fn choice(&self) -> &'static str {
        match self.way {
            Way::Get | Way::Set => "property",
            Way::Act => "action",
        }
    }

    fn takes_value(&self) -> bool {
        self.way != Way::Get && self.entries.iter().any(|entry| entry.value.is_some())
    }

    async fn call(&self, arguments: &Value, context: &CallContext) -> Result<Output, ToolError> {
        let text = |name| arguments.get(name).and_then(Value::as_str);
        let link = self.links.find(text("target"), Some(&self.profile_name), context.tenant)?;
        let chosen = text(self.choice()).unwrap_or_default();
        let entry = self.entries.iter().find(|entry| entry.name == chosen).ok_or_else(|| {
            ToolError::failed("invalid_arguments", format!("{:?} has no {chosen:?}", self.name))
        })?;
        let ids = entry.ids(arguments)?;
        if self.way == Way::Get {
            let value = value_of(&link, 0, entry, &entry.send, ids, context).await?;
            return Ok(self.answer(entry, arguments, Some(value)));
        }
        let value = entry.value(arguments)?;
        if !link.is_there().await {
            return Err(link.explain(super::link::NoAnswer::Silent));
        }
        let message = Message::new(&entry.send, ids.iter().cloned().chain(value).collect());
        let sent = std::slice::from_ref(&message);
        link.send(TimeTag::IMMEDIATE, sent).await.map_err(|why| link.explain(why))?;
        link.log.sent(context, 0, sent, 0).await;
        let Some(read) = &entry.read else { return Ok(self.answer(entry, arguments, None)) };
        match value_of(&link, 1, entry, read, ids, context).await {
            Ok(value) => Ok(self.answer(entry, arguments, Some(value))),
            Err(ToolError::Failed { message, .. }) => Err(ToolError::Unknown {
                message: format!("it was sent, but whether it was taken is not known: {message}"),
            }),
            Err(error) => Err(error),
        }
    }

    /// What the model is told: the entry, the things that it speaks of, and the value.
    fn answer(&self, entry: &Entry, arguments: &Value, value: Option<Value>) -> Output {
        let mut answer = Map::new();
        answer.insert(self.choice().to_owned(), json!(entry.name));
        for id in &entry.ids {
            answer.insert(id.clone(), arguments.get(id).cloned().unwrap_or_default());
        }
        match value {
            Some(value) => answer.insert("value".to_owned(), value),
            None => answer.insert("sent".to_owned(), json!(true)),
        };
        Value::Object(answer).to_string().into()
    }
}

/// Asks for a value; what follows the ids in the answer.
async fn value_of(
    link: &Link,
    number: usize,
    entry: &Entry,
    address: &str,
    ids: Vec<Argument>,
    context: &CallContext,
) -> Result<Value, ToolError> {
    let skipped = if link.profile.ids_lead { ids.len() } else { 0 };
    let answers = ask(link, number, Message::new(address, ids), address, context).await?;
    let values = answers
        .first()
        .map_or(&[][..], |answer| answer.arguments.get(skipped..).unwrap_or_default());
    let is_switch = entry.value.as_ref().is_some_and(|rule| rule.kind == Kind::Boolean);
    let show = |argument: &Argument| match coerce::boolean(argument).filter(|_| is_switch) {
        Some(switch) => json!(switch),
        None => shown(argument),
    };
    Ok(match values {
        [one] => show(one),
        several => Value::Array(several.iter().map(show).collect()),
    })
}

impl Entry {
    /// The numbers that name the thing.
    fn ids(&self, arguments: &Value) -> Result<Vec<Argument>, ToolError> {
        let one = |id: &String| {
            let number = arguments.get(id).and_then(Value::as_i64);
            let number = number.and_then(|number| i32::try_from(number).ok());
            number.map(Argument::Int).ok_or_else(|| self.misfit(&format!("{id} is missing")))
        };
        self.ids.iter().map(one).collect()
    }

    /// The value to send.
    fn value(&self, arguments: &Value) -> Result<Option<Argument>, ToolError> {
        let given = arguments.get("value").filter(|value| !value.is_null());
        let Some(rule) = &self.value else {
            return match given {
                None => Ok(None),
                Some(_) => Err(self.misfit("it takes no value")),
            };
        };
        let value = given.ok_or_else(|| self.misfit("value is missing"))?;
        let fits = |number: f64| {
            rule.min.is_none_or(|min| number >= min) && rule.max.is_none_or(|max| number <= max)
        };
        let argument = match rule.kind {
            Kind::Number => value.as_f64().filter(|number| fits(*number)).map(float32),
            #[allow(clippy::cast_precision_loss, reason = "only compared with a limit")]
            Kind::Integer => {
                let int = value.as_i64().filter(|int| fits(*int as f64));
                int.and_then(|int| i32::try_from(int).ok()).map(Argument::Int)
            }
            Kind::Boolean => value.as_bool().map(|switch| Argument::Int(i32::from(switch))),
            Kind::Text => value.as_str().map(|text| Argument::String(text.to_owned())),
        };
        argument.map(Some).ok_or_else(|| self.misfit(&format!("{value} does not fit")))
    }

    fn misfit(&self, reason: &str) -> ToolError {
        ToolError::failed("invalid_arguments", format!("{reason}; {}", self.text(true)))
    }

    /// `track.volume (track; a number from 0 to 1): its fader`.
    fn text(&self, with_value: bool) -> String {
        let value = self
            .value
            .as_ref()
            .filter(|_| with_value)
            .map(|rule| format!("value: {}", rule.text()));
        let needs: Vec<String> = self.ids.iter().cloned().chain(value).collect();
        let needs =
            if needs.is_empty() { String::new() } else { format!(" ({})", needs.join(", ")) };
        let about = if self.about.is_empty() { String::new() } else { format!(": {}", self.about) };
        format!("{}{needs}{about}", self.name)
    }
}

impl Tool for Table {
    fn spec(&self) -> ToolSpec {
        let names: Vec<&String> = self.entries.iter().map(|entry| &entry.name).collect();
        let lines: Vec<String> =
            self.entries.iter().map(|entry| entry.text(self.way != Way::Get)).collect();
        let mut properties = Map::new();
        let targets = self.links.names(Some(&self.profile_name));
        properties.insert("target".to_owned(), target_schema(&targets));
        properties.insert(self.choice().to_owned(), json!({ "type": "string", "enum": names }));
        let ids: BTreeSet<&String> = self.entries.iter().flat_map(|entry| &entry.ids).collect();
        for id in ids {
            let about = self.profile.ids.get(id).map_or("", String::as_str);
            let schema = json!({ "type": "integer", "minimum": 0, "maximum": i32::MAX, "description": about });
            properties.insert(id.clone(), schema);
        }
        if self.takes_value() {
            let about = format!("What fits the {}; see the description.", self.choice());
            let schema = json!({ "type": ["number", "boolean", "string"], "description": about });
            properties.insert("value".to_owned(), schema);
        }
        ToolSpec {
            name: self.name.clone(),
            description: format!("{}\n{}", self.about, lines.join("\n")),
            parameters: json!({
                "type": "object",
                "properties": properties,
                "required": [self.choice()],
                "additionalProperties": false,
            }),
            effect: if self.way == Way::Get { Effect::Read } else { Effect::Write },
            timeout_ms: 30_000,
            client: None,
        }
    }

    fn call(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        Box::pin(async move { Self::call(self, &arguments, &context).await })
    }
}
