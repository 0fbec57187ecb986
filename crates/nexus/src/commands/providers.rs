//! Model providers: what there is, whether they answer, and how often `auto` is right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;
use nexus_bus::{Bucket, Catalog};
use nexus_inference::{
    Answer, Case, Figures, KeyStatus, ProviderSettings, ProviderStatus, RouteSettings, evaluate,
    inspect, read_cases,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::Misuse;
use crate::config::{self, Settings};
use crate::{bus_config, installation};

/// The set that the figures in the documentation are of.
const CASES: &str = include_str!("../../../inference/eval/routing.jsonl");
/// Models of a long list that are shown to people.
const SHOWN: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all providers: protocol, place, key, and whether they answer
    List,
    /// Ask providers for their models, which costs nothing; exits with 1 when one fails
    Check {
        /// This one only [default: all whose key is set]
        name: Option<String>,
    },
    /// How often `auto` is right on labelled questions
    RouteEval {
        /// Other questions: a JSON object on each line with text, lang, needs_web, tier
        #[arg(long)]
        file: Option<PathBuf>,
        /// Show each question on which it is wrong
        #[arg(long)]
        mistakes: bool,
    },
}

pub(crate) async fn run(settings: &Settings, command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::List => list(settings, json).await,
        Command::Check { name } => check(settings, name, json).await,
        Command::RouteEval { file, mistakes } => route_eval(settings, file, mistakes, json),
    }
}

