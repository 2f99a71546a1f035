//! A program on a terminal of its own, and all that it drew there.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::time::{Instant, sleep};

#[derive(Debug)]
pub struct Terminal {
    child: Child,
    /// Reads until nobody has the terminal open any more.
    drawn: Option<JoinHandle<Vec<u8>>>,
}

impl Terminal {
    /// Starts a command made by [`crate::process::command`], which reads nothing.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("its size");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("a path");
        let open = || File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&name).expect(&name);
        let child = command.stdin(Stdio::null()).stdout(open()).stderr(open()).spawn().expect("the program");
        // It holds the terminal open as well.
        drop(command);
        let drawn = std::thread::spawn(move || {
            let (mut master, mut drawn, mut chunk) = (File::from(master), Vec::new(), [0; 16_384]);
            // EIO: the last of them has closed it.
            while let Ok(length @ 1..) = master.read(&mut chunk) {
                drawn.extend_from_slice(&chunk[..length]);
            }
            drawn
        });
        Self { child, drawn: Some(drawn) }
    }

    /// Waits for the program's end, and returns all that was drawn.
    pub async fn end_within(mut self, timeout: Duration) -> (ExitStatus, String) {
        let until = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < until, "it has not ended within {timeout:?}");
            sleep(Duration::from_millis(50)).await;
        };
        let drawn = self.drawn.take().and_then(|drawn| drawn.join().ok()).expect("it was read");
        (status, String::from_utf8_lossy(&drawn).into_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
