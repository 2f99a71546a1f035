//! `spillway top` and `status` on a terminal: what is drawn fits it, follows its size and the coordinator, and leaves
//! it as it was, however it ends.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::terminal::{Frame, Terminal, frames, plain};
use spillway_tests::{jobs, ports, wait};

const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The alternate screen, and back from it with a cursor that is seen and lines that are broken.
const TAKEN: &str = "\x1b[?1049h";
const GIVEN_BACK: [&str; 3] = ["\x1b[?25h", "\x1b[?7h", "\x1b[?1049l"];

fn ask(what: &str, server: &str) -> std::process::Command {
    let mut command = spillway(&Environment::new());
    command.args([what, "--server", server]).current_dir("/").env("TERM", "xterm-256color");
    command
}

fn top(server: &str) -> Terminal {
    Terminal::start_with_keys(ask("top", server), 80, 24)
}

fn last(terminal: &Terminal) -> Frame {
    frames(&terminal.drawn()).pop().unwrap_or_default()
}

async fn until(stage: &Stage, terminal: &Terminal, what: &str, mut is_so: impl FnMut(&Frame) -> bool) {
    let diagnosis = async || format!("{}\n{}", last(terminal).join("\n"), stage.diagnosis().await);
    wait::until(what, diagnosis, async || is_so(&last(terminal)).then_some(())).await;
}

fn says(frame: &Frame, text: &str) -> bool {
    frame.iter().any(|line| line.contains(text))
}

