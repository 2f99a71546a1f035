//! EC2's wire API, instance metadata (IMDSv2) and STS on loopback. The instances are local processes.
//!
//! With [`Options::machines`] they are machines instead: directory trees with a systemd of their own, booted by
//! systemd-nspawn, whose user data cloud-init runs. With [`Options::empty`] nothing runs in them.
//!
//! For demos and tests that run the real AWS client: set `AWS_ENDPOINT_URL_EC2` (and `AWS_ENDPOINT_URL_STS`) to
//! [`Emulator::endpoint`]. Each instance runs its user data in a directory and an environment of its own, and finds its
//! metadata by `AWS_EC2_METADATA_SERVICE_ENDPOINT`. What EC2 does not offer (interruptions, faults, the log of calls)
//! is under `/_emulator/` on the same port.
//!
//! Instances are not confined: they are processes of the user who runs the emulator. It therefore listens on loopback
//! only, rejects web pages, and has a [`Key`] that clients sign with. A program that powers off the host by an absolute
//! path is not intercepted.
//!
//! Map: `server` takes requests, `signature` and `key` say whose; `api` is EC2's API, `control` the rest, which calls
//! `instance_control` and `faults`; both work on `resources`, behind the lock in `shared`. `sts`, `ssm`, `iam` and
//! `quotas` are more of AWS' services. `lifecycle` is an instance's task in the emulator, `init_process` its handle on
//! the processes, and `init` the process at their root; `machines` is what machines need besides. `imds` is an
//! instance's metadata service. Nothing here depends on Spillway.

mod api;
mod calls;
pub mod cli;
mod clock;
mod control;
mod credentials;
mod embed;
mod endings;
mod error;
mod faults;
mod http;
mod iam;
mod idempotency;
mod imds;
pub mod init;
mod init_process;
mod instance_control;
mod key;
mod launch_data;
mod lifecycle;
mod machines;
mod model;
mod query;
mod quotas;
mod record;
mod region;
mod resources;
mod server;
mod service;
mod shared;
mod signature;
mod ssm;
mod sts;
mod tags;
mod templates;
mod xml;

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use calls::{Call, Calls};
pub use embed::LaunchTemplate;
pub use error::{ApiError, ControlError, StartError};
pub use faults::{Canned, Capacity, Delay, FailLaunch, Lose, Refuse};
pub use key::{Key, KeyError};
pub use model::{InstanceState, Interruption, Lifecycle, Maintenance, Notice, ShutdownBehavior, StateReason};
pub use record::{InstanceRecord, VolumeRecord};

use init_process::Spawner;
use machines::Machines;
use region::Region;
use shared::{Shared, State};

/// Limit of `pending` and `shutting_down`.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The end of all instances takes at most this long.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Sockets of programs in an instance (PM2's, for one) have room for paths of 107 bytes.
const LONG_DIRECTORY_BYTES: usize = 60;

/// How to run an emulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: loopback only. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Where instances have their directories, one each, named after its id. Keep the path short: programs in an
    /// instance put sockets there.
    pub directory: PathBuf,
    /// How long an instance is pending.
    pub pending: Duration,
    /// How long an instance is shutting down, and what its processes get between SIGTERM and SIGKILL.
    pub shutting_down: Duration,
    /// The command line that becomes an instance's init: a program that calls [`init::main`] with the arguments that
    /// are put behind it. For example `[current_exe, "instance-init"]`.
    pub init: Vec<OsString>,
    /// The region to emulate.
    pub region: String,
    /// What every request must prove to know. Without one, every local user can run programs as this one.
    pub key: Option<Key>,
    /// Where the images are, each a directory tree `ami-…`: instances are then machines, booted with systemd-nspawn.
    /// None: instances are processes.
    pub machines: Option<PathBuf>,
    /// Nothing runs in the instances: they have states, addresses and metadata, and thousands of them fit.
    pub empty: bool,
    /// More environment for instances that are processes, before their own where names are the same. A PATH goes behind
    /// the directory of the programs that power off.
    pub environment: Vec<(OsString, OsString)>,
}

