//! `spillway init`: finds out on a primary what can be found out, shows it, asks for the rest, and writes the settings
//! of coordinator and agent and the parameters of the stack. Nothing that is there is overwritten unless it is told to.
//!
//! - `application`: the application's directory, repository, environment and PM2 processes
//! - `files`: what is written

mod application;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use spillway_coordinator::cloud::{self, Machine};
use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::queue::{self, FoundQueue, QueueObserver};
use spillway_coordinator::redis_client::Redis;
use spillway_output::{errln, outln};

use crate::or_json;
use application::{Application, Pm2Process};
use files::Written;

/// The width of the names in what is shown.
const COLUMN: usize = 22;

#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The application's directory [default: of the PM2 process whose package.json names bullmq]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// The application's environment file [default: .env there]
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// URL of BullMQ's Redis, as the coordinator reaches it [default: REDIS_URL of the environment file]
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// The queues to watch [default: QUEUE_NAMES of the environment file, or the only queue that there is]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    queues: Vec<String>,
    /// BullMQ's prefix [default: of those queues in Redis]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// The address by which workers reach this machine [default: its private address by instance metadata]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// The installation's name, which is the CloudFormation stack's
    #[arg(long, value_name = "NAME", default_value = "spillway")]
    installation: String,
    /// Where the files are written
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/spillway")]
    output: PathBuf,
    /// Replace files that are there with another text
    #[arg(long)]
    force: bool,
    /// Ask nothing: write what was found, and fail where something is missing
    #[arg(long, short)]
    yes: bool,
    /// Show what was found and what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[arg(long, help = crate::arguments::JSON)]
    json: bool,
}

/// All that the files are made of.
#[derive(Debug)]
struct Answers {
    installation: String,
    region: Option<String>,
    address: String,
    redis_url: String,
    queues: Vec<String>,
    prefix: String,
    operators: Vec<String>,
    application: Application,
    machine: Option<Machine>,
}

/// What was found, line by line, and what was not with what follows.
#[derive(Debug, Default)]
struct Report {
    found: Vec<(&'static str, String)>,
    notes: Vec<String>,
    /// So many of `found` are on the terminal.
    printed: usize,
}

/// Names of Redis' and PM2's without control characters: somebody may have chosen them for this terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(300).collect()
}

impl Report {
    fn found(&mut self, what: &'static str, value: Option<impl Into<String>>) {
        let value = value.map_or_else(|| "not found".to_owned(), Into::into);
        self.found.push((what, plain(&value)));
    }

    /// What was not printed yet.
    fn print(&mut self) {
        for (what, value) in &self.found[self.printed..] {
            outln!("  {what:<COLUMN$} {value}");
        }
        self.printed = self.found.len();
    }
}

/// What is written or would be; with `--json` one object is printed whatever happens.
pub(super) async fn init(options: Options) -> anyhow::Result<()> {
    let (as_json, mut is_said) = (options.json, false);
    let result = write_settings(options, &mut is_said).await;
    // Where files were kept the object has been printed, with which they are.
    or_json(result, as_json && !is_said)
}