/// What it drew ends with all that gives the terminal back.
fn assert_given_back(drawn: &str) {
    let (_, since) = drawn.rsplit_once(TAKEN).unwrap_or_else(|| panic!("no screen was taken: {drawn:?}"));
    let (_, end) = since.rsplit_once("\x1b[J").unwrap_or_else(|| panic!("nothing was drawn: {since:?}"));
    for sequence in GIVEN_BACK {
        assert!(end.contains(sequence), "{sequence:?} is not in {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_follows_the_fleet_its_terminals_size_and_the_coordinator_and_gives_the_terminal_back() {
    let mut stage = Stage::start(Setup::default()).await;
    let server = stage.coordinator().server();
    let mut terminal = top(&server);
    jobs::add(&stage.redis, 12, 2.0);
    let id = stage.until_ready(1).await.remove(0);
    let is_ready = |line: &String| line.contains(&id) && line.contains(" READY ");
    until(&stage, &terminal, "its lane says that it is ready", |frame| frame.iter().any(is_ready)).await;
    until(&stage, &terminal, "its launch is told", |frame| {
        says(frame, "LAST DECISIONS (UTC)") && frame.iter().any(|line| line.contains("  launch "))
    })
    .await;
    let frame = last(&terminal);
    let first = format!("spillway top  coordinator {} at {server}, leader, answered ", env!("CARGO_PKG_VERSION"));
    assert!(frame[0].starts_with(&first[..79.min(first.len())]), "{frame:#?}");
    assert!(says(&frame, "BACKLOG ") && says(&frame, "ATTENTION nothing needs a person"), "{frame:#?}");
    assert!(!terminal.is_as_a_shell_has_it(), "keys are read one by one");

    terminal.press("?");
    until(&stage, &terminal, "the keys are explained", |frame| says(frame, "No key changes the fleet")).await;
    terminal.press("?");
    until(&stage, &terminal, "the fleet is back", |frame| says(frame, "FLEET")).await;
    terminal.resize(130, 40);
    until(&stage, &terminal, "the frame is larger", |frame| {
        frame.len() == 40 && says(frame, "WHY NOT MORE, WHY NOT LESS")
    })
    .await;
    terminal.resize(80, 24);
    until(&stage, &terminal, "the frame is smaller again", |frame| frame.len() == 24).await;

    stage.coordinator = None;
    until_cut_off(&terminal).await;
    assert!(says(&last(&terminal), &id), "what was known last is there: {:#?}", last(&terminal));
    stage.start_coordinator().await;
    until(&stage, &terminal, "it follows again", |frame| frame[0].contains(", leader, answered ")).await;
    terminal.press("q");
    let (status, drawn) = end(terminal).await;
    assert!(status.success(), "{status}: {drawn}");
    assert_given_back(&drawn);
    for frame in frames(&drawn) {
        let most = if frame.len() > 24 { (40, 130) } else { (24, 80) };
        let widest = frame.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(frame.len() <= most.0 && widest <= most.1, "{} rows, {widest} columns: {frame:#?}", frame.len());
    }
}

async fn until_cut_off(terminal: &Terminal) {
    let what = async || last(terminal).join("\n");
    wait::until("it says that it is cut off", what, async || {
        last(terminal).first().is_some_and(|line| line.contains("STALE for ")).then_some(())
    })
    .await;
}

/// The terminal is looked at while the test still has it open.
async fn end(terminal: Terminal) -> (std::process::ExitStatus, String) {
    let what = async || terminal.drawn();
    wait::until("the terminal is as a shell has it", what, async || terminal.is_as_a_shell_has_it().then_some(()))
        .await;
    terminal.end_within(ENDS_WITHIN).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_gives_the_terminal_back_at_ctrl_c_and_at_every_signal_that_ends_it() {
    let stage = Stage::start(Setup::default()).await;
    for ending in [None, Some(libc::SIGTERM), Some(libc::SIGINT), Some(libc::SIGHUP)] {
        let mut terminal = top(&stage.coordinator().server());
        until(&stage, &terminal, "it draws", |frame| says(frame, "FLEET     none")).await;
        match ending {
            None => terminal.press("\x03"),
            Some(signal) => terminal.signal(signal),
        }
        let (status, drawn) = end(terminal).await;
        assert!(status.success(), "{ending:?}: {status}: {drawn}");
        assert_given_back(&drawn);
    }
    // Without keys it draws as well, and says how it ends.
    let terminal = Terminal::start(ask("top", &stage.coordinator().server()), 80, 24);
    until(&stage, &terminal, "it draws", |frame| says(frame, "Ctrl-C quits; no keys")).await;
    terminal.signal(libc::SIGINT);
    let (status, drawn) = terminal.end_within(ENDS_WITHIN).await;
    assert!(status.success(), "{status}: {drawn}");
    assert_given_back(&drawn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_that_is_stopped_gives_the_terminal_back_and_takes_it_again_when_it_goes_on() {
    let stage = Stage::start(Setup::default()).await;
    // A job of its own, as a shell makes it: the key stops all of a job.
    let mut command = ask("top", &stage.coordinator().server());
    command.process_group(0);
    let mut terminal = Terminal::start_with_keys(command, 80, 24);
    until(&stage, &terminal, "it draws", |frame| says(frame, "FLEET     none")).await;
    for (turn, signal) in [None, Some(libc::SIGTSTP), Some(libc::SIGSTOP)].into_iter().enumerate() {
        match signal {
            None => terminal.press("\x1a"),
            Some(signal) => terminal.signal(signal),
        }
        let what = async || terminal.drawn();
        wait::until("it is stopped", what, async || terminal.is_stopped().then_some(())).await;
        if signal == Some(libc::SIGSTOP) {
            // Nobody can catch it: the shell sets the terminal to its own modes.
            terminal.set_as_a_shell_has_it();
        } else {
            assert_given_back(&terminal.drawn());
        }
        assert!(terminal.is_as_a_shell_has_it(), "{signal:?}");
        terminal.signal(libc::SIGCONT);
        wait::until("it draws on a screen of its own again", what, async || {
            let drawn = terminal.drawn();
            let (before, since) = drawn.rsplit_once(TAKEN)?;
            (before.matches(TAKEN).count() > turn && since.contains("\x1b[J")).then_some(())
        })
        .await;
        wait::until("keys are read one by one", what, async || (!terminal.is_as_a_shell_has_it()).then_some(())).await;
        assert!(says(&last(&terminal), "FLEET     none"), "{:#?}", last(&terminal));
    }
    terminal.press("q");
    let (status, drawn) = end(terminal).await;
    assert!(status.success(), "{status}: {drawn}");
    assert_given_back(&drawn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_that_cannot_begin_takes_no_terminal_and_says_what_to_do() {
    let nobody = format!("127.0.0.1:{}", ports::free());
    let (status, drawn) = top(&nobody).end_within(ENDS_WITHIN).await;
    assert_eq!(status.code(), Some(1));
    assert!(drawn.contains("no coordinator answers at") && !drawn.contains(TAKEN), "{drawn:?}");
    let piped = output(&mut ask("top", &nobody));
    let said = text(&piped.stderr);
    assert_eq!((piped.status.code(), text(&piped.stdout).as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("top draws on a terminal") && said.contains("`spillway status`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_fits_a_terminal_and_has_colours_there_alone() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 12, 2.0);
    let id = stage.until_ready(1).await.remove(0);
    let shown = async |no_color: &str| {
        let mut command = ask("status", &stage.coordinator().server());
        command.env("NO_COLOR", no_color);
        let (status, drawn) = Terminal::start(command, 60, 20).end_within(ENDS_WITHIN).await;
        assert!(status.success(), "{status}: {drawn}");
        drawn
    };
    let colored = shown("").await;
    assert!(colored.contains("\x1b[32mREADY"), "{colored:?}");
    let lines: Vec<String> = plain(&colored).lines().map(|line| line.trim_end().to_owned()).collect();
    assert!(lines.len() < 20 && lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains(&id)), "{lines:#?}");
    assert!(!shown("1").await.contains('\x1b'), "NO_COLOR");
    let piped = output(&mut ask("status", &stage.coordinator().server()));
    assert!(!text(&piped.stdout).contains('\x1b'), "{}", text(&piped.stdout));

    let mut one = ask("status", &stage.coordinator().server());
    let one = text(&output(one.args(["--instance", &id])).stdout);
    assert!(one.starts_with(&format!("  {id}")) && !one.contains("  queue "), "{one}");
    let none = output(ask("status", &stage.coordinator().server()).args(["--instance", "i-0"]));
    assert!(!none.status.success() && text(&none.stderr).contains("`spillway status --all`"), "{none:?}");
}
