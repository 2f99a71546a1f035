//! `status`, `drain`, `hold`, `resume`: what a running coordinator is asked.

use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use spillway_console::client::{Address, connect, refused};
use spillway_console::json;
use spillway_console::status;
use spillway_console::style::{Colors, Line};
use spillway_coordinator::clock;
use spillway_output::{out, outln};
use spillway_proto::v1;
use spillway_words::shown::visible;

use crate::arguments::PoolArgument;
use crate::terminal;

/// How much of the fleet is shown, and for how long.
#[derive(Clone, Debug, Default, Args)]
pub struct StatusOptions {
    /// Follow: print it again at each change
    #[arg(long, short)]
    watch: bool,
    /// Every instance, decision and note, however many there are
    #[arg(long, short = 'v')]
    all: bool,
    /// Only this instance, with all that is known of it
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "all"])]
    instance: Option<String>,
}

pub(super) async fn status(
    server: &Address,
    pool: PoolArgument,
    options: StatusOptions,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    let request = v1::GetFleetRequest { pool: pool.pool };
    if !options.watch {
        let fleet = client.get_fleet(request).await.map_err(refused)?.into_inner();
        return show(&fleet, &options, as_json);
    }
    let mut fleets =
        client.watch_fleet(v1::WatchFleetRequest { pool: request.pool }).await.map_err(refused)?.into_inner();
    while let Some(fleet) = fleets.message().await.map_err(refused)? {
        if !as_json && std::io::stdout().is_terminal() {
            // Home, and clear what is below: no flicker.
            out!("\x1b[H\x1b[J");
        }
        show(&fleet.into(), &options, as_json)?;
        spillway_output::flush();
        if spillway_output::is_unread() {
            break;
        }
    }
    Ok(())
}

fn show(fleet: &v1::GetFleetResponse, options: &StatusOptions, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        outln!("{}", json::fleet(fleet));
        return Ok(());
    }
    let now = clock::system_now();
    let page = terminal::page();
    let lines = match &options.instance {
        Some(id) => match status::instance(fleet, id, &page, now) {
            Some(lines) => lines,
            None => bail!("no pool has an instance {id}: `spillway status --all` lists those that there are"),
        },
        None if options.all => status::lines(fleet, &page.whole(), now),
        None => status::lines(fleet, &page, now),
    };
    print(&lines);
    Ok(())
}

fn print(lines: &[Line]) {
    match Colors::of_stdout() {
        Colors::Off => out!("{}", status::plain(lines)),
        Colors::On => lines.iter().for_each(|line| outln!("{}", line.render(Colors::On))),
    }
}

pub(super) async fn drain(
    server: &Address,
    instance: String,
    cancel: bool,
    reason: String,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    let reply = if cancel {
        client.cancel_drain(v1::CancelDrainRequest { instance_id: instance }).await.map(|it| it.into_inner().message)
    } else {
        client.drain(v1::DrainRequest { instance_id: instance, reason }).await.map(|it| it.into_inner().message)
    };
    say(reply, as_json)
}

pub(super) async fn hold(server: &Address, pool: PoolArgument, reason: String, as_json: bool) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    say(client.hold(v1::HoldRequest { pool: pool.pool, reason }).await.map(|it| it.into_inner().message), as_json)
}

pub(super) async fn resume(server: &Address, pool: PoolArgument, as_json: bool) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    say(client.resume(v1::ResumeRequest { pool: pool.pool }).await.map(|it| it.into_inner().message), as_json)
}

fn say(reply: Result<String, tonic::Status>, as_json: bool) -> anyhow::Result<()> {
    let message = reply.map_err(refused)?;
    if as_json {
        outln!("{}", json!({ "message": message }));
    } else {
        outln!("{}", visible(&message));
    }
    Ok(())
}
