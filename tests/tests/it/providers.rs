//! Providers of models from outside: their faults at the door, another's mock, a worker's death.

mod aimock;
mod killed;
mod sse;

use nexus_wall::Protocol;

/// A table of a provider.
fn provider(protocol: Protocol, base_url: &str, models: &[&str]) -> String {
    format!(
        "kind = \"{}\"\nbase_url = \"{base_url}\"\napi_key_env = \"WALL_KEY\"\nmodels = {models:?}\nfirst_byte_timeout = \"1s\"\nidle_timeout = \"1s\"\n",
        protocol.kind()
    )
}

/// A table of an agent that remembers nothing.
fn agent(name: &str, model: &str, tools: &[&str]) -> String {
    format!(
        "name = \"{name}\"\ninstructions = \"Do it.\"\nmodel = \"{model}\"\ntools = {tools:?}\nrecall_turns = 0\n"
    )
}
