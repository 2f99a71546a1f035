//! The files that `spillway init` writes, and writing them: whole or not at all, and nothing that is there already.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;
use toml::Value;

use super::Answers;

/// Where agents look for the CA of their coordinator.
const CA_FILE: &str = "/etc/spillway/ca.pem";
const GRPC_PORT: u16 = 7443;

/// One file to write.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) text: String,
    /// It has secrets: for its owner alone.
    pub(super) is_secret: bool,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    New,
    Replaced,
    /// It has this very text already.
    Unchanged,
    /// It is there with another text, which stays.
    Kept,
}

pub(super) fn all(answers: &Answers) -> Vec<File> {
    vec![
        File { name: "coordinator.toml", text: coordinator(answers), is_secret: false },
        File { name: "coordinator.env", text: environment(answers), is_secret: true },
        File { name: "agent.toml", text: agent(answers), is_secret: false },
        File { name: "stack-parameters.json", text: parameters(answers), is_secret: false },
    ]
}

fn text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn list(items: &[String]) -> String {
    Value::Array(items.iter().map(|item| Value::String(item.clone())).collect()).to_string()
}

fn coordinator(answers: &Answers) -> String {
    let Answers { installation, region, address, queues, prefix, operators, application, .. } = answers;
    // What is no checkout has no commit to compare with.
    let application = Some(&application.directory).filter(|directory| directory.join(".git").exists());
    let application = application.map(|directory| {
        let directory = text(&directory.display().to_string());
        format!("# Its commit is compared with that of the instances, in spillway status.\napplication = {directory}\n")
    });
    let region = match region {
        Some(region) => format!("\n[ec2]\nregion = {}\n", text(region)),
        None => String::new(),
    };
    format!(
        "# Written by spillway init; every setting: spillway config show --effective. The password of Redis is in coordinator.env.\n\
         # The name of the CloudFormation stack: it tags every instance.\n\
         installation = {}\n{region}\n\
         [grpc]\n\
         # Where agents reach this coordinator.\n\
         advertise = {}\n\
         # Other programs and users are on this machine: operators are root and these accounts, by a Unix socket.\n\
         operators = \"token\"\n\
         operator_accounts = {}\n\n\
         [[pool]]\n\
         queues = {}\n\
         prefix = {}\n\
         # The stack's.\n\
         launch_template = {}\n\
         launch_template_version = \"$Latest\"\n{}",
        text(installation),
        text(&format!("{address}:{GRPC_PORT}")),
        list(operators),
        list(queues),
        text(prefix),
        text(&format!("{installation}-worker")),
        application.unwrap_or_default(),
    )
}

fn environment(answers: &Answers) -> String {
    format!(
        "# Written by spillway init: what coordinator.toml leaves out because it is secret.\nREDIS_URL={}\n",
        quoted(&answers.redis_url)
    )
}

/// As systemd reads a variable's value: in double quotes a backslash stands before what would mean something.
fn quoted(value: &str) -> String {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/@%._+-?&=".contains(&byte)) {
        return value.to_owned();
    }
    let escaped: String = value
        .chars()
        .flat_map(|it| matches!(it, '"' | '\\' | '`' | '$').then_some('\\').into_iter().chain([it]))
        .collect();
    format!("\"{escaped}\"")
}

