//! The demo's application, with files that a test replaces.

use std::fs;
use std::path::{Path, PathBuf};

use spillway_stage::repository::Repository;

use crate::binaries;

/// Commits the demo's application in `directory`, with these files instead of its own.
pub async fn commit(directory: &Path, files: &[(&str, String)]) -> Repository {
    let mut all: Vec<(String, String)> = fs::read_dir(source())
        .expect("the demo's application")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| (name.clone(), file(&name)))
        .collect();
    all.extend(files.iter().map(|(name, content)| ((*name).to_owned(), content.clone())));
    let all: Vec<_> = all.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    Repository::commit(directory, &all).await.unwrap_or_else(|error| panic!("{error:#}"))
}

/// One file of the demo's application.
pub fn file(name: &str) -> String {
    let path = source().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn source() -> PathBuf {
    binaries::workspace().join("coordinator/cli/src/demo/app")
}
