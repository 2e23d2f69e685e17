//! `postern serve`: one process's life, from the data folder to the last drained request.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin::{Controls, Listener, bind_socket, serve_listener, serve_socket};
use anyhow::{Context, Result, anyhow};
use model::Authority;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Settings, listen_now};
use crate::arguments::{Place, Serve};
use crate::records::Sink;
use crate::settings::{config_file, data_folder, master_key};
use crate::watch::{settle, watch};

/// Runs until a signal ends it.
pub(crate) async fn serve(place: &Place, arguments: &Serve) -> Result<()> {
    let data = data_folder(place)?;
    let access_log = match &arguments.access_log {
        None => Sink::File(data.join("access.jsonl")),
        Some(path) if path == Path::new("-") => Sink::Output,
        Some(path) => Sink::File(path.clone()),
    };
    // Ports first: a busy one is the commonest mistake, and nothing is touched yet.
    let proxy = listen_now(arguments.listen)?;
    let admin = listen_now(arguments.admin)?;
    let public_url = match &arguments.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", admin.local_addr()?),
    };
    let settings =
        Settings { config: config_file(place)?, data, master_key: master_key(place), public_url, access_log };
    let (app, writer) = App::open(settings)?;
    Process::start(&app, proxy, admin)?.run(&app, arguments.drain).await?;
    let _ = std::fs::remove_file(app.settings().data.join("admin.sock"));
    app.recorder().close();
    let _ = tokio::task::spawn_blocking(move || writer.join()).await;
    Ok(())
}

/// The listeners of a serving process.
struct Process {
    stop: CancellationToken,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    fn start(app: &Arc<App>, proxy: TcpListener, admin: TcpListener) -> Result<Self> {
        let stop = CancellationToken::new();
        let process = Self { proxy: proxy.local_addr()?, admin: admin.local_addr()?, stop };
        app.note_addresses(process.proxy, process.admin);
        app.open_own_listeners()?;
        app.own().add(process.admin);
        let hosts = Arc::new(public_host(&app.settings().public_url)?);
        let controls = Arc::clone(app) as Arc<dyn Controls>;
        let stopped = process.stop.clone().cancelled_owned();
        let desk = app.desk();
        tokio::spawn(serve_listener(admin, Listener { desk: desk.clone(), controls, hosts }, stopped));
        let socket = app.settings().data.join("admin.sock");
        let socket =
            bind_socket(&socket).with_context(|| format!("the admin socket {} cannot be made", socket.display()))?;
        tokio::spawn(serve_socket(socket, desk, process.stop.clone().cancelled_owned()));
        tokio::spawn(Arc::clone(app.house()).listen(proxy, None, CancellationToken::new()));
        tokio::spawn(Arc::clone(app.house()).keep());
        let vault = Arc::clone(app.vault());
        tokio::spawn(async move { vault.tend().await });
        tokio::spawn(watch(Arc::clone(app)));
        tokio::spawn(settle(Arc::clone(app)));
        Ok(process)
    }

    async fn run(self, app: &Arc<App>, drain: Duration) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut rotate = signal(SignalKind::user_defined1())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        println!("ready proxy={} admin={}", self.proxy, self.admin);
        tell_systemd(&[sd_notify::NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    let reloading = Arc::clone(app);
                    let _ = tokio::task::spawn_blocking(move || reloading.reload_all()).await;
                }
                _ = rotate.recv() => app.recorder().reopen(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tell_systemd(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("draining: running requests have {} s to end", drain.as_secs());
        let whole = app.house().drain(drain).await;
        if !whole {
            tracing::warn!("the drain's time is up: what was still running was cut");
        }
        app.vault().land().await;
        let settling = Arc::clone(app);
        let _ = tokio::task::spawn_blocking(move || settling.settle_key_uses()).await;
        self.stop.cancel();
        Ok(())
    }
}

fn public_host(url: &str) -> Result<Vec<model::Host>> {
    let (_, rest) = url
        .split_once("://")
        .ok_or_else(|| anyhow!("--public-url \"{url}\" is no URL: write it as in https://postern.example.com"))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let authority = Authority::parse_with_default(authority, 443).with_context(|| format!("--public-url \"{url}\""))?;
    Ok(vec![authority.host().clone()])
}

/// Without a service manager there is nobody to tell.
fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
