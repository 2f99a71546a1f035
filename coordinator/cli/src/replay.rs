//! `spillway replay`: what policies would have cost, and how long jobs would have waited.

mod policy;
mod table;
mod trace;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use spillway_coordinator::prices;
use spillway_output::{errln, outln, print_error};
use spillway_replay::{Job, Model, Outcome, Policy, bound};
use spillway_settings::duration;

/// Whose price on demand is taken where none is given: the plan's instance.
const USUAL: (&str, &str) = ("us-east-1", "c6i.xlarge");
/// The wait that jobs are counted against where no policy promises one.
const TARGET: Duration = Duration::from_secs(300);
/// No fleet is looked for beyond this.
const MOST_INSTANCES: u32 = 1000;

/// Nothing of it is read from a configuration, Redis or AWS.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// Arrivals: CSV with the columns arrival_s,duration_s, also gzipped (.gz)
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Jobs that the primary runs at a time
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    primary_slots: u32,
    /// Jobs that an instance runs at a time
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: u32,
    /// Instances that may run at once, under every policy
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    max_instances: u32,
    /// How long an instance boots
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    boot: Duration,
    /// Boots take from --boot to this, each span as likely [default: all take --boot]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    boot_max: Option<Duration>,
    /// Of what is drawn: boots and interruptions
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// steps, cron, wait:5m, keda:5, aws:300s, buildkite:4, or a TOML file; again for each policy [default: steps,
    /// wait:5m]
    #[arg(long = "policy", value_name = "P")]
    policies: Vec<String>,
    /// The wait that jobs of policies without a target of their own are counted against [default: the first policy's
    /// that has one, else 5m]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    target: Option<Duration>,
    /// EC2 interrupts each instance after so long on average [default: never]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    interrupted_every: Option<Duration>,
    /// Dollars that an instance costs an hour [default: c6i.xlarge on demand in us-east-1]
    #[arg(long, value_name = "DOLLARS")]
    price: Option<f64>,
    /// Print an array with an object for each policy, in the order given
    #[arg(long)]
    json: bool,
}

/// What somebody wrote is wrong.
#[derive(Debug)]
pub(super) struct BadUsage(pub(super) String);

impl std::fmt::Display for BadUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUsage {}

pub(super) fn replay(options: ReplayOptions) -> anyhow::Result<()> {
    let policies = policies(&options)?;
    let model = model(&options, &policies)?;
    let price = price(options.price)?;
    let jobs = trace::read(&options.trace)?;
    let outcomes: Vec<Outcome> = policies
        .iter()
        .map(|(name, policy)| {
            let progress = Progress::of(name, jobs.len());
            spillway_replay::replay(name, policy, &jobs, &model, price, &mut |ended| progress.tell(ended))
        })
        .collect();
    Progress::over();
    let least = bound::least_instances(&jobs, &model, MOST_INSTANCES);
    if options.json {
        errln!("{}", table::head(&jobs, &model, least));
        outln!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        outln!("{}\n", table::head(&jobs, &model, least));
        table::rows(&outcomes).into_iter().for_each(|row| outln!("{row}"));
        outln!("\n{}", table::foot(&model, price));
    }
    Ok(())
}

fn policies(options: &ReplayOptions) -> Result<Vec<(String, Policy)>, BadUsage> {
    let usual = || vec!["steps".to_owned(), "wait:5m".to_owned()];
    let names = if options.policies.is_empty() { usual() } else { options.policies.clone() };
    let named = |name: String| policy::parse(&name).map(|policy| (name, policy));
    names
        .into_iter()
        .map(named)
        .collect::<Result<_, String>>()
        .map_err(|problem| BadUsage(format!("--policy {problem}")))
}

fn model(options: &ReplayOptions, policies: &[(String, Policy)]) -> Result<Model, BadUsage> {
    let bad = |text: &str| Err(BadUsage(text.to_owned()));
    let boot_max = options.boot_max.unwrap_or(options.boot);
    let promised = policies.iter().find_map(|(_, policy)| policy.target());
    let target = options.target.or(promised).unwrap_or(TARGET);
    if boot_max < options.boot {
        return bad("--boot-max is shorter than --boot: boots take from --boot to --boot-max");
    }
    if target.is_zero() {
        return bad("--target is 0: no job can start sooner than at once. Write 5m");
    }
    if options.interrupted_every.is_some_and(|mean| mean.is_zero()) {
        return bad("--interrupted-every is 0: no instance would ever run. Leave it out for none");
    }
    let ms = |span: Duration| span.as_millis() as u64;
    Ok(Model {
        primary_slots: options.primary_slots,
        slots: options.slots,
        max_instances: options.max_instances,
        boot: ms(options.boot),
        boot_max: ms(boot_max),
        seed: options.seed,
        interrupted_every: options.interrupted_every.map(ms),
        target: ms(target),
    })
}

/// Dollars an hour.
fn price(given: Option<f64>) -> Result<f64, BadUsage> {
    let (region, instance_type) = USUAL;
    let price = given.or_else(|| prices::on_demand_price(region, instance_type));
    let price = price.filter(|price| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| BadUsage("--price is no amount of dollars: write 0.17".to_owned()))
}

/// One line on a terminal's standard error that is written over; elsewhere nothing.
struct Progress<'a> {
    name: &'a str,
    jobs: usize,
}

impl<'a> Progress<'a> {
    fn of(name: &'a str, jobs: usize) -> Self {
        Progress { name, jobs }
    }

    fn tell(&self, ended: usize) {
        if std::io::stderr().is_terminal() {
            print_error(format_args!("\r\x1b[K{}: {ended} of {} jobs", self.name, self.jobs));
        }
    }

    fn over() {
        if std::io::stderr().is_terminal() {
            print_error(format_args!("\r\x1b[K"));
        }
    }
}

/// When the last job arrives, in milliseconds.
fn span(jobs: &[Job]) -> u64 {
    jobs.last().map_or(0, |job| job.arrival)
}
