//! Secrets from files: those that a `…_file` key names, and the service's credentials (systemd's LoadCredential). They
//! come before every other place, since an environment is seen by whoever may look at the process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use toml::Value;

use super::ConfigError;
use super::environment::{Target, get};
use super::variables::Variable;

/// A secret's key, the key that names its file, and its name among the credentials.
const SECRETS: [(&str, &str, &str); 4] = [
    ("redis.url", "redis.url_file", "redis-url"),
    ("ledger.url", "ledger.url_file", "ledger-url"),
    ("grpc.join_token", "grpc.join_token_file", "join-token"),
    ("notify.webhook_url", "notify.webhook_url_file", "notify-webhook-url"),
];

/// Sets the secrets that are in files. `credentials` is where systemd has put them.
///
/// # Errors
/// A file that is named cannot be read, or is empty.
pub(super) fn read(target: &mut Target<'_>, credentials: Option<&Path>) -> Result<(), ConfigError> {
    for (key, file_key, name) in SECRETS {
        let named = get(target.table, &parts(file_key)).and_then(Value::as_str).filter(|file| !file.is_empty());
        let credential = credentials.map(|directory| directory.join(name)).filter(|file| file.exists());
        let (file, origin) = match (named.map(PathBuf::from), credential) {
            (Some(file), _) => (file, target.origins.of(file_key)),
            (None, Some(file)) => (file, target.origins.of(key)),
            (None, None) => continue,
        };
        let bad = |detail: String| ConfigError::Bad { origin: origin.place.clone(), key: origin.name.clone(), detail };
        // The secret itself, put there by mistake: no error repeats it.
        if named.is_some_and(|file| file.contains("://")) {
            return Err(bad(format!(
                "is an address, and must be the path of a file that has it: write it into a file of mode 0600, and the \
                 file's path here; or set {key}"
            )));
        }
        let shown = file.display();
        let text = std::fs::read_to_string(&file).map_err(|error| {
            bad(format!(
                "cannot read {shown} ({error}). A file that is root's comes to the service by LoadCredential={name}:{shown}, without \
                 this setting"
            ))
        })?;
        let text = text.trim();
        if text.is_empty() {
            return Err(bad(format!("{shown} is empty")));
        }
        let is_open = file.metadata().is_ok_and(|data| data.permissions().mode() & 0o007 != 0);
        if is_open {
            target
                .warnings
                .push(format!("every user of this machine can read {shown}, which has {key}: chmod 0600 {shown}"));
        }
        let other = get(target.table, &parts(key)).is_some_and(|other| other.as_str() != Some(text));
        if other {
            let other = target.origins.of(key);
            target.warnings.push(format!("{other} is not used, because {shown} takes precedence"));
        }
        let given = Variable { text: text.to_owned(), place: shown.to_string() };
        target.set(key, key, &given, Value::String(text.to_owned()))?;
    }
    Ok(())
}

fn parts(key: &str) -> Vec<&str> {
    key.split('.').collect()
}