async fn list(settings: &Settings, json: bool) -> Result<ExitCode> {
    for provider in inspect(&known(settings).await?, &config::secrets()).await? {
        if json {
            say!("{}", serde_json::to_string(&provider)?);
        } else {
            let ProviderStatus { name, kind, place, .. } = &provider;
            let (key, state) = (key(&provider), state(&provider));
            say!("{name:<12} {kind:<18} {place:<36} {key:<28} {state:<12} {}", models(&provider));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(settings: &Settings, name: Option<String>, json: bool) -> Result<ExitCode> {
    let mut all = known(settings).await?;
    if let Some(name) = &name {
        if !all.contains_key(name) {
            let names = all.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Misuse(format!("there is no provider {name:?}; there are {names}")).into());
        }
        all.retain(|known, _| known == name);
    }
    let mut failed = false;
    for provider in inspect(&all, &config::secrets()).await? {
        let verdict = verdict(&provider);
        // A server that nobody started on this machine is no fault, unless it is asked for.
        let excused = name.is_none()
            && (matches!(provider.answer, Answer::NotAsked)
                || (provider.local && state(&provider) == "transport"));
        failed |= verdict.is_err() && !excused;
        if json {
            say!("{}", serde_json::to_string(&provider)?);
            continue;
        }
        let (mark, text) = match (&verdict, excused) {
            (Ok(text), _) => ("ok", text),
            (Err(text), true) => ("-", text),
            (Err(text), false) => ("WRONG", text),
        };
        say!("{mark:<6} {:<12} {text}", provider.name);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The providers as the bus knows them.
async fn known(settings: &Settings) -> Result<BTreeMap<String, ProviderSettings>> {
    let bus = installation::bus(settings).await?;
    let stop = CancellationToken::new();
    let providers = Catalog::follow(&bus, Bucket::Config, "provider", stop.clone()).await?;
    stop.cancel();
    Ok(BTreeMap::clone(&providers.entries()))
}

fn key(provider: &ProviderStatus) -> String {
    match &provider.key {
        KeyStatus::NotNeeded => "no key needed".to_owned(),
        KeyStatus::Set(name) => format!("{name} set"),
        KeyStatus::Missing(name) => format!("{name} missing"),
    }
}

fn state(provider: &ProviderStatus) -> &'static str {
    match &provider.answer {
        Answer::Listed { .. } => "answers",
        Answer::Failed { class, .. } => class,
        Answer::NotAsked => "not asked",
        Answer::Misconfigured { .. } => "misconfigured",
    }
}

/// Models that can be asked for: those of the settings, else those that it lists.
fn models(provider: &ProviderStatus) -> String {
    let models = match &provider.answer {
        Answer::Listed { models, .. } if provider.offered.is_empty() => models,
        _ => &provider.offered,
    };
    let shown = models.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if models.len() > SHOWN { format!("{shown}, ... ({})", models.len()) } else { shown }
}

/// What came of a check, or what is wrong and what to do.
fn verdict(provider: &ProviderStatus) -> Result<String, String> {
    let ProviderStatus { name, place, .. } = provider;
    match &provider.answer {
        Answer::Listed { models, not_listed } if not_listed.is_empty() => {
            Ok(format!("{place} answers, models: {}", models.len()))
        }
        Answer::Listed { not_listed, .. } => Err(format!(
            "{place} does not list {}: mend models of {name} in bus-config/providers.toml",
            not_listed.join(", ")
        )),
        Answer::Failed { class, message } => Err(format!("{place} {class}: {message}")),
        Answer::NotAsked => Err(format!("not asked, {}: set it and restart", key(provider))),
        Answer::Misconfigured { reason } => {
            Err(format!("{reason}: mend {name} in bus-config/providers.toml"))
        }
    }
}

/// Figures over all questions, and over those on which the weights were not set.
#[derive(Debug, Serialize)]
struct Report {
    all: Figures,
    held_out: Figures,
}

fn route_eval(
    settings: &Settings,
    file: Option<PathBuf>,
    mistakes: bool,
    json: bool,
) -> Result<ExitCode> {
    let text = match &file {
        None => CASES.to_owned(),
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
        }
    };
    let place =
        file.as_ref().map_or_else(|| "the built-in set".into(), |path| path.display().to_string());
    let cases = read_cases(&text).with_context(|| format!("reading {place}"))?;
    if cases.is_empty() {
        return Err(anyhow!("{place} holds no questions"));
    }
    let routes = routes(settings)?;
    let held_out = cases.iter().filter(|case| case.held_out);
    let report = Report { all: evaluate(&cases, &routes), held_out: evaluate(held_out, &routes) };
    if json {
        say!("{}", serde_json::to_string(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    say!("policy {}, {} questions of {place}", report.all.policy, report.all.cases);
    show_figures("all", &report.all);
    if report.held_out.cases > 0 {
        show_figures("held out", &report.held_out);
    }
    if mistakes {
        for mistake in &report.all.mistakes {
            let Case { text, tier, needs_web, .. } = &mistake.case;
            let web = |needed: bool| if needed { "+web" } else { "" };
            say!(
                "{:>6}{:<4} judged {:>6}{:<4} ({:.2})  {text}",
                tier.as_str(),
                web(*needs_web),
                mistake.said_tier.as_str(),
                web(mistake.said_web),
                mistake.difficulty,
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_figures(name: &str, figures: &Figures) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let (web, tiers) = (figures.web, &figures.tiers);
    say!("\n{name}: {} questions", figures.cases);
    say!(
        "  needs web   accuracy {}  precision {}  recall {}",
        percent(web.accuracy),
        percent(web.precision),
        percent(web.recall)
    );
    say!(
        "  difficulty  accuracy {}  judged too easy {}  too hard {}",
        percent(tiers.accuracy),
        tiers.too_easy,
        tiers.too_hard
    );
    say!("  {:<10} {:>8} {:>8} {:>8}", "labelled", "easy", "medium", "hard");
    for label in ["easy", "medium", "hard"] {
        let said = |tier: &str| {
            tiers.confusion.get(label).and_then(|row| row.get(tier)).copied().unwrap_or(0)
        };
        say!("  {label:<10} {:>8} {:>8} {:>8}", said("easy"), said("medium"), said("hard"));
    }
}

/// The routes of bus-config: thresholds and policy are theirs.
fn routes(settings: &Settings) -> Result<BTreeMap<String, RouteSettings>> {
    let spec = bus_config::spec(settings.bus_config().as_deref(), settings.config.durability)?;
    let routes = spec.entries().iter().filter_map(|entry| {
        let name = entry.key.strip_prefix("route.")?;
        let read = serde_json::from_value(entry.value.clone());
        Some(
            read.map(|route| (name.to_owned(), route))
                .with_context(|| format!("reading {}", entry.key)),
        )
    });
    routes.collect()
}
