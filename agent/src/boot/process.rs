//! Runs one command in a process group of its own: time-out, abort, the tail of its output. Owns that nothing of the
//! group outlives a command that did not end well; never reads its output for meaning.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use spillway_words::in_words;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The most output that is kept of one command.
pub const TAIL_BYTES: usize = 4096;
/// Between SIGTERM and SIGKILL: git must remove its lock files.
const GRACE: Duration = Duration::from_secs(3);
/// What a background process may still write after its parent has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a command ended, and its output.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub took: Duration,
    /// The last of stdout and stderr.
    pub tail: String,
}

/// How a command ended.
#[derive(Debug)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal that was not ours.
    Signalled(i32),
    /// Its time was up.
    TimedOut,
    /// It was aborted.
    Aborted,
    /// It never began.
    NotStarted(std::io::Error),
}

/// Runs the command to its end, its time-out, or until `abort` turns true.
pub async fn run(mut command: Command, limit: Duration, abort: watch::Receiver<bool>) -> Finished {
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Finished { end: End::NotStarted(error), took: Duration::ZERO, tail: String::new() },
    };
    let group = Group::of(&child);
    let mut tail = Tail::default();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let end = {
        let mut reading = pin!(read_both(out, err, &mut tail));
        let mut read_all = false;
        let mut limit = pin!(sleep(limit));
        let mut aborted = pin!(turns_true(abort));
        let end = loop {
            tokio::select! {
                status = child.wait() => break ended(status),
                () = &mut reading, if !read_all => read_all = true,
                () = &mut limit => break End::TimedOut,
                () = &mut aborted => break End::Aborted,
            }
        };
        if matches!(end, End::TimedOut | End::Aborted) {
            group.signal(Signal::TERM);
            let _ = timeout(GRACE, async {
                tokio::join!(child.wait(), async {
                    if !read_all {
                        (&mut reading).await
                    }
                })
            })
            .await;
            read_all = true;
        }
        if !read_all {
            let _ = timeout(LAST_WORDS, reading).await;
        }
        end
    };
    if matches!(end, End::Exited(0)) {
        group.release();
    } else {
        drop(group);
        let _ = child.wait().await;
    }
    Finished { end, took: started.elapsed(), tail: tail.text() }
}

/// Runs the command and returns all of its stdout, or the reason why it cannot, in words.
pub async fn output(mut command: Command, limit: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
    let group = Group::of(&child);
    let mut stdout = child.stdout.take().ok_or("cannot read its output")?;
    let mut bytes = Vec::new();
    let all = async { tokio::join!(stdout.read_to_end(&mut bytes), child.wait()) };
    let (read, status) = timeout(limit, all).await.map_err(|_| format!("timed out after {}", in_words(limit)))?;
    group.release();
    read.map_err(|error| format!("cannot read its output: {error}"))?;
    match status.map_err(|error| format!("cannot wait for its end: {error}"))? {
        status if status.success() => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        status => Err(format!("ended with {status}")),
    }
}

fn ended(status: std::io::Result<ExitStatus>) -> End {
    match status {
        Err(error) => End::NotStarted(error),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Signalled(signal.unwrap_or(0)),
        },
    }
}

/// Waits until the value is true; for ever once its sender is dropped.
async fn turns_true(mut value: watch::Receiver<bool>) {
    if value.wait_for(|value| *value).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A process group that is killed when it is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may have ended already.
            let _ = kill_process_group(group, signal);
        }
    }

    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_both(out: Option<impl AsyncRead + Unpin>, err: Option<impl AsyncRead + Unpin>, tail: &mut Tail) {
    let (mut out, mut err) = (out, err);
    let (mut a, mut b) = ([0; 1024], [0; 1024]);
    while out.is_some() || err.is_some() {
        tokio::select! {
            n = read(out.as_mut(), &mut a), if out.is_some() => if n == 0 { out = None } else { tail.push(&a[..n]) },
            n = read(err.as_mut(), &mut b), if err.is_some() => if n == 0 { err = None } else { tail.push(&b[..n]) },
        }
    }
}

async fn read(from: Option<&mut (impl AsyncRead + Unpin)>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// The last bytes of an output.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// As text: whole lines where lines were cut off, no terminal colours, valid UTF-8 of at most `TAIL_BYTES`.
    fn text(self) -> String {
        let bytes: Vec<u8> = self.bytes.into();
        let whole = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) if self.cut && at + 1 < bytes.len() => &bytes[at + 1..],
            _ => &bytes,
        };
        let mut text = plain(&String::from_utf8_lossy(whole));
        while text.len() > TAIL_BYTES {
            // A byte that is not UTF-8 becomes three.
            text.remove(0);
        }
        text
    }
}

/// Without terminal sequences and other control characters.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        } else if c == '\n' || c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).process_group(0);
        command
    }

    fn never() -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn tells_how_a_command_ended() {
        let finished = run(sh("echo out; echo err >&2; exit 3"), LONG, never()).await;
        assert!(matches!(finished.end, End::Exited(3)), "{finished:?}");
        assert!(finished.tail.contains("out\n") && finished.tail.contains("err\n"), "{finished:?}");
        assert!(matches!(run(sh("kill -9 $$"), LONG, never()).await.end, End::Signalled(9)));
        assert!(matches!(run(Command::new("/no/such"), LONG, never()).await.end, End::NotStarted(_)));
    }

    #[tokio::test]
    async fn a_time_out_and_an_abort_leave_nothing_of_the_group() {
        for abort in [false, true] {
            let (aborter, aborted) = watch::channel(false);
            let limit = if abort { LONG } else { Duration::from_millis(200) };
            // The inner shell ignores TERM: only the kill of the group ends it.
            let line = "echo begun; (trap '' TERM; echo $$ ; sh -c 'echo pid=$PPID; sleep 60') & wait";
            let running = run(sh(line), limit, aborted);
            let (finished, ()) = tokio::join!(running, async {
                sleep(Duration::from_millis(200)).await;
                aborter.send_replace(abort);
            });
            assert!(matches!(finished.end, End::TimedOut | End::Aborted), "{finished:?}");
            let pid = finished.tail.split("pid=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{pid} still runs: {stat}");
        }
    }

    #[tokio::test]
    async fn a_background_process_of_a_good_command_lives_and_is_not_waited_for() {
        let finished = run(sh("sleep 30 & echo pid=$!"), LONG, never()).await;
        assert!(matches!(finished.end, End::Exited(0)), "{finished:?}");
        let pid: i32 = finished.tail.trim().trim_start_matches("pid=").parse().unwrap();
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_tail_is_short_whole_and_plain() {
        let mut tail = Tail::default();
        for i in 0..2000 {
            tail.push(format!("line {i} é\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= TAIL_BYTES && text.starts_with("line ") && text.ends_with("line 1999 é\n"), "{text}");
        let mut tail = Tail::default();
        tail.push(&[0xff; 5000]);
        assert!(tail.text().len() <= TAIL_BYTES);
        let mut tail = Tail::default();
        tail.push(b"\x1b[32m[PM2] \x1b[39mDone\r\n\0");
        assert_eq!(tail.text(), "[PM2] Done\n");
    }
}
