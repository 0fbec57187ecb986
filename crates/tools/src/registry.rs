use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use nexus_blobs::Blobs;
use nexus_contracts::{Effect, Timestamp, ToolExecute, ToolOutcome, ToolSpec};
use serde_json::Value;

use crate::config::Config;
use crate::error::Error;
use crate::tool::{Repeat, Tool};
use crate::{arguments, builtin};

/// The tools that a worker has, by name.
pub(crate) struct Registry {
    tools: BTreeMap<String, Arc<Entry>>,
}

/// A tool with what is worked out once.
pub(crate) struct Entry {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) spec: ToolSpec,
    validator: Validator,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("tools", &self.tools.keys()).finish()
    }
}

impl Registry {
    /// The tools that Nexus brings.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that cannot be.
    pub(crate) fn builtin(
        config: &Config,
        blobs: Blobs,
        now: fn() -> Timestamp,
    ) -> Result<Self, Error> {
        config.check()?;
        let mut registry = Self { tools: BTreeMap::new() };
        for tool in builtin::all(config, blobs, now) {
            registry.add(tool)?;
        }
        Ok(registry)
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when its name is taken, [`Error::Schema`] when its parameters are no schema.
    pub(crate) fn add(&mut self, tool: Arc<dyn Tool>) -> Result<(), Error> {
        let spec = tool.spec();
        let name = spec.name.clone();
        if self.tools.contains_key(&name) {
            return Err(Error::Duplicate { tool: name });
        }
        let validator = jsonschema::validator_for(&spec.parameters)
            .map_err(|error| Error::Schema { tool: name.clone(), reason: error.to_string() })?;
        self.tools.insert(name, Arc::new(Entry { tool, spec, validator }));
        Ok(())
    }

    /// What the tools say about themselves, in the order of their names.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.tools.values().map(|entry| entry.spec.clone()).collect()
    }

    pub(crate) fn has(&self, tool: &str) -> bool {
        self.tools.contains_key(tool)
    }

    /// What the call does to the world: the worst of what the run was told and what the tool says now.
    pub(crate) fn effect(&self, call: &ToolExecute) -> Effect {
        self.tools.get(&call.tool).map_or(call.effect, |entry| entry.spec.effect.max(call.effect))
    }

    /// The tool and the arguments of a call.
    ///
    /// # Errors
    /// The outcome of a call that cannot be made.
    pub(crate) fn prepare(&self, call: &ToolExecute) -> Result<(Arc<Entry>, Value), ToolOutcome> {
        let Some(entry) = self.tools.get(&call.tool) else {
            let known: Vec<&str> = self.tools.keys().map(String::as_str).collect();
            let message =
                format!("there is no tool {:?}; there are {}", call.tool, known.join(", "));
            return Err(ToolOutcome::Failed { code: "unknown_tool".to_owned(), message });
        };
        let arguments = arguments::parse(&call.arguments, &entry.validator)?;
        Ok((Arc::clone(entry), arguments))
    }
}

impl Entry {
    pub(crate) fn repeat(&self) -> Repeat {
        match self.spec.effect {
            Effect::Read => Repeat::Safe,
            Effect::Write | Effect::Spend | Effect::Exec => self.tool.repeat(),
        }
    }
}
