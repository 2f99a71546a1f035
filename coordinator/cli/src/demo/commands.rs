//! What a person may try in another terminal while the demo runs: two scripts in its directory, so that the commands
//! are short enough to paste, and need neither PATH nor settings.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use spillway_emulator::Emulator;
use spillway_stage::{QUEUE, ec2};

use super::Options;
use super::stage::Stage;

/// In place of an instance's id, as long as there is none to name.
const SOME_INSTANCE: &str = "INSTANCE_ID";

/// The commands, as they are pasted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Commands {
    directory: String,
    jobs: u32,
    job_seconds: f64,
}

impl Commands {
    /// Writes the scripts.
    pub(super) fn write(stage: &Stage, options: &Options) -> anyhow::Result<Self> {
        let mut exports = vec![
            ("SPILLWAY_SERVER".to_owned(), stage.coordinator()),
            ("SPILLWAY_CONFIG".to_owned(), stage.config().display().to_string()),
        ];
        exports.extend(stage.emulator.iter().flat_map(ec2_endpoint));
        exports.push((ec2::KEY_FILE.to_owned(), ec2::key_file(stage.directory()).display().to_string()));
        let exports: String = exports.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        let program = std::env::current_exe()?;
        script(&stage.directory().join("spillway"), &format!("{exports}exec '{}' \"$@\"\n", program.display()))?;
        let add = format!(
            "cd '{}' && REDIS_URL='{}' QUEUE_NAMES={QUEUE} exec bun add-jobs.js \"$@\"\n",
            stage.primary_directory().display(),
            stage.redis_url()
        );
        script(&stage.directory().join("add-jobs"), &add)?;
        Ok(Self::new(stage.directory(), options))
    }

    pub(super) fn new(directory: &Path, options: &Options) -> Self {
        let directory = directory.display().to_string();
        Self { directory, jobs: options.jobs, job_seconds: options.job_seconds }
    }

    /// What each does, and the command.
    pub(super) fn lines(&self, instance: Option<&str>) -> [(&'static str, String); 4] {
        let Self { directory, jobs, job_seconds } = self;
        [
            ("add jobs", format!("{directory}/add-jobs {jobs} {job_seconds}")),
            ("status", format!("{directory}/spillway status")),
            ("gameday", format!("{directory}/spillway gameday --notice 20s")),
            ("drain", self.drain(instance.unwrap_or(SOME_INSTANCE))),
        ]
    }

    /// The drain of one instance.
    pub(super) fn drain(&self, instance: &str) -> String {
        format!("{}/spillway drain {instance}", self.directory)
    }
}

/// Where game days find the emulator.
fn ec2_endpoint(emulator: &Emulator) -> Option<(String, String)> {
    ec2::client_environment(emulator).into_iter().find(|(name, _)| name == "AWS_ENDPOINT_URL_EC2")
}

fn script(path: &Path, lines: &str) -> anyhow::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{lines}")).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
