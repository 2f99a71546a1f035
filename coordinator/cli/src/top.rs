//! `spillway top`: the fleet live. Owns the connection, the keys and the loop between them; what is drawn is
//! `spillway_console::top`'s, the terminal is `terminal`'s. It asks, and changes nothing.
//!
//! - `follow`: the fleet as the coordinator tells it, also after it was away
//! - `keys`: what is typed

mod follow;
mod keys;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::bail;
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use spillway_console::client::Address;
use spillway_console::top::{Model, frame};
use spillway_coordinator::clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::interval;

use crate::arguments::PoolArgument;
use crate::terminal::{Screen, has_job_control, size};
use follow::{News, Session};
use keys::{Keys, Pressed};

/// Ages are of seconds; a terminal that tells nobody of its new size is asked for it as often.
const REDRAW: Duration = Duration::from_secs(1);

pub(super) async fn run(server: &Address, pool: PoolArgument) -> anyhow::Result<()> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !std::io::stdout().is_terminal() || is_dumb {
        bail!(
            "top draws on a terminal, and standard output is none that can be drawn on: `spillway status` prints the fleet \
             once, and `spillway status --watch` at each change"
        );
    }
    // Before the screen is taken: what is wrong from the beginning is said as by the other commands.
    let session = Session::open(server, &pool.pool).await?;
    let mut screen = Screen::new();
    let ended = watch(session, server, &pool.pool, &mut screen).await;
    screen.close();
    ended
}

/// Until a key or a signal ends it, or nobody sees it any more.
async fn watch(session: Session, server: &Address, pool: &str, screen: &mut Screen) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut stop = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let mut go_on = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    let mut keys = Keys::begin(screen);
    let mut model = Model::new(&server.address, keys.are_read());
    let (sender, mut news) = mpsc::channel(4);
    let following = follow::follow(session, server, pool, sender);
    tokio::pin!(following);
    let mut redraw = interval(REDRAW);
    loop {
        tokio::select! {
            () = &mut following => return Ok(()),
            Some(news) = news.recv() => take(&mut model, news),
            pressed = keys.pressed() => match pressed {
                Pressed::Quit => return Ok(()),
                Pressed::Key(key) => model.press(key, size(), clock::system_now()),
                // As where the terminal makes a signal of it: the whole job stops.
                Pressed::Stop if has_job_control() => {
                    let _ = kill_current_process_group(Signal::TSTP);
                }
                Pressed::Stop | Pressed::Other => {}
            },
            _ = stop.recv() => if has_job_control() {
                screen.close();
                // Another thread may be stopped first: nothing is drawn before it is told to go on.
                let _ = kill_process(getpid(), Signal::STOP);
                go_on.recv().await;
                reopen(screen, &keys);
            },
            // Also of one that was stopped without being asked: a shell has set its own modes meanwhile.
            _ = go_on.recv() => reopen(screen, &keys),
            _ = redraw.tick() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
        if screen.draw(|size| frame(&model, size, clock::system_now())).is_err() {
            return Ok(());
        }
    }
}

/// From the beginning: what was known of the terminal's modes is not so any more.
fn reopen(screen: &mut Screen, keys: &Keys) {
    screen.close();
    if keys.are_read() {
        screen.take_keys();
    }
}

fn take(model: &mut Model, news: News) {
    match news {
        News::Fleet(fleet) => model.answered(*fleet, clock::system_now()),
        News::Past(plans, since) => model.remember(&plans, since),
        News::CutOff(problem) => model.cut_off(problem),
    }
}
