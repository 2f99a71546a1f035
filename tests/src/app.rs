//! The demo's application as a git repository, and what an instance's user data does with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{command, run};
use crate::{QUEUE, binaries, programs};

/// Where the application is, and what an instance needs to know.
#[derive(Debug)]
pub struct App {
    origin: PathBuf,
}

impl App {
    /// Commits the demo's application in `directory`, with these files instead of its own.
    pub fn commit(directory: &Path, files: &[(&str, String)]) -> Self {
        let origin = directory.join("origin");
        fs::create_dir_all(&origin).expect("a directory");
        let source = binaries::workspace().join("coordinator/src/demo/app");
        for entry in fs::read_dir(&source).expect("the demo's application").flatten() {
            fs::copy(entry.path(), origin.join(entry.file_name())).expect("a copy");
        }
        for (name, content) in files {
            fs::write(origin.join(name), content).expect("a file");
        }
        fs::write(origin.join(".gitignore"), "node_modules\n.env\n").expect(".gitignore");
        let git = |arguments: &[&str]| {
            let mut git = command(programs::program("git"));
            git.args(["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]);
            run(git.args(arguments).current_dir(&origin));
        };
        git(&["init", "-q"]);
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "The application"]);
        App { origin }
    }

    /// A copy that is ready to run.
    pub fn copy_to(&self, directory: &Path) {
        let mut clone = command(programs::program("git"));
        run(clone.args(["clone", "-q"]).arg(&self.origin).arg(directory));
        let mut install = command(programs::program("bun"));
        run(install.args(["install", "--frozen-lockfile"]).current_dir(directory));
    }

    /// What a real image has baked in is put in place; then the agent takes over, as on EC2. `more` goes to the end of
    /// the agent's configuration.
    pub fn user_data(&self, redis_url: &str, grpc_port: u16, more: &str) -> String {
        for program in ["git", "bun", "pm2", "node"] {
            programs::program(program);
        }
        format!(
            "#!/bin/sh\nset -e\n\
             git clone -q '{origin}' \"$HOME/app\"\n\
             printf 'REDIS_URL={redis_url}\\nQUEUE_NAMES={QUEUE}\\n' > \"$HOME/app/.env\"\n\
             cat > \"$HOME/agent.toml\" <<END\n\
             coordinator = \"http://127.0.0.1:{grpc_port}\"\n\
             env_file = \"$HOME/app/.env\"\n\
             state_directory = \"$HOME/state\"\n\
             [worker]\n\
             queues = [\"{QUEUE}\"]\n\
             [boot]\n\
             directory = \"$HOME/app\"\n\
             {more}\n\
             END\n\
             exec '{agent}' run --config \"$HOME/agent.toml\"\n",
            origin = self.origin.display(),
            agent = binaries::agent().display(),
        )
    }
}

/// One of its files, as the demo has it.
pub fn file(name: &str) -> String {
    let path = binaries::workspace().join("coordinator/src/demo/app").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Instances have homes of their own; what was downloaded once serves them all, as it would from an image.
pub fn bun_cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    std::env::var_os("BUN_INSTALL_CACHE_DIR").map_or_else(|| home.join(".bun/install/cache"), PathBuf::from)
}