async fn write_settings(options: Options, is_said: &mut bool) -> anyhow::Result<()> {
    let may_ask = !options.yes && !options.json && io::stdin().is_terminal();
    if !may_ask && !options.yes && !options.dry_run {
        bail!("nobody can be asked here: --yes writes what is found, --dry-run shows it");
    }
    let mut report = Report::default();
    let machine = cloud::this_machine().await;
    about_machine(machine.as_ref(), &mut report);
    let processes = application::pm2_processes();
    if may_ask {
        report.print();
    }
    let directory = directory(&options, &processes, may_ask)?;
    let application = application::look(&directory, options.env_file.as_deref(), &processes)?;
    about_application(&application, &mut report);
    if may_ask {
        report.print();
    }
    let found_url = application.environment.get("REDIS_URL").cloned();
    let redis_url = given("--redis-url", options.redis_url.clone(), found_url, may_ask)
        .context("it is not known where BullMQ's Redis is")?;
    let (queues, prefix) = queues(&options, &application, &redis_url, may_ask, &mut report).await?;
    let private = machine.as_ref().and_then(|machine| machine.private_address.clone());
    let address = given("--address", options.address.clone(), private, may_ask)
        .context("it is not known by which address workers reach this machine")?;
    if names_loopback(&redis_url) {
        report.notes.push(format!(
            "REDIS_URL names this machine itself: in the image's environment file it must name {address}, and Redis must listen there"
        ));
    }
    let region = machine.as_ref().and_then(|machine| machine.region.clone());
    let operators = std::env::var("SUDO_USER").ok().filter(|user| user != "root").into_iter().collect();
    let installation = options.installation.clone();
    let answers = Answers { installation, region, address, redis_url, queues, prefix, operators, application, machine };
    let files = files::all(&answers);
    check(&answers, &files)?;
    if !options.json {
        report.print();
        report.notes.iter().for_each(|note| outln!("  note: {note}"));
    }
    // Before anything is written: what cannot be is said once, and nothing is half done.
    let looked = files.iter().map(|file| Ok(files::outlook(&options.output, file, options.force)?.0));
    let outlook: Vec<Written> = looked.collect::<anyhow::Result<_>>()?;
    if may_ask && !options.dry_run {
        let question = format!("Write {} files to {}? [Y/n] ", files.len(), options.output.display());
        if !["", "y", "yes"].contains(&ask(&question)?.to_lowercase().as_str()) {
            bail!("nothing was written");
        }
    }
    let mut done = Vec::new();
    for (file, outlook) in files.iter().zip(outlook) {
        let path = options.output.join(file.name);
        done.push(match options.dry_run {
            true => (path, outlook),
            false => files::write(&options.output, file, options.force)?,
        });
    }
    say_done(&options, &report, &done);
    *is_said = true;
    let kept = done.iter().filter(|(_, written)| *written == Written::Kept).count();
    if kept > 0 && !options.dry_run {
        bail!(
            "{kept} files have another text and were kept: compare them, or --force (what was there stays as NAME.before-init)"
        );
    }
    Ok(())
}

/// What is to be written is read as `spillway run` would read it: nothing of it is refused later, or means another
/// thing.
fn check(answers: &Answers, files: &[files::File]) -> anyhow::Result<()> {
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    for file in files {
        files::write(place.path(), file, false).context("cannot check the settings")?;
    }
    let environment = BTreeMap::from([("HOME".to_owned(), "/nonexistent".to_owned())]);
    let file = place.path().join("coordinator.toml");
    let settings = config::load(Some(&file), &environment, Needs::Everything).map_err(|error| {
        let words = error.to_string().replace(&format!("{}/", place.path().display()), "");
        anyhow::anyhow!("these settings could not be used: {words}")
    })?;
    let pool = settings.pools.first().context("the settings have no pool")?;
    let is_same = settings.redis_url == answers.redis_url
        && pool.queues == answers.queues
        && pool.prefix == answers.prefix
        && settings.installation.as_deref() == Some(answers.installation.as_str());
    if !is_same || answers.redis_url.chars().any(char::is_control) {
        bail!("a value has characters that settings cannot say: look at REDIS_URL, --queues and --installation");
    }
    Ok(())
}

fn about_machine(machine: Option<&Machine>, report: &mut Report) {
    let Some(machine) = machine else {
        report.found("machine", Some("no EC2 instance: no metadata service answers"));
        report.notes.push("region, network and role are not known: fill in stack-parameters.json by hand".to_owned());
        return;
    };
    report.found("instance", Some(machine.instance.clone()));
    report.found("region", machine.region.clone());
    report.found("private address", machine.private_address.clone());
    report.found(
        "VPC, subnet",
        machine.vpc.as_ref().zip(machine.subnet.as_ref()).map(|(vpc, subnet)| format!("{vpc}, {subnet}")),
    );
    report.found("security group", machine.security_group.clone());
    report.found("role", machine.role.clone().or_else(|| Some("none: the stack makes one".to_owned())));
}

