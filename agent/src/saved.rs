//! What an agent must know after a restart of its own: how far the boot got. Owns the file in the state directory;
//! never trusts it for another instance, another boot of the machine or other steps, and never keeps a secret there.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Step;

/// The file in the state directory.
#[derive(Clone, Debug)]
pub struct SavedState {
    directory: PathBuf,
    instance_id: String,
    boot_id: String,
}

#[derive(Serialize, Deserialize)]
struct Progress {
    instance_id: String,
    boot_id: String,
    steps: Vec<String>,
    done: usize,
}

impl SavedState {
    /// What is saved of this instance and this boot of the machine.
    pub fn new(directory: &Path, instance_id: &str) -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Self { directory: directory.to_owned(), instance_id: instance_id.to_owned(), boot_id }
    }

    /// How many of these steps were done before.
    pub fn steps_done(&self, steps: &[Step]) -> usize {
        self.read::<Progress>("boot.json")
            .filter(|progress| self.is_mine(&progress.instance_id, &progress.boot_id))
            .filter(|progress| progress.steps == commands(steps))
            .map_or(0, |progress| progress.done.min(steps.len()))
    }

    /// Saves how many of these steps are done.
    pub fn save_steps_done(&self, steps: &[Step], done: usize) -> std::io::Result<()> {
        let progress = Progress {
            instance_id: self.instance_id.clone(),
            boot_id: self.boot_id.clone(),
            steps: commands(steps),
            done,
        };
        self.write("boot.json", &progress)
    }

    /// Of this boot of the machine; empty where the kernel does not tell.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    fn is_mine(&self, instance_id: &str, boot_id: &str) -> bool {
        instance_id == self.instance_id && boot_id == self.boot_id
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.directory.join(name)).ok()?).ok()
    }

    /// Whole or not at all, and for this user alone.
    fn write(&self, name: &str, value: &impl Serialize) -> std::io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let draft = self.directory.join(format!("{name}.new"));
        let _ = std::fs::remove_file(&draft);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        std::fs::rename(draft, self.directory.join(name))
    }
}

fn commands(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| step.run.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn steps(runs: &[&str]) -> Vec<Step> {
        let step = |run: &&str| Step {
            name: String::new(),
            run: (*run).to_owned(),
            timeout: Duration::from_secs(1),
            retries: 0,
        };
        runs.iter().map(step).collect()
    }

    #[test]
    fn remembers_for_this_instance_and_these_steps_alone() {
        let directory = tempfile::tempdir().unwrap();
        let saved = SavedState::new(directory.path(), "i-1");
        let mine = steps(&["a", "b"]);
        assert_eq!(saved.steps_done(&mine), 0);
        saved.save_steps_done(&mine, 2).unwrap();
        assert_eq!(saved.steps_done(&mine), 2);
        assert_eq!(saved.steps_done(&steps(&["a", "c"])), 0);
        assert_eq!(SavedState::new(directory.path(), "i-2").steps_done(&mine), 0);
        let other_boot = SavedState { boot_id: "x".into(), ..saved.clone() };
        assert_eq!(other_boot.steps_done(&mine), 0);
        std::fs::write(directory.path().join("boot.json"), "{").unwrap();
        assert_eq!(saved.steps_done(&mine), 0);
    }

    #[test]
    fn what_is_saved_is_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let saved = SavedState::new(&directory.path().join("state"), "i-1");
        saved.save_steps_done(&steps(&["a"]), 1).unwrap();
        let mode = directory.path().join("state/boot.json").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(saved.boot_id().len(), 36);
    }
}
