//! What model calls used and cost, and whether the record of it is right.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use nexus_billing::{Account, By, Difference, Ledger, Question, Totals, UsageRecord, reconcile};
use nexus_bus::{Bucket, Bus, Catalog};
use nexus_contracts::{Tenant, TenantId};
use nexus_gateway::Keys;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cli::{Misuse, moment, now};
use crate::config::Settings;
use crate::installation;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Shown {
    /// Calls since then: a duration, or a moment in RFC 3339
    #[arg(long, default_value = "30d")]
    since: String,
    /// Calls before then: a duration, or a moment in RFC 3339 [default: now]
    #[arg(long)]
    until: Option<String>,
    /// What sums are made over
    #[arg(long, value_enum, default_value_t = Over::Model)]
    by: Over,
    /// One tenant's calls [default: all tenants']
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the records with the stream, one by one; exits with 1 when they differ
    Reconcile {
        /// Events stored since then: a duration, or a moment in RFC 3339 [default: all there are]
        #[arg(long)]
        since: Option<String>,
        /// Write the records that are missing
        #[arg(long)]
        mend: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Over {
    Model,
    Provider,
    User,
    Tenant,
    Day,
    Month,
    /// Whose key paid
    Key,
}

impl Over {
    fn by(self) -> By {
        match self {
            Self::Model => By::Model,
            Self::Provider => By::Provider,
            Self::User => By::User,
            Self::Tenant => By::Tenant,
            Self::Day => By::Day,
            Self::Month => By::Month,
            Self::Key => By::Key,
        }
    }
}

pub(crate) async fn run(settings: &Settings, options: Options, json: bool) -> Result<ExitCode> {
    match options.command {
        None => show(settings, &options.shown, json).await,
        Some(Command::Reconcile { since, mend }) => {
            compare(settings, since.as_deref(), mend, json).await
        }
    }
}

/// All tenants that the installation knows: of the settings, and of keys.
async fn tenants(settings: &Settings, bus: &Bus) -> Result<BTreeSet<TenantId>> {
    let stop = CancellationToken::new();
    let catalog = Catalog::<Tenant>::follow(bus, Bucket::Config, "tenant", stop.clone()).await?;
    stop.cancel();
    let mut tenants: BTreeSet<TenantId> =
        catalog.entries().values().map(|tenant| tenant.id).collect();
    let keys = Keys::new(installation::store(settings)?).list().await?;
    tenants.extend(keys.into_iter().map(|key| TenantId(key.tenant)));
    Ok(tenants)
}

async fn show(settings: &Settings, shown: &Shown, json: bool) -> Result<ExitCode> {
    let now = now();
    let (since, by) = (moment(&shown.since, now)?, shown.by.by());
    let until = shown.until.as_deref().map(|until| moment(until, now)).transpose()?;
    let tenants = match &shown.tenant {
        Some(text) => {
            let id = text.parse().map_err(|_| Misuse(format!("{text:?} is no tenant's id")))?;
            BTreeSet::from([id])
        }
        None => tenants(settings, &installation::bus(settings).await?).await?,
    };
    let ledger = Ledger::new(installation::store(settings)?);
    let question = Question { since, until, by, user: None };
    let mut groups: BTreeMap<String, Totals> = BTreeMap::new();
    for tenant in &tenants {
        for group in ledger.totals(*tenant, &question).await? {
            // Who has the same name in another tenant is somebody else.
            let name = match by {
                By::User if tenants.len() > 1 => format!("{tenant}/{}", group.name),
                _ => group.name,
            };
            let sum = groups.entry(name).or_default();
            *sum = sum.plus(group.totals);
        }
    }
    let total = groups.values().copied().fold(Totals::default(), Totals::plus);
    if json {
        let groups: Vec<_> = groups.iter().map(|(name, totals)| line(Some(name), totals)).collect();
        let total = line(None, &total);
        say!("{}", json!({ "since": since, "by": by, "total": total, "groups": groups }));
    } else {
        print(by, &groups, &total);
    }
    Ok(ExitCode::SUCCESS)
}

/// A sum for machines; the dollars are text, because they are exact.
fn line(name: Option<&str>, totals: &Totals) -> serde_json::Value {
    let mut line = json!(totals);
    if let Some(line) = line.as_object_mut() {
        line.insert("cost_usd".to_owned(), json!(totals.dollars()));
        line.extend(name.map(|name| ("name".to_owned(), json!(name))));
    }
    line
}

fn print(by: By, groups: &BTreeMap<String, Totals>, total: &Totals) {
    let width = groups.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(12);
    say!(
        "{:<width$} {:>9} {:>10} {:>12} {:>12} {:>12} {:>12} {:>14}",
        by.as_str().to_uppercase(),
        "CALLS",
        "UNANSWERED",
        "INPUT",
        "CACHED",
        "OUTPUT",
        "REASONING",
        "USD"
    );
    let row = |name: &str, totals: &Totals| {
        say!(
            "{name:<width$} {:>9} {:>10} {:>12} {:>12} {:>12} {:>12} {:>14}",
            totals.calls,
            totals.unanswered,
            totals.input_tokens,
            totals.cache_read_tokens,
            totals.output_tokens,
            totals.reasoning_tokens,
            totals.dollars()
        );
    };
    for (name, totals) in groups {
        row(name, totals);
    }
    row("total", total);
    if total.unpriced_calls > 0 {
        say!("{} calls are not in the dollars: nobody knows their price", total.unpriced_calls);
    }
}

async fn compare(
    settings: &Settings,
    since: Option<&str>,
    mend: bool,
    json: bool,
) -> Result<ExitCode> {
    let since = since.map(|since| moment(since, now())).transpose()?;
    let bus = installation::bus(settings).await?;
    let ledger = Ledger::new(installation::store(settings)?);
    let tenants: Vec<TenantId> = tenants(settings, &bus).await?.into_iter().collect();
    let account = reconcile(&bus, &ledger, &tenants, since).await?;
    let mut mended = 0;
    if mend {
        for wanted in account.missing() {
            ledger.write(wanted.tenant, &[wanted]).await?;
            mended += 1;
        }
    }
    report(&account, mended, json);
    let left = account.differences.len() - mended;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(account: &Account, mended: usize, json: bool) {
    if json {
        say!("{}", json!({ "account": account, "mended": mended }));
        return;
    }
    for difference in &account.differences {
        match difference {
            Difference::Missing { wanted } => say!("missing  {}", described(wanted)),
            Difference::Extra { found } => say!("extra    {}", described(found)),
            Difference::Changed { columns, wanted, found } => {
                say!("changed  {} in {}", described(found), columns.join(", "));
                say!("         {} is what the event says", described(wanted));
            }
        }
    }
    let cost = Totals { cost_microusd: account.cost_microusd, ..Totals::default() };
    say!(
        "{} events of {} US dollars, {} differences, {mended} mended",
        account.events,
        cost.dollars(),
        account.differences.len()
    );
    if account.unreadable > 0 {
        say!("{} events cannot be read; `nexus dead list` shows them", account.unreadable);
    }
}

fn described(record: &UsageRecord) -> String {
    let provider = record.provider.as_deref().unwrap_or("none");
    let cost = record.cost_microusd.map_or_else(
        || "unknown".to_owned(),
        |cost_microusd| Totals { cost_microusd, ..Totals::default() }.dollars(),
    );
    format!(
        "{} sequence {} tenant {} {provider}/{} {}+{} tokens {cost} USD",
        record.id,
        record.sequence,
        record.tenant,
        record.model,
        record.input_tokens,
        record.output_tokens
    )
}
