//! `spillway uninstall`: the fleet is drained, then what bakes have made goes. In two halves, since they take different
//! rights: the first where operators are answered, on the primary; the second with credentials that may delete images.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use spillway_console::client::{Address, Coordinator, connect, refused};
use spillway_coordinator::bake::{Baker, Removal};
use spillway_output::{errln, outln};
use spillway_proto::v1;
use spillway_words::in_words;
use tokio::time::{Instant, sleep};

use crate::bake;

const POLL: Duration = Duration::from_secs(2);
/// Between two lines on how far it is.
const TOLD: Duration = Duration::from_secs(30);
const REASON: &str = "spillway uninstall";

/// What may be given.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Only hold and drain: on the primary, whose role may delete no image
    #[arg(long, conflicts_with = "images_only")]
    fleet_only: bool,
    /// Only what is at AWS, once no instance is left: with an administrator's credentials, on any machine
    #[arg(long)]
    images_only: bool,
    /// Name of the installation, which is the stack's
    #[arg(long, value_name = "NAME", env = "SPILLWAY_INSTALLATION", default_value = "spillway")]
    installation: String,
    /// Region [default: as AWS's own tools find it]
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<String>,
    /// The workers' launch template [default: INSTALLATION-worker]
    #[arg(long, value_name = "NAME|ID")]
    template: Option<String>,
    #[arg(long, help = crate::arguments::JSON)]
    json: bool,
}

/// What was done, or would be.
#[derive(Debug, Default)]
struct Report {
    held: Vec<String>,
    drained: Vec<String>,
    removed: Vec<String>,
    parameter: Option<String>,
}

pub(super) async fn uninstall(server: &Address, options: Options) -> anyhow::Result<()> {
    let mut report = Report::default();
    let result = run(server, &options, &mut report).await;
    if options.json {
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        outln!(
            "{}",
            json!({
                "ok": result.is_ok(), "error": error, "dry_run": options.dry_run, "held": report.held, "drained": report.drained,
                "removed": report.removed, "parameter": report.parameter,
            })
        );
    } else if result.is_ok() {
        outln!("{}", stays(&options));
    }
    result
}

async fn run(server: &Address, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if !options.images_only {
        let mut coordinator = connect(server).await.map_err(|error| {
            error.context(
                "the fleet cannot be drained: run this on the primary, or with --images-only where it is gone already",
            )
        })?;
        fleet(&mut coordinator, options, report).await?;
    }
    if !options.fleet_only {
        at_aws(options, report).await?;
    }
    Ok(())
}

async fn fleet(coordinator: &mut Coordinator, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let say = |text: String| {
        if !options.json {
            outln!("{text}")
        }
    };
    let pools = living(coordinator).await?;
    for pool in &pools.names {
        if options.dry_run {
            say(format!("would hold {pool}: nothing is launched any more"));
        } else {
            let request = v1::HoldRequest { pool: pool.clone(), reason: REASON.to_owned() };
            coordinator.hold(request).await.map_err(refused)?;
            say(format!("{pool} is held: nothing is launched any more"));
        }
        report.held.push(pool.clone());
    }
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let (began, mut told) = (Instant::now(), Instant::now());
    loop {
        let living = living(coordinator).await?;
        for (id, phase) in &living.instances {
            let is_draining = phase == "draining" || phase == "terminating";
            if id.is_empty() || !asked.insert(id.clone()) {
                continue;
            }
            report.drained.push(id.clone());
            if options.dry_run {
                say(format!("would drain {id} ({phase}): its jobs are finished first"));
            } else if !is_draining {
                let request = v1::DrainRequest { instance_id: id.clone(), reason: REASON.to_owned() };
                // It may be gone by now: the next look says.
                match coordinator.drain(request).await.map_err(refused) {
                    Ok(answer) => say(answer.into_inner().message),
                    Err(error) => errln!("{id}: {error:#}"),
                }
            }
        }
        if options.dry_run || living.instances.is_empty() {
            return Ok(());
        }
        if told.elapsed() >= TOLD || (std::io::stderr().is_terminal() && told == began) {
            told = Instant::now();
            let ids: Vec<String> = living.instances.iter().map(|(id, phase)| format!("{id} {phase}")).collect();
            errln!(
                "waiting for {} for {}: {}",
                ids.len(),
                in_words(Duration::from_secs(began.elapsed().as_secs())),
                ids.join(", ")
            );
        }
        sleep(POLL).await;
    }
}

/// Names of the pools, and instances that are not gone, with their phases.
struct Living {
    names: Vec<String>,
    instances: Vec<(String, String)>,
}

async fn living(coordinator: &mut Coordinator) -> anyhow::Result<Living> {
    let fleet = coordinator.get_fleet(v1::GetFleetRequest { pool: String::new() }).await.map_err(refused)?.into_inner();
    anyhow::ensure!(fleet.leader, "this coordinator is a standby: run this on the leader's machine");
    let instances = fleet.pools.iter().flat_map(|pool| &pool.instances).filter(|instance| instance.phase != "gone");
    Ok(Living {
        instances: instances.map(|instance| (instance.id.clone(), instance.phase.clone())).collect(),
        names: fleet.pools.iter().map(|pool| pool.name.clone()).collect(),
    })
}

async fn at_aws(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let say = |text: String| {
        if !options.json {
            outln!("{text}")
        }
    };
    let images = bake::connect(options.region.as_deref(), &options.installation).await?;
    let template = bake::workers_template(options.template.as_deref(), &options.installation);
    let baker = Baker::new(images);
    let plan = baker.uninstalls(&template).await?;
    anyhow::ensure!(
        plan.workers.is_empty() || options.dry_run,
        "EC2 still lists instances of this installation: {}. Drain them first: spillway uninstall --fleet-only, on the primary",
        plan.workers.join(", ")
    );
    let verb = if options.dry_run { "would remove" } else { "removed" };
    for removal in &plan.removals {
        if !options.dry_run {
            baker.remove(removal).await?;
        }
        say(format!("{verb} {}", bake::in_words(removal)));
        report.removed.push(Removal::id(removal).to_owned());
    }
    if let Some(parameter) = &plan.parameter {
        if !options.dry_run {
            baker.delete_parameter(parameter).await?;
        }
        say(format!("{verb} the parameter {parameter}"));
        report.parameter = Some(parameter.clone());
    }
    Ok(())
}

/// What is left, and how it goes.
fn stays(options: &Options) -> String {
    let Options { installation, fleet_only, dry_run, .. } = options;
    let done = match (dry_run, fleet_only) {
        (true, _) => "Nothing was changed. ",
        (false, true) => {
            "No instance is left, and the pools are held. Images, snapshots and the parameter: spillway uninstall --images-only, with an \
             administrator's credentials. "
        }
        (false, false) => "",
    };
    format!(
        "{done}What stays: the stack, of which only an Elastic IP is billed (aws cloudformation delete-stack --stack-name {installation}); on the \
         primary the packages and their state (sudo apt purge spillway spillway-agent) and the ledger (redis-cli --scan --pattern \
         'spillway:*'); images that were made by hand; the tag spillway:bake-from"
    )
}
