//! The instance's console: all that its processes print, in `console.log`, within a limit.

use std::fs::File;
use std::io::{self, PipeWriter, Write as _};
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// A console of this size begins anew; the one before is kept.
const MAX_LOG_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    log: File,
    written: u64,
    /// None once every process has closed it.
    pipe: Option<pipe::Receiver>,
    /// For the processes; taken by the first.
    writer: Option<PipeWriter>,
    buffer: Vec<u8>,
}

impl Console {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("console.log");
        let log = File::options().create(true).append(true).open(&path)?;
        let (reader, writer) = io::pipe()?;
        let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok(Self { path, log, written: 0, pipe: Some(pipe), writer: Some(writer), buffer: vec![0; 8 * 1024] })
    }

    /// The end that processes write to. Only one is given out, so that the console ends with its last process.
    pub(super) fn writer(&mut self) -> io::Result<PipeWriter> {
        self.writer.take().ok_or_else(|| io::Error::other("the console is in use"))
    }

    /// A line of init's own.
    pub(super) fn say(&mut self, line: &str) {
        self.write(format!("[init] {line}\n").as_bytes());
    }

    /// Reads what is available; waits if there is nothing.
    pub(super) async fn pump(&mut self) {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        match pipe.read(&mut self.buffer).await {
            Ok(0) | Err(_) => self.pipe = None,
            Ok(length) => {
                let piece = self.buffer.get(..length).unwrap_or_default().to_vec();
                self.write(&piece);
            }
        }
    }

    /// Reads the rest; all writers must have ended.
    pub(super) async fn drain(&mut self) {
        self.writer = None;
        let everything = async {
            while self.pipe.is_some() {
                self.pump().await;
            }
        };
        // A process that could not be killed may hold it open.
        drop(tokio::time::timeout(std::time::Duration::from_secs(1), everything).await);
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.written > MAX_LOG_BYTES {
            self.written = 0;
            drop(std::fs::rename(&self.path, self.path.with_extension("log.1")));
            if let Ok(log) = File::options().create(true).append(true).open(&self.path) {
                self.log = log;
            }
        }
        // A full disk costs console lines, not the instance.
        drop(self.log.write_all(bytes));
        self.written = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
}
