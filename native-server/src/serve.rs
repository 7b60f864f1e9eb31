//! `nself-sync serve`: open, migrate, listen, prune by the hour, stop in order.

use crate::config::{self, Config};
use crate::http::{self, App};
use crate::jwt::{self, Grant, Secret, Verifier};
use crate::live::Hub;
use crate::log;
use crate::outbox;
use crate::store::Store;
use crate::traces::Traces;
use anyhow::{Context, Result, bail};
use axum::Router;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// When the first pruning runs, and how often.
const PRUNE_FIRST: Duration = Duration::from_secs(30);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How long requests in flight may take to end, and then the store: together under the 10 s of a container's stop.
const DRAIN_MAX: Duration = Duration::from_secs(7);
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// How long the token of `--dev` lives.
const DEV_TTL_S: u64 = 30 * 24 * 60 * 60;

/// The flags of `serve` that are no configuration.
pub struct Options {
    /// A try: loopback only, a secret of its own.
    pub dev: bool,
    /// Where to write the address once the server listens.
    pub address_file: Option<PathBuf>,
    /// The built web demo.
    pub demo: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT; `Ok` where it ended in order.
pub async fn serve(config: Config, options: Options) -> Result<()> {
    let traces = Traces::from_env()?;
    log::start(config.log_level, traces.as_ref());
    warn_of_unknown_variables();
    let secret = secret(&config, options.dev)?;
    if let Some(folder) = options.demo.as_deref().filter(|folder| !folder.join("index.html").is_file()) {
        bail!("--demo {}: it has no index.html; `cargo xtask wasm` builds the page", folder.display());
    }
    let store = Store::open(&config).await?;
    store.migrate().await?;
    let listener = listen(&config).await?;
    let addr = reachable(listener.local_addr().context("the listening socket")?);
    store.follow();
    let hub = Arc::clone(store.hub());
    let app = Arc::new(App::new(store, Verifier::new(&secret)?, &config));
    // Before anybody is told that it runs: who knows may end it.
    let ended_by = signal()?;
    tracing::info!(addr = addr.to_string(), store = app.store.kind(), "listening");
    if options.dev {
        greet(&secret, addr)?;
    }
    if let Some(path) = &options.address_file {
        write_address(path, addr).with_context(|| format!("--address-file {}", path.display()))?;
    }
    let mut chores = JoinSet::new();
    chores.spawn(prune_hourly(Arc::clone(&app)));
    chores.spawn(forget_each_minute(Arc::clone(&app)));
    let (stop, stopped) = watch::channel(());
    let mut delivering = JoinSet::new();
    if let Some(webhook) = config.webhook {
        delivering.spawn(outbox::deliver(Arc::clone(&app), webhook, stopped));
    }
    let router = http::router(Arc::clone(&app), &config.cors, options.demo.as_deref());
    let served = run(listener, router, &hub, (stop, ended_by), &mut delivering).await;
    // What is still being sent is sent again by the next start.
    delivering.shutdown().await;
    // Their ends let go of the app.
    chores.shutdown().await;
    close(app).await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    served
}

fn warn_of_unknown_variables() {
    let set: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let unknown = config::unknown(set.iter().map(String::as_str));
    if !unknown.is_empty() {
        tracing::warn!(variables = unknown.join(", "), "unknown variables are ignored");
    }
}

fn secret(config: &Config, dev: bool) -> Result<Secret> {
    if dev && !config.bind.is_loopback() {
        bail!("PLUGIN_SYNC_BIND={}: allowed with --dev is a loopback address only", config.bind);
    }
    match &config.secret {
        Some(secret) => Ok(secret.clone()),
        None if dev => jwt::random(),
        None => bail!(
            "HASURA_GRAPHQL_JWT_SECRET is not set: no token could be verified (--dev starts without, for a try)"
        ),
    }
}

async fn listen(config: &Config) -> Result<TcpListener> {
    let addr = SocketAddr::new(config.bind, config.port);
    TcpListener::bind(addr).await.with_context(|| format!("PORT={}: cannot listen on {addr}", config.port))
}

/// The address that a client on this machine connects to.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn greet(secret: &Secret, addr: SocketAddr) -> Result<()> {
    let token = jwt::mint(secret, &Grant { user: "dev".to_owned(), account: None, ttl_s: DEV_TTL_S })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "Development mode, on this machine only. A token for the user dev:\n\n{token}\n")?;
    writeln!(out, "Try: curl -H 'Authorization: Bearer {token}' http://{addr}/sync/pull")?;
    out.flush().context("stdout")
}

/// Whole or not at all: who waits for the file reads it as soon as it is there.
fn write_address(path: &Path, addr: SocketAddr) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, addr.to_string())?;
    Ok(std::fs::rename(&beside, path)?)
}

async fn prune_hourly(app: Arc<App>) {
    tokio::time::sleep(PRUNE_FIRST).await;
    loop {
        match app.store.prune().await {
            Ok(pruned) if pruned.is_empty() => tracing::debug!("nothing to prune"),
            Ok(pruned) => {
                app.metrics.pruned(&pruned);
                tracing::info!(what = pruned.to_string(), "pruned");
            }
            Err(error) => tracing::warn!(error = log::causes(&error), "pruning failed, next try in an hour"),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

async fn forget_each_minute(app: Arc<App>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        app.limits.forget();
    }
}

/// Serves until a signal, then until the last request in flight has its answer, the last live connection is closed and what
/// was being delivered is, or [`DRAIN_MAX`] is over.
async fn run(
    listener: TcpListener,
    router: Router,
    hub: &Hub,
    (stop, ended_by): (watch::Sender<()>, impl Future<Output = Result<&'static str>>),
    delivering: &mut JoinSet<()>,
) -> Result<()> {
    let mut stopped = stop.subscribe();
    let mut server = tokio::spawn(http::serve(listener, router, async move {
        // Ends when the sender is dropped.
        let _ = stopped.changed().await;
    }));
    let signal = tokio::select! {
        ended = &mut server => return ended.context("the listening socket"),
        signal = ended_by => signal?,
    };
    tracing::info!(signal, "stopping");
    drop(stop);
    hub.stop();
    let ended = async {
        let ended = server.await;
        hub.emptied().await;
        while delivering.join_next().await.is_some() {}
        ended
    };
    match tokio::time::timeout(DRAIN_MAX, ended).await {
        Ok(ended) => ended.context("the listening socket"),
        Err(_) => {
            tracing::warn!("connections were still busy and are cut");
            Ok(())
        }
    }
}

/// The signal that ends the server; from now on none ends it otherwise.
#[cfg(unix)]
fn signal() -> Result<impl Future<Output = Result<&'static str>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = interrupt.recv() => Ok("SIGINT"),
        }
    })
}

#[cfg(not(unix))]
fn signal() -> Result<impl Future<Output = Result<&'static str>>> {
    Ok(async {
        tokio::signal::ctrl_c().await?;
        Ok("Ctrl-C")
    })
}

async fn close(app: Arc<App>) {
    // A connection that was cut may still hold it: then the store closes as after a crash, which loses nothing.
    let Some(app) = Arc::into_inner(app) else { return };
    if tokio::time::timeout(CLOSE_MAX, app.store.close()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
    tracing::info!("stopped");
}
