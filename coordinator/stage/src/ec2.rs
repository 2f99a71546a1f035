//! EC2's emulator, and what an AWS client must be told to find it and nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use spillway_emulator::{Emulator, Key, Options};

use crate::programs;

/// The variable by which game days and `spillway emulator` find the key's file.
pub const KEY_FILE: &str = "SPILLWAY_EMULATOR_KEY_FILE";

/// How the emulator is run in `directory`, with a key that is made for it. `init` becomes an instance's init (see
/// [`Options::init`]).
///
/// # Errors
///
/// The key cannot be written.
pub fn options(directory: &Path, init: Vec<OsString>) -> anyhow::Result<Options> {
    let mut options = Options::new(directory.join("ec2"), init);
    options.environment = vec![("BUN_INSTALL_CACHE_DIR".into(), programs::bun_cache().into())];
    options.key = Some(Key::read_or_create(&key_file(directory))?);
    Ok(options)
}

/// Where the key of the emulator in `directory` is.
pub fn key_file(directory: &Path) -> PathBuf {
    directory.join("emulator.key")
}

/// Variables by which an AWS client finds the emulator and signs for it; no real account is reached.
pub fn client_environment(emulator: &Emulator) -> [(String, String); 8] {
    [
        ("AWS_ENDPOINT_URL_EC2", emulator.endpoint()),
        ("AWS_ENDPOINT_URL_STS", emulator.endpoint()),
        ("AWS_ENDPOINT_URL_SSM", emulator.endpoint()),
        ("AWS_ENDPOINT_URL_IAM", emulator.endpoint()),
        ("AWS_ENDPOINT_URL_SERVICE_QUOTAS", emulator.endpoint()),
        ("AWS_ACCESS_KEY_ID", "emulator".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret(emulator).to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// What requests to the emulator are signed with.
pub fn secret(emulator: &Emulator) -> &str {
    emulator.key().map_or("emulator", Key::expose)
}
