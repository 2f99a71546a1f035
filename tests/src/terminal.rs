//! A program on a terminal of its own, and all that it drew there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::time::{Instant, sleep};

/// Lines of text.
pub type Frame = Vec<String>;

#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    drawn: Arc<Mutex<Vec<u8>>>,
    /// Reads until nobody has the terminal open any more.
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a command made by [`crate::process::command`], which reads nothing.
    pub fn start(command: Command, columns: u16, rows: u16) -> Self {
        Self::begin(command, columns, rows, false)
    }

    /// The same, for one that reads what is typed.
    pub fn start_with_keys(command: Command, columns: u16, rows: u16) -> Self {
        Self::begin(command, columns, rows, true)
    }

    fn begin(mut command: Command, columns: u16, rows: u16, has_keys: bool) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("a path");
        let master = File::from(master);
        resize(&master, columns, rows);
        let open = || File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&name).expect(&name);
        let input = if has_keys { open().into() } else { Stdio::null() };
        let child = command.stdin(input).stdout(open()).stderr(open()).spawn().expect("the program");
        // It holds the terminal open as well.
        drop(command);
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (master.try_clone().expect("a terminal"), Arc::clone(&drawn));
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 16_384];
            // EIO: the last of them has closed it.
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, master, drawn, reader: Some(reader) }
    }

    /// All that was drawn so far.
    pub fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the keys");
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.master, columns, rows);
    }

    /// Whether it shows what is typed and hands it over in lines, as a shell leaves it.
    pub fn is_as_a_shell_has_it(&self) -> bool {
        let modes = tcgetattr(&self.master).expect("its modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    pub fn set_as_a_shell_has_it(&self) {
        let mut modes = tcgetattr(&self.master).expect("its modes");
        modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(&self.master, OptionalActions::Now, &modes).expect("its modes");
    }

    /// Whether the program stands still, as a shell sees it.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        // Behind the name, which may have blanks.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill only sends a signal to the child, which is not waited for before.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the program's end, and returns all that was drawn.
    pub async fn end_within(mut self, timeout: Duration) -> (ExitStatus, String) {
        let until = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < until, "it has not ended within {timeout:?}: {}", self.drawn());
            sleep(Duration::from_millis(50)).await;
        };
        self.reader.take().map(JoinHandle::join).expect("it was started").expect("it was read");
        (status, self.drawn())
    }
}

/// What was drawn between one return to the first line and the next.
pub fn frames(drawn: &str) -> Vec<Frame> {
    let whole = |frame: &str| frame.split_once("\x1b[J").map(|(frame, _)| plain(frame));
    let lines = |text: String| text.split('\n').map(|line| line.trim_end().to_owned()).collect();
    drawn.split("\x1b[H").skip(1).filter_map(whole).map(lines).collect()
}

/// Without what sets colours and clears.
pub fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("a size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
