//! `status`, `drain`, `hold`, `resume`: what a running coordinator is asked.

use std::io::IsTerminal as _;

use serde_json::json;
use spillway_console::client::{Address, connect, refused};
use spillway_console::{json, words};
use spillway_coordinator::clock;
use spillway_output::{out, outln};
use spillway_proto::v1;
use spillway_words::shown::visible;

use crate::arguments::PoolArgument;

pub(super) async fn status(server: &Address, pool: PoolArgument, watch: bool, as_json: bool) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    let request = v1::GetFleetRequest { pool: pool.pool };
    if !watch {
        let fleet = client.get_fleet(request).await.map_err(refused)?.into_inner();
        show(&fleet, as_json);
        return Ok(());
    }
    let mut fleets =
        client.watch_fleet(v1::WatchFleetRequest { pool: request.pool }).await.map_err(refused)?.into_inner();
    while let Some(fleet) = fleets.message().await.map_err(refused)? {
        if !as_json && std::io::stdout().is_terminal() {
            // Home, and clear what is below: no flicker.
            out!("\x1b[H\x1b[J");
        }
        show(&fleet.into(), as_json);
        spillway_output::flush();
        if spillway_output::is_unread() {
            break;
        }
    }
    Ok(())
}

fn show(fleet: &v1::GetFleetResponse, as_json: bool) {
    if as_json {
        outln!("{}", json::fleet(fleet));
    } else {
        out!("{}", visible(&words::fleet(fleet, clock::system_now())));
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
