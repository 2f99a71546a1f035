//! `spillway run`.

use std::path::Path;

use spillway_console::{json, status};
use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::web::Pages;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(super) async fn run(file: Option<&Path>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let settings = config::load(file, &config::process_environment(), Needs::Everything)?;
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.send(true);
    });
    let pages = Pages { text: status::text, status: json::fleet };
    spillway_coordinator::run::run(settings, pages, |_| {}, stopping).await
}