fn about_application(application: &Application, report: &mut Report) {
    report.found("application", Some(application.directory.display().to_string()));
    report.found("its user", application.user.clone());
    report.found("repository", application.remote.clone());
    report.found("branch", application.branch.clone());
    report.found("PM2 processes", Some(application.processes.join(", ")).filter(|names| !names.is_empty()));
    report.found("ecosystem file", application.ecosystem.clone());
    report.found("packages by", application.install.map(str::to_owned));
    report.found("environment file", application.env_file.as_ref().map(|file| file.display().to_string()));
    let mut note = |is_missing: bool, text: &str| {
        if is_missing {
            report.notes.push(text.to_owned());
        }
    };
    note(
        application.branch.is_none(),
        "it is no git repository on a branch: instances run the code that is in the image",
    );
    note(application.install.is_none(), "there is no lock file: instances use the packages that are in the image");
    note(
        application.ecosystem.is_none(),
        "there is no ecosystem file: add a step to agent.toml that starts the worker with PM2",
    );
    note(application.env_file.is_none(), "there is no .env: set env_file in agent.toml to what has REDIS_URL");
}

/// Where the application is: told, or the only one that PM2 runs and that uses BullMQ.
fn directory(options: &Options, processes: &[Pm2Process], may_ask: bool) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &options.directory {
        return Ok(directory.clone());
    }
    let candidates = application::candidates(processes);
    match candidates.as_slice() {
        [only] => Ok(only.clone()),
        [] if may_ask => Ok(PathBuf::from(ask_for("The application's directory: ")?)),
        [] => bail!("no PM2 list has a process whose package.json names bullmq (pm2 save writes it): use --directory"),
        several => {
            let named: Vec<String> = several.iter().map(|directory| directory.display().to_string()).collect();
            bail!("several applications use BullMQ here: {}. Choose one by --directory", named.join(", "))
        }
    }
}

/// The queues and their prefix: told, in the environment file, or what Redis has.
async fn queues(
    options: &Options,
    application: &Application,
    redis_url: &str,
    may_ask: bool,
    report: &mut Report,
) -> anyhow::Result<(Vec<String>, String)> {
    let mut redis = Redis::new("--redis-url", redis_url)?;
    report.found("Redis", Some(redis.address().to_owned()));
    // Who has told everything need not permit a search.
    let (found, is_whole) = match (&options.prefix, options.queues.as_slice()) {
        (Some(prefix), [_, ..]) => {
            let named = |queue: &String| FoundQueue { prefix: prefix.clone(), queue: queue.clone() };
            (options.queues.iter().map(named).collect(), true)
        }
        _ => queue::discover(&mut redis).await.context("cannot look for queues: name them by --queues and --prefix")?,
    };
    if !is_whole {
        report.notes.push("Redis has too many keys to see all queues: name them by --queues".to_owned());
    }
    for (prefix, queues) in by_prefix(&found) {
        let mut observer = QueueObserver::new(Redis::new("--redis-url", redis_url)?, &prefix, &queues);
        for report_of in observer.report().await?.into_iter().flatten() {
            let (queue, waiting, active) = (&report_of.queue, report_of.demand, report_of.active);
            report.found("queue", Some(format!("{queue} (prefix {prefix}): {waiting} ready to run, {active} running")));
        }
    }
    if may_ask {
        report.print();
    }
    let of_environment: Vec<String> = application
        .environment
        .get("QUEUE_NAMES")
        .map(|names| names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
        .unwrap_or_default();
    let mut queues = if options.queues.is_empty() { of_environment } else { options.queues.clone() };
    if queues.is_empty() {
        queues = match found.as_slice() {
            [only] => vec![only.queue.clone()],
            _ if may_ask => {
                ask_for("Queues to watch, separated by commas: ")?.split(',').map(|it| it.trim().to_owned()).collect()
            }
            [] => bail!("Redis has no BullMQ queue, and nothing names one: use --queues"),
            several => {
                let names: Vec<&str> = several.iter().map(|found| found.queue.as_str()).collect();
                bail!("Redis has several queues ({}): choose by --queues", names.join(", "))
            }
        };
    }
    let of = |queue: &String| found.iter().find(|found| found.queue == *queue).map(|found| found.prefix.clone());
    for queue in queues.iter().filter(|queue| of(queue).is_none()) {
        report.notes.push(format!("queue {queue} has never existed in Redis: BullMQ makes it with its first job"));
    }
    let named = found.iter().filter(|found| queues.contains(&found.queue));
    let prefixes: BTreeSet<&str> = named.map(|found| found.prefix.as_str()).collect();
    if options.prefix.is_none() && prefixes.len() > 1 {
        let named: Vec<&str> = prefixes.into_iter().collect();
        bail!("these queues are below several prefixes ({}): choose by --prefix, one pool has one", named.join(", "));
    }
    let prefix = options.prefix.clone().or_else(|| queues.iter().find_map(of)).unwrap_or_else(|| "bull".to_owned());
    Ok((queues, prefix))
}

fn by_prefix(found: &[FoundQueue]) -> BTreeMap<String, Vec<String>> {
    let mut by_prefix: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for FoundQueue { prefix, queue } in found {
        by_prefix.entry(prefix.clone()).or_default().push(queue.clone());
    }
    by_prefix
}

/// By its flag, or as it was found; else it is asked for.
fn given(flag: &str, told: Option<String>, found: Option<String>, may_ask: bool) -> anyhow::Result<String> {
    match told.or(found).filter(|value| !value.is_empty()) {
        Some(value) => Ok(value),
        None if may_ask => ask_for(&format!("{}: ", flag.trim_start_matches('-').replace('-', " "))),
        None => bail!("use {flag}"),
    }
}

fn ask(question: &str) -> anyhow::Result<String> {
    let mut out = io::stdout();
    write!(out, "{question}").and_then(|()| out.flush()).context("cannot ask")?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line).context("cannot read the answer")? == 0 {
        bail!("nothing was answered, and nothing was written");
    }
    Ok(line.trim().to_owned())
}

