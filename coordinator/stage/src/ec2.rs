//! EC2's emulator, and what an AWS client must be told to find it and nothing else.

use std::ffi::OsString;
use std::path::Path;

use spillway_emulator::{Emulator, Options};

use crate::programs;

/// How the emulator is run in `directory`. `init` becomes an instance's init (see [`Options::init`]).
pub fn options(directory: &Path, init: Vec<OsString>) -> Options {
    let mut options = Options::new(directory.join("ec2"), init);
    options.environment = vec![("BUN_INSTALL_CACHE_DIR".into(), programs::bun_cache().into())];
    options
}

/// Variables by which an AWS client finds the emulator: any credentials do, and no real account is reached.
pub fn client_environment(emulator: &Emulator) -> [(String, String); 4] {
    [
        ("AWS_ENDPOINT_URL_EC2", emulator.endpoint()),
        ("AWS_ACCESS_KEY_ID", "emulator".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "emulator".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}
