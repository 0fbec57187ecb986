use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jsonschema::Validator;
use nexus_blobs::Blobs;
use nexus_contracts::{Effect, Timestamp, ToolExecute, ToolOutcome, ToolSpec};
use serde_json::Value;

use crate::config::Config;
use crate::error::Error;
use crate::tool::{Repeat, Tool};
use crate::{arguments, builtin};

type Entries = BTreeMap<String, Arc<Entry>>;

/// The tools that a worker has, by name.
pub(crate) struct Registry {
    fixed: Entries,
    /// Those that come and go while the worker runs.
    live: RwLock<Arc<Entries>>,
}

/// A tool with what is worked out once.
pub(crate) struct Entry {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) spec: ToolSpec,
    validator: Validator,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("fixed", &self.fixed.keys())
            .field("live", &self.live().keys())
            .finish()
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
        let mut registry = Self { fixed: BTreeMap::new(), live: RwLock::default() };
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
        let entry = Entry::new(tool)?;
        let name = entry.spec.name.clone();
        if self.fixed.contains_key(&name) {
            return Err(Error::Duplicate { tool: name });
        }
        self.fixed.insert(name, Arc::new(entry));
        Ok(())
    }

    /// Puts these tools in the place of those that came and went until now; what they say about
    /// themselves. One whose name is taken, or whose parameters are no schema, is left out.
    pub(crate) fn replace_live(&self, tools: Vec<Arc<dyn Tool>>) -> Vec<ToolSpec> {
        let mut live = Entries::new();
        for tool in tools {
            match Entry::new(tool) {
                Ok(entry) if self.fixed.contains_key(&entry.spec.name) => {
                    tracing::error!(tool = %entry.spec.name, "two tools have this name; the declared one is not offered");
                }
                Ok(entry) => {
                    let name = entry.spec.name.clone();
                    if live.insert(name.clone(), Arc::new(entry)).is_some() {
                        tracing::error!(tool = %name, "two profiles make a tool of this name; give one another prefix");
                    }
                }
                Err(error) => {
                    tracing::error!(error = %nexus_bus::Chain(&error), "tool not offered");
                }
            }
        }
        let specs = live.values().map(|entry| entry.spec.clone()).collect();
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        specs
    }

    /// What the tools that stay say about themselves, in the order of their names.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.fixed.values().map(|entry| entry.spec.clone()).collect()
    }

    pub(crate) fn has(&self, tool: &str) -> bool {
        self.get(tool).is_some()
    }

    /// What the call does to the world: the worst of what the run was told and what the tool says now.
    pub(crate) fn effect(&self, call: &ToolExecute) -> Effect {
        self.get(&call.tool).map_or(call.effect, |entry| entry.spec.effect.max(call.effect))
    }

    /// The tool and the arguments of a call.
    ///
    /// # Errors
    /// The outcome of a call that cannot be made.
    pub(crate) fn prepare(&self, call: &ToolExecute) -> Result<(Arc<Entry>, Value), ToolOutcome> {
        let Some(entry) = self.get(&call.tool) else {
            let live = self.live();
            let known: Vec<&str> =
                self.fixed.keys().chain(live.keys()).map(String::as_str).collect();
            let message =
                format!("there is no tool {:?}; there are {}", call.tool, known.join(", "));
            return Err(ToolOutcome::Failed { code: "unknown_tool".to_owned(), message });
        };
        let arguments = arguments::parse(&call.arguments, &entry.validator)?;
        Ok((entry, arguments))
    }

    fn live(&self) -> Arc<Entries> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self, tool: &str) -> Option<Arc<Entry>> {
        self.fixed.get(tool).cloned().or_else(|| self.live().get(tool).cloned())
    }
}

impl Entry {
    fn new(tool: Arc<dyn Tool>) -> Result<Self, Error> {
        let spec = tool.spec();
        let no_schema = |reason: String| Error::Schema { tool: spec.name.clone(), reason };
        let validator = jsonschema::validator_for(&spec.parameters)
            .map_err(|error| no_schema(error.to_string()))?;
        Ok(Self { tool, spec, validator })
    }

    pub(crate) fn repeat(&self) -> Repeat {
        match self.spec.effect {
            Effect::Read => Repeat::Safe,
            Effect::Write | Effect::Spend | Effect::Exec => self.tool.repeat(),
        }
    }
}