fn agent(answers: &Answers) -> String {
    let Answers { application, address, queues, prefix, .. } = answers;
    let mut steps = Vec::new();
    let mut step = |name: &str, run: String, timeout: &str, retries: u32| {
        steps.push(format!(
            "  {{ name = {}, run = {}, timeout = \"{timeout}\", retries = {retries} }},",
            text(name),
            text(&run)
        ));
    };
    if let Some(branch) = application.branch.as_ref().filter(|_| application.remote.is_some()) {
        step("pull", format!("git pull origin {branch}"), "1m", 2);
    }
    if let Some(install) = application.install {
        step("install", install.to_owned(), "3m", 2);
    }
    let pm2 = application.pm2;
    if let Some(ecosystem) = &application.ecosystem {
        step("start", format!("{pm2} start {ecosystem}"), "1m", 1);
        step("save", format!("{pm2} save"), "30s", 1);
    }
    let user = application.user.as_ref().map(|user| format!("user = {}\n", text(user))).unwrap_or_default();
    let path = match application.path.as_slice() {
        [] => String::new(),
        own => {
            let own: Vec<String> = own.iter().map(|directory| directory.display().to_string()).collect();
            let path = text(&format!("{}:/usr/local/bin:/usr/bin:/bin", own.join(":")));
            format!("# Where this user's bun, node and PM2 are.\nenvironment = {{ PATH = {path} }}\n")
        }
    };
    let env_file = match &application.env_file {
        Some(file) => format!("env_file = {}\n", text(&file.display().to_string())),
        None => String::new(),
    };
    format!(
        "# Written by spillway init, for the image of the workers: /etc/spillway/agent.toml there.\n\
         coordinator = {}\n\
         ca_file = \"{CA_FILE}\"\n\
         # REDIS_URL comes from here, and must name this machine by an address that instances reach.\n\
         {env_file}\n\
         [boot]\n\
         directory = {}\n{user}{path}\
         steps = [\n{}\n]\n\n\
         [worker]\n\
         supervisor = \"pm2\"\n\
         queues = {}\n\
         prefix = {}\n",
        text(&format!("https://{address}:{GRPC_PORT}")),
        text(&application.directory.display().to_string()),
        steps.join("\n"),
        list(queues),
        text(prefix),
    )
}

/// As `aws cloudformation deploy --parameter-overrides file://…` reads them.
fn parameters(answers: &Answers) -> String {
    let machine = answers.machine.clone().unwrap_or_default();
    let known = [
        ("Vpc", machine.vpc),
        ("Subnet", machine.subnet),
        ("PrimarySecurityGroup", machine.security_group),
        ("PrimaryAddress", Some(answers.address.clone())),
        ("PrimaryRole", machine.role),
    ];
    let known =
        known.into_iter().filter_map(|(name, value)| Some(json!({ "ParameterKey": name, "ParameterValue": value? })));
    let known: Vec<_> = known.collect();
    format!("{}\n", serde_json::to_string_pretty(&known).unwrap_or_default())
}

/// Nothing but comments: as the package leaves it.
fn says_nothing(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// What would become of a file, and its text of before.
///
/// # Errors
/// Something is there that cannot be read, or that is no plain file.
pub(super) fn outlook(directory: &Path, file: &File, force: bool) -> anyhow::Result<(Written, Option<String>)> {
    let path = directory.join(file.name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Written::New, None)),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}: use sudo", path.display())),
        Ok(found) if !found.is_file() => {
            bail!("{} is a link, or no file: init writes plain files alone. Remove it, or use --output", path.display())
        }
        Ok(_) => {}
    }
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let outlook = match () {
        () if before == file.text => Written::Unchanged,
        () if force || says_nothing(&before) => Written::Replaced,
        () => Written::Kept,
    };
    Ok((outlook, Some(before)))
}

/// Writes one file into the directory, unless something else is there and `force` does not allow to replace it.
///
/// # Errors
/// The directory or the file cannot be written.
pub(super) fn write(directory: &Path, file: &File, force: bool) -> anyhow::Result<(PathBuf, Written)> {
    let path = directory.join(file.name);
    let (written, before) = outlook(directory, file, force)?;
    if matches!(written, Written::Unchanged | Written::Kept) {
        return Ok((path, written));
    }
    let failed = || format!("cannot write {}: use sudo, or --output", path.display());
    fs::create_dir_all(directory).with_context(failed)?;
    let mode = if file.is_secret { 0o600 } else { 0o644 };
    // What was there is kept beside it: it may have secrets that nothing else has.
    if let Some(before) = before.filter(|before| !says_nothing(before)) {
        place(&directory.join(format!("{}.before-init", file.name)), &before, 0o600).with_context(failed)?;
    }
    place(&path, &file.text, mode).with_context(failed)?;
    Ok((path, written))
}

/// Whole, or not at all.
fn place(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::Builder::new().prefix(".init-").tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_as_it_was() {
        for value in ["redis://:p%40ss@h:1/0?x=1", r#"redis://:a$b'c\d e"f`g@h:1"#, "redis://:#x@h"] {
            let line = format!("REDIS_URL={}\n", quoted(value));
            let read = spillway_settings::parse_environment_file(&line).expect("it is read");
            assert_eq!(read[0].value, value, "{line}");
        }
    }
}
