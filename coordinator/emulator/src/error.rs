//! Errors: at the start, of the EC2 API, and of the control API.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::StatusCode;

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Instances are unconfined local processes, so the API is for this host only.
    #[error("cannot listen on {0}: the emulator listens on loopback addresses only, such as 127.0.0.1:7470")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot use {} as the instances' directory", directory.display())]
    Directory { directory: PathBuf, source: std::io::Error },
    #[error("pending and shutting down may last a day at most, not {0:?}")]
    Delay(std::time::Duration),
    #[error("no command line for an instance's init: set Options::init")]
    NoInit,
    #[error("{0:?} is not a region's name such as us-east-1")]
    Region(String),
    #[error("cannot start the thread that spawns instances")]
    Thread(#[source] std::io::Error),
    #[error("--machines needs root: a machine has a network, mounts and control groups of its own")]
    NotRoot,
    #[error("--machines needs {program}: apt-get install {package}")]
    NoProgram { program: &'static str, package: &'static str },
    #[error("cannot use {} as the folder of the machines' images", folder.display())]
    Images { folder: PathBuf, source: std::io::Error },
    #[error("cannot make the network of the machines")]
    Network(#[source] std::io::Error),
}

/// An error answer of the EC2 API: its code, its message and the HTTP status that goes with the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// EC2's error code, for example `InvalidInstanceID.NotFound`.
    pub code: String,
    /// Human-readable.
    pub message: String,
    /// Instead of the status that goes with the code.
    pub(crate) status: Option<StatusCode>,
}

impl ApiError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), status: None }
    }

    pub(crate) fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    /// The HTTP status that EC2 gives an error with this code.
    pub fn status(&self) -> u16 {
        self.http_status().as_u16()
    }

    pub(crate) fn http_status(&self) -> StatusCode {
        if let Some(status) = self.status {
            return status;
        }
        match self.code.as_str() {
            "DryRunOperation" => StatusCode::PRECONDITION_FAILED,
            "AuthFailure" => StatusCode::UNAUTHORIZED,
            "UnauthorizedOperation"
            | "MissingAuthenticationToken"
            | "OptInRequired"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "ExpiredToken" => StatusCode::FORBIDDEN,
            "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" | "EC2ThrottledException" => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            "InternalError" | "InternalFailure" | "InsufficientInstanceCapacity" | "InsufficientHostCapacity" => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why a request to the control API (or its in-process form) failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    #[error("unknown instance {0}: GET /_emulator/instances lists them")]
    NoInstance(String),
    #[error("{0}")]
    NotPossible(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("unknown path {0}")]
    NoSuchPath(String),
    #[error("method {0} is not allowed on this path: GET /_emulator/ lists the methods")]
    Method(String),
}

impl ControlError {
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::NoInstance(_) | Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::NotPossible(_) => StatusCode::CONFLICT,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}
