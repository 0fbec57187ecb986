//! `nexus up` and `nexus worker`: from nothing to ready, and back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use nexus_blobs::Blobs;
use nexus_bus::{Bucket, Bus, Catalog, Durability, Membership, Spec, Topology};
use nexus_contracts::LOCAL_TENANT;
use nexus_embedded::{DataLock, Servers};
use nexus_gateway::{Keys, Readiness};
use nexus_store::Store;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bus_config;
use crate::cli::{Misuse, now};
use crate::config::{Config, Settings};
use crate::installation::{self, Installation};
use crate::roles::{self, Deps, Role};
use crate::vault;

/// Runs everything on this machine.
pub(crate) async fn up(settings: Settings) -> Result<ExitCode> {
    let data = settings.data()?;
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let _lock = DataLock::acquire(&data).map_err(|error| match error {
        nexus_embedded::Error::InUse { .. } => Misuse(error.to_string()).into(),
        other => anyhow::Error::from(other),
    })?;
    // Before anything is started or changed.
    let spec = bus_config::spec(settings.bus_config().as_deref(), settings.config.durability)?;
    let stop = stop_on_signal()?;
    let servers = start_servers(&settings.config, &data).await?;
    let installation = match &servers {
        Some(servers) => Installation {
            http: String::new(),
            nats_url: servers.nats_url().to_owned(),
            database_url: servers.database_url().to_owned(),
        },
        None => Installation::find(&settings)?,
    };
    let served = serve(&settings, &spec, installation, &data, servers.is_some(), &stop).await;
    stop.cancel();
    if let Some(servers) = servers {
        servers.stop().await;
    }
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    settings: &Settings,
    spec: &Spec,
    mut installation: Installation,
    data: &Path,
    embedded: bool,
    stop: &CancellationToken,
) -> Result<()> {
    let config = &settings.config;
    let (bus, store) = tokio::try_join!(
        set_up_bus(&installation.nats_url, spec, embedded),
        set_up_database(&installation.database_url, config),
    )?;
    let key = local_key(&store, data).await?;
    vault::prepare(config, data)?;
    let deps = deps(settings, bus, &installation.nats_url, store, stop).await?;
    let readiness = deps.readiness.clone();
    let mut workers = start(Role::all(config), &deps).await?;
    readiness.set_ready();
    installation.http = format!("http://{}", settings.http());
    installation.write(data)?;
    wait_until_ready(settings.http(), stop).await?;
    say!("model {}", model_in_use(&deps).await?);
    say!("open {}/#key={}", installation.http, key.expose_secret());
    say!("ready {}", installation.http);
    while workers.join_next().await.is_some() {}
    deps.bus.close().await;
    deps.store.close().await;
    Ok(())
}

/// The model that agents get by default, for the person who starts Nexus.
async fn model_in_use(deps: &Deps) -> Result<String> {
    let stop = deps.stop.child_token();
    let models =
        Catalog::<Vec<String>>::follow(&deps.bus, Bucket::Tools, "model", stop.clone()).await?;
    stop.cancel();
    let entries = models.entries();
    let chosen = deps.config.inference.default_model.as_ref();
    let model = chosen.or_else(|| entries.get("list")?.first());
    Ok(match model.map(String::as_str) {
        None => "none: no provider can be reached".to_owned(),
        Some("demo/demo") => {
            "demo/demo (no language model: set OPENAI_API_KEY, or start Ollama)".to_owned()
        }
        Some(model) => model.to_owned(),
    })
}

/// Runs some workers against servers that run already.
pub(crate) async fn worker(settings: Settings, chosen: Vec<Role>) -> Result<ExitCode> {
    let stop = stop_on_signal()?;
    let installation = Installation::find(&settings)?;
    let config = &settings.config;
    let bus = connect(&installation.nats_url, &stop).await?;
    let store = set_up_database(&installation.database_url, config).await?;
    let deps = deps(&settings, bus, &installation.nats_url, store, &stop).await?;
    let names: Vec<&str> = chosen.iter().map(|role| role.name()).collect();
    let mut workers = start(chosen, &deps).await?;
    deps.readiness.set_ready();
    say!("ready {}", names.join(" "));
    while workers.join_next().await.is_some() {}
    deps.bus.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn deps(
    settings: &Settings,
    bus: Bus,
    nats_url: &str,
    store: Store,
    stop: &CancellationToken,
) -> Result<Deps> {
    Ok(Deps {
        blobs: Blobs::open(&settings.config.blobs, &settings.data()?)?,
        vault: vault::open(&bus, &store, settings, stop).await?,
        config: settings.config.clone(),
        bus,
        nats_url: nats_url.to_owned(),
        store,
        readiness: Readiness::default(),
        metrics: install_metrics()?,
        stop: stop.clone(),
    })
}

/// Name, first bound and factor of the fourteen buckets that OpenTelemetry's conventions for
/// generative AI (semantic-conventions-genai) want.
const GEN_AI_BUCKETS: [(&str, f64, f64); 4] = [
    ("gen_ai_client_operation_duration_seconds", 0.01, 2.0),
    ("gen_ai_client_time_to_first_chunk_seconds", 0.01, 2.0),
    ("gen_ai_client_time_per_output_chunk_seconds", 0.01, 2.0),
    ("gen_ai_client_token_usage", 1.0, 4.0),
];

fn install_metrics() -> Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (name, first, factor) in GEN_AI_BUCKETS {
        let bounds = std::iter::successors(Some(first), |bound| Some(bound * factor));
        let bounds: Vec<f64> = bounds.take(14).collect();
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &bounds)?;
    }
    builder.install_recorder().context("installing the metrics recorder")
}

