//! The application as a git repository, a copy of it that is ready to run, and what an instance's user data does with
//! it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::{command, finish};
use crate::{QUEUE, programs};

/// A file's name and content.
pub type File<'a> = (&'a str, &'a str);

/// Where instances pull the application from.
#[derive(Debug)]
pub struct Repository {
    origin: PathBuf,
}

/// What an instance is told of everything else.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    pub redis_url: &'a str,
    pub grpc_port: u16,
    /// The CA of the coordinator; None: it is spoken to in plaintext.
    pub ca_file: Option<&'a Path>,
    /// The program `spillway-agent`.
    pub agent: &'a Path,
    /// Keys of the agent's configuration that stand before its first table.
    pub keys: &'a str,
    /// More of it, from its table `boot` on.
    pub more: &'a str,
}

impl Repository {
    /// Commits these files to a repository `origin` in `directory`.
    pub async fn commit(directory: &Path, files: &[File<'_>]) -> anyhow::Result<Self> {
        let origin = directory.join("origin");
        fs::create_dir_all(&origin)?;
        for (name, content) in files {
            fs::write(origin.join(name), content).with_context(|| format!("cannot write {name}"))?;
        }
        fs::write(origin.join(".gitignore"), "node_modules\n.env\n")?;
        let program = programs::need("git")?;
        for arguments in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "The application"]] {
            let mut git = command(&program);
            git.args(["-c", "user.name=spillway", "-c", "user.email=spillway@localhost"]);
            git.args(["-c", "init.defaultBranch=main"]).args(arguments).current_dir(&origin);
            finish(&format!("git {}", arguments[0]), git).await?;
        }
        Ok(Self { origin })
    }

    /// Puts a copy into `directory` that is ready to run; `temporary` is for what bun leaves behind when it is cut off.
    pub async fn copy_to(&self, directory: &Path, temporary: &Path) -> anyhow::Result<()> {
        let mut clone = command(programs::need("git")?);
        clone.args(["clone", "-q"]).arg(&self.origin).arg(directory);
        finish("copy the application", clone).await?;
        let mut install = command(programs::need("bun")?);
        install.args(["install", "--frozen-lockfile"]).current_dir(directory);
        install.env("TMPDIR", temporary).env_remove("BUN_TMPDIR");
        finish("install the application's packages", install).await?;
        Ok(())
    }

    /// What a real image has baked in is put in place; then the agent takes over, as on EC2.
    ///
    /// # Errors
    ///
    /// A program that the instance needs is not installed.
    pub fn user_data(&self, instance: Instance<'_>) -> anyhow::Result<String> {
        for program in ["bun", "pm2", "node"] {
            programs::need(program)?;
        }
        Ok(format!(
            "#!/bin/sh\nset -e\n\
             '{git}' clone -q '{origin}' \"$HOME/app\"\n\
             printf 'REDIS_URL={redis_url}\\nQUEUE_NAMES={QUEUE}\\n' > \"$HOME/app/.env\"\n\
             cat > \"$HOME/agent.toml\" <<END\n\
             {coordinator}\n\
             env_file = \"$HOME/app/.env\"\n\
             state_directory = \"$HOME/state\"\n\
             {keys}\n\
             [worker]\n\
             queues = [\"{QUEUE}\"]\n\
             [boot]\n\
             directory = \"$HOME/app\"\n\
             {more}\n\
             END\n\
             exec '{agent}' run --config \"$HOME/agent.toml\"\n",
            git = programs::need("git")?.display(),
            origin = self.origin.display(),
            redis_url = instance.redis_url,
            coordinator = coordinator_keys(instance.grpc_port, instance.ca_file),
            keys = instance.keys,
            more = instance.more,
            agent = instance.agent.display(),
        ))
    }
}

/// The keys of an agent's configuration by which it finds and trusts a coordinator on this machine.
pub fn coordinator_keys(grpc_port: u16, ca_file: Option<&Path>) -> String {
    match ca_file {
        Some(file) => {
            format!("coordinator = \"https://127.0.0.1:{grpc_port}\"\nca_file = \"{}\"", file.display())
        }
        None => format!("coordinator = \"http://127.0.0.1:{grpc_port}\""),
    }
}
