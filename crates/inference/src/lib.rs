//! The inference worker: asks model providers, and turns what they say into events.
//!
//! Owns the providers (nothing else in the workspace names one), the choice of a model, retries,
//! and the live pieces of an answer. Invariants: every `inference.request` is answered by exactly
//! one `inference.response`, also when nothing works; keys never leave [`Secrets`] but in the
//! header of a request; a call that is cancelled is cut off at the provider.
//!
//! Does not decide what to ask, does not run tools, keeps no state beyond a call. Delivery is at
//! least once: after a crash the provider is asked again, and the log has one answer.
//!
//! A provider is a wire codec (pure, [`wire`]) on the HTTP transport ([`http`]), or something of
//! its own like [`demo`].

mod attempts;
mod breaker;
mod call;
mod catalogs;
mod check;
mod choice;
mod config;
mod consensus;
mod cooling;
mod credential;
mod demo;
mod embed;
mod error;
mod failure;
mod files;
mod fit;
mod flights;
mod http;
mod inspect;
mod limits;
mod live;
mod models;
mod providers;
mod routing;
mod settings;
mod wire;
mod worker;

use std::sync::Arc;

use secrecy::SecretString;

pub use config::Config;
pub use error::Error;
pub use inspect::{Answer, KeyStatus, ProviderStatus, inspect};
pub use models::{ModelSettings, PriceSettings};
pub use routing::{
    Case, CaseError, Figures, OnMissing, PolicyName, Problem, RouteSettings, Tier, check_settings,
    evaluate, read_cases,
};
pub use settings::{DemoSettings, Endpoint, ProviderSettings, RateLimits};
pub use worker::{Inference, Resources};

/// Finds a secret by its name, for example `OPENAI_API_KEY`; asked at each call.
pub type Secrets = Arc<dyn Fn(&str) -> Option<SecretString> + Send + Sync>;