impl Options {
    /// A free port, two seconds of pending and of shutting down, us-east-1, a random key.
    pub fn new(directory: impl Into<PathBuf>, init: Vec<OsString>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            directory: directory.into(),
            pending: Duration::from_secs(2),
            shutting_down: Duration::from_secs(2),
            init,
            region: "us-east-1".to_owned(),
            key: Some(Key::random()),
            machines: None,
            empty: false,
            environment: Vec::new(),
        }
    }
}

/// A running emulator. Dropped, it ends in the background, as [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    ended: mpsc::Receiver<Infallible>,
}

/// Starts an emulator. It is ready when this returns.
pub async fn start(mut options: Options) -> Result<Emulator, StartError> {
    if !options.listen.ip().is_loopback() {
        return Err(StartError::NotLoopback(options.listen));
    }
    if options.init.is_empty() {
        return Err(StartError::NoInit);
    }
    for delay in [options.pending, options.shutting_down] {
        if delay > MAX_DELAY {
            return Err(StartError::Delay(delay));
        }
    }
    let region = Region::new(&options.region).ok_or_else(|| StartError::Region(options.region.clone()))?;
    let directory = options.directory.clone();
    let unusable = |source| StartError::Directory { directory: directory.clone(), source };
    tokio::fs::create_dir_all(&options.directory).await.map_err(unusable)?;
    // Instances work in directories of their own.
    options.directory = tokio::fs::canonicalize(&options.directory).await.map_err(unusable)?;
    if options.directory.as_os_str().len() > LONG_DIRECTORY_BYTES {
        tracing::warn!(directory = %options.directory.display(), "the directory's path is long: paths of Unix sockets below it may exceed 107 bytes");
    }
    let machines = options.machines.as_deref().map(Machines::start).transpose()?;
    let metadata = match &machines {
        Some(machines) => Some(machines.metadata().await?),
        None => None,
    };
    let listen = options.listen;
    let failed = |source| StartError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let spawner = Spawner::new().map_err(StartError::Thread)?;
    let (alive, ended) = mpsc::channel(1);
    let shared = Shared::new(options, region, spawner, machines, address, State::new(alive));
    register_images(&shared);
    if let Some(metadata) = metadata {
        tokio::spawn(imds::serve_machines(Arc::clone(&shared), metadata));
    }
    let serving = Arc::clone(&shared);
    let server = tokio::spawn(http::serve(listener, shared.stopping.subscribe(), move |parts, body| {
        server::handle(Arc::clone(&serving), parts, body)
    }));
    tracing::info!(%address, "emulator is ready");
    Ok(Emulator { shared, address, server: Some(server), ended })
}

/// What can be launched as a machine can be described.
fn register_images(shared: &Shared) {
    let ids = shared.machines.as_ref().map(Machines::images).unwrap_or_default();
    shared.change(|state, now_ms| ids.iter().for_each(|id| api::register_image(state, now_ms, id)));
}

impl Emulator {
    /// What `AWS_ENDPOINT_URL_EC2` must be: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The secret access key of its AWS clients, and the bearer token of its control API.
    pub fn key(&self) -> Option<&Key> {
        self.shared.options.key.as_ref()
    }

    /// The address of the EC2 and control APIs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all instances at once, closes all ports, and returns when no process is left.
    pub async fn stop(mut self) {
        self.begin_to_stop();
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::warn!(%error, "the server failed");
        }
        // Received when every instance's task has let go of its copy.
        if tokio::time::timeout(STOP_TIMEOUT, self.ended.recv()).await.is_err() {
            tracing::error!("some instances did not end in time");
        }
        tracing::info!("emulator stopped");
    }

    fn begin_to_stop(&self) {
        self.shared.state().alive = None;
        self.shared.stopping.send_replace(true);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.begin_to_stop();
    }
}