/// Opens all workers, one after the other, and lets them run.
async fn start(roles: Vec<Role>, deps: &Deps) -> Result<JoinSet<()>> {
    let mut workers = JoinSet::new();
    for role in roles {
        let running = roles::open(role, deps.clone()).await?;
        workers.spawn(roles::supervise(role, deps.clone(), running));
    }
    Ok(workers)
}

async fn start_servers(config: &Config, data: &Path) -> Result<Option<Servers>> {
    match (&config.nats_url, &config.database_url) {
        (Some(_), Some(_)) => return Ok(None),
        (None, None) => {}
        _ => {
            let text = "set both NEXUS_NATS_URL and NEXUS_DATABASE_URL, or neither";
            return Err(Misuse(text.to_owned()).into());
        }
    }
    let durability = match config.durability {
        Durability::Interval => nexus_embedded::Durability::Interval,
        Durability::Always => nexus_embedded::Durability::Always,
        Durability::Replicated => {
            let text = "durability 'replicated' needs a NATS cluster of three: set NEXUS_NATS_URL";
            return Err(Misuse(text.to_owned()).into());
        }
    };
    let folders = server_folders(config);
    let servers = Servers::start(nexus_embedded::Config {
        data: data.to_owned(),
        servers: folders,
        durability,
        nats_port: config.nats_port,
        postgres_port: config.postgres_port,
    });
    Ok(Some(servers.await?))
}

/// Where server binaries may be: as configured, beside this binary, in the checkout that it was built in.
pub(crate) fn server_folders(config: &Config) -> Vec<PathBuf> {
    let here = std::env::current_exe().ok();
    let near = here
        .iter()
        .flat_map(|exe| exe.ancestors().skip(1).take(4))
        .map(|folder| folder.join(".servers"));
    config.servers.iter().cloned().chain(near).collect()
}

async fn set_up_bus(url: &str, spec: &Spec, embedded: bool) -> Result<Bus> {
    let bus = Bus::connect(url, "nexus").await?;
    Topology::new(&bus, spec).apply(false).await?;
    if embedded {
        // The server has just been started: whoever held a lease is gone.
        Membership::clear(&bus).await?;
    }
    Ok(bus)
}

async fn set_up_database(url: &str, config: &Config) -> Result<Store> {
    nexus_store::migrate(url, &roles::migrations()).await?;
    Ok(Store::connect(url, &config.database)?)
}

/// Connects, waiting for a server that is still starting.
async fn connect(url: &str, stop: &CancellationToken) -> Result<Bus> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match Bus::connect(url, "nexus").await {
            Ok(bus) => return Ok(bus),
            Err(error) if Instant::now() >= end || stop.is_cancelled() => return Err(error.into()),
            Err(error) => tracing::info!(%error, "NATS is not there yet"),
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), stop.cancelled()).await;
    }
}

/// The first key, for local use: made once, kept in `local.key`.
async fn local_key(store: &Store, data: &Path) -> Result<SecretString> {
    let keys = Keys::new(store.clone());
    if let Some(key) = installation::local_key(data)?
        && keys.verify(key.expose_secret()).await?.is_some()
    {
        return Ok(key);
    }
    let (_, key) = keys.create(LOCAL_TENANT, "local", "made by nexus up", now()).await?;
    let key = SecretString::from(key);
    installation::write_local_key(data, &key)?;
    Ok(key)
}

/// Waits until `/readyz` answers 200.
async fn wait_until_ready(address: SocketAddr, stop: &CancellationToken) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let url = format!("http://{}/readyz", reachable(address));
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.get(&url).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < end && !stop.is_cancelled(),
            "{url} does not become ready"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address by which a server that listens on `address` is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// A token that SIGTERM and SIGINT cancel; a second one ends the process at once.
fn stop_on_signal() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: finishing what is in hand");
        token.cancel();
    });
    Ok(stop)
}