/// Asks until something is answered.
fn ask_for(question: &str) -> anyhow::Result<String> {
    loop {
        let answer = ask(question)?;
        if !answer.is_empty() {
            return Ok(answer);
        }
    }
}

fn names_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_lowercase();
    let is_socket = url.starts_with('/') || url.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("unix"));
    let here = ["127.", "localhost", "[::1]", "[::ffff:127.", "0.0.0.0", ":"];
    is_socket || host.is_empty() || here.iter().any(|name| host.starts_with(name))
}

fn say_done(options: &Options, report: &Report, done: &[(PathBuf, Written)]) {
    let word = |written: &Written| match (written, options.dry_run) {
        (Written::New, true) => "would be written",
        (Written::Replaced, true) => "would be replaced",
        (Written::New, false) => "written",
        (Written::Replaced, false) => "replaced",
        (Written::Unchanged, _) => "unchanged",
        (Written::Kept, true) => "would be kept: it has another text (--force replaces it)",
        (Written::Kept, false) => "kept: it has another text (--force replaces it)",
    };
    if options.json {
        let found: Vec<_> = report.found.iter().map(|(what, value)| json!({ "what": what, "value": value })).collect();
        let files: Vec<_> = done.iter().map(|(path, it)| json!({ "path": path, "state": word(it) })).collect();
        return outln!("{}", json!({ "found": found, "notes": report.notes, "files": files }));
    }
    for (path, written) in done {
        outln!("{}: {}", path.display(), word(written));
    }
    if options.dry_run {
        return;
    }
    let (name, output): (&str, &Path) = (&options.installation, &options.output);
    errln!(
        "\nNext, as ami/README.md has it in full:\n  aws ssm put-parameter --name /spillway/{name}/image --type String --data-type \
         aws:ec2:image --value ami-PLAIN\n  aws cloudformation deploy --stack-name {name} --template-file ami/stack.yaml \
         --capabilities CAPABILITY_NAMED_IAM \\\n    --parameter-overrides file://{}/stack-parameters.json\n  sudo spillway doctor\n  \
         the image of the workers, with {}/agent.toml in it",
        output.display(),
        output.display()
    );
}
