//! `spillway bake`: the workers' image, made of a copy of the primary. On an operator's machine or in CI; what it does
//! is in `spillway_coordinator::bake`.

mod progress;

use std::io::IsTerminal as _;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use spillway_coordinator::bake::{BakeError, Baker, Plan, Progress, Removal, Way, stacks_parameter};
use spillway_coordinator::cloud::images::Images;
use spillway_coordinator::{clock, config};
use spillway_output::{errln, outln};
use spillway_words::shown::visible;

use progress::Shown;

/// What may be given.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Machine to copy, such as i-0123 [default: the one that is tagged spillway:bake-from=INSTALLATION]
    #[arg(long, value_name = "INSTANCE")]
    from: Option<String>,
    /// Name of the installation, which is the stack's
    #[arg(long, value_name = "NAME", env = "SPILLWAY_INSTALLATION", default_value = "spillway")]
    pub(super) installation: String,
    /// Region [default: as AWS's own tools find it]
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<String>,
    /// The workers' launch template [default: INSTALLATION-worker]
    #[arg(long, value_name = "NAME|ID")]
    template: Option<String>,
    /// Images that stay, of those that launches took once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// A variable or a file that may have credentials in the image all the same; may be given several times
    #[arg(long, value_name = "NAME|FILE")]
    allow: Vec<String>,
    /// A service of the primary's that no worker may start, such as another worker's; may be given several times
    #[arg(long, value_name = "SERVICE")]
    stop: Vec<String>,
    /// What is deleted from the image, such as another program's data; may be given several times
    #[arg(long, value_name = "PATH")]
    erase: Vec<String>,
    /// Do not try the image before launches take it
    #[arg(long)]
    no_canary: bool,
    /// Let what failed stay, to look at it; it is billed until `--discard` or the next bake removes it
    #[arg(long)]
    keep_failed: bool,
    /// Say what would be done, and whether EC2 would let it; make nothing
    #[arg(long, conflicts_with_all = ["rollback", "discard", "restart"])]
    dry_run: bool,
    /// Begin anew instead of going on with a bake that was begun
    #[arg(long, conflicts_with_all = ["rollback", "discard"])]
    restart: bool,
    /// Remove what a bake that was begun has made, and make nothing
    #[arg(long, conflicts_with = "rollback")]
    discard: bool,
    /// Have launches take an earlier image again: the one before, or this one
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, default_missing_value = "")]
    rollback: Option<String>,
    #[arg(long, help = crate::arguments::JSON)]
    json: bool,
}

pub(super) async fn bake(options: Options) -> anyhow::Result<()> {
    let result = run(&options).await;
    crate::or_json(result, options.json)
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let images = connect(options.region.as_deref(), &options.installation).await?;
    let template = workers_template(options.template.as_deref(), &options.installation);
    let baker = Baker::new(images);
    if let Some(asked) = &options.rollback {
        let asked = Some(asked.as_str()).filter(|asked| !asked.is_empty());
        let (image, before) = baker.rollback(&template, asked).await?;
        match options.json {
            true => outln!("{}", json!({ "ok": true, "image": image, "before": before })),
            false => {
                outln!("launches take {image} from now on (before: {before})\ninstances that run stay as they are")
            }
        }
        return Ok(());
    }
    if options.discard || options.restart {
        // It rests on nothing else: the primary or the stack may be gone.
        let removed = baker.discard(&stacks_parameter(&options.installation), |_| true).await?;
        if options.discard {
            print_discarded(&removed, options.json);
            return Ok(());
        }
    }
    let plan = baker.plan(options.from.as_deref(), &template, usize::from(options.keep)).await?;
    if options.dry_run {
        if plan.resumes.is_none() {
            baker.would_copy(&plan).await?;
        }
        print_plan(&plan, options);
        return Ok(());
    }
    make(&baker, &plan, options).await
}

async fn make(baker: &Baker, plan: &Plan, options: &Options) -> anyhow::Result<()> {
    let way = Way {
        keeps: usize::from(options.keep),
        tries: !options.no_canary,
        keeps_failed: options.keep_failed,
        allowed: options.allow.clone(),
        stopped: options.stop.clone(),
        erased: options.erase.clone(),
    };
    let mut shown = Shown::new(plan, !options.no_canary, options.json, std::io::stderr().is_terminal());
    let fresh = name_of_a_bake(clock::system_now());
    let mut tell = |progress: Progress| shown.tell(&progress);
    let baked = tokio::select! {
        baked = baker.bake(plan, &fresh, &way, &mut tell) => Some(baked),
        _ = tokio::signal::ctrl_c() => None,
    };
    shown.ends();
    let baked = baked.context(
        "stopped. What was made stays, and is billed: the same command goes on, and with --discard it is removed",
    )?;
    match baked {
        Ok(done) => {
            let seconds = shown.seconds();
            match options.json {
                true => outln!(
                    "{}",
                    json!({ "ok": true, "bake": done.bake, "image": done.image, "resumed": plan.resumes.is_some(), "steps": seconds })
                ),
                false => outln!(
                    "launches take {} from now on{}\ninstances that run stay as they are; back: spillway bake --rollback",
                    done.image,
                    plan.current.as_ref().map(|before| format!(" (before: {before})")).unwrap_or_default()
                ),
            }
            Ok(())
        }
        Err(error) => {
            if let BakeError::Refused { .. } = &error {
                errln!("what was made stays, and is billed: the same command goes on, and --discard removes it");
            }
            if let BakeError::Failed { said, kept, .. } = &error {
                said.iter().for_each(|line| errln!("  | {}", visible(line)));
                match kept {
                    true => errln!("what was made stays, and is billed: spillway bake --discard removes it"),
                    false => errln!("what was made for it is removed; launches take the image of before"),
                }
            }
            // A console's words are in it.
            Err(anyhow::anyhow!(visible(&error.to_string())))
        }
    }
}

/// The workers' launch template: the one that is asked for, else the stack's. An input that CI leaves empty is none.
pub(super) fn workers_template(asked: Option<&str>, installation: &str) -> String {
    asked.filter(|name| !name.is_empty()).map_or_else(|| format!("{installation}-worker"), str::to_owned)
}

/// With the credentials that AWS's own tools would use here.
pub(super) async fn connect(region: Option<&str>, installation: &str) -> anyhow::Result<Images> {
    // An input that CI leaves empty is none.
    let region = region.filter(|region| !region.is_empty());
    anyhow::ensure!(
        !installation.is_empty(),
        "--installation or SPILLWAY_INSTALLATION is empty: it is the stack's name"
    );
    let proxies = config::proxies(&config::process_environment())?;
    let images = Images::connect(region, &proxies, installation).await.context("HTTPS_PROXY cannot be used")?;
    anyhow::ensure!(images.region().is_some(), "nothing says in which region: --region, or AWS_REGION");
    Ok(images)
}

/// The time, which the image's name has too: `20261129T031245Z`.
fn name_of_a_bake(now: SystemTime) -> String {
    humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "")
}

fn print_discarded(removed: &[Removal], as_json: bool) {
    if as_json {
        let ids: Vec<&str> = removed.iter().map(Removal::id).collect();
        outln!("{}", json!({ "ok": true, "removed": ids }));
    } else if removed.is_empty() {
        outln!("nothing is left of a bake");
    } else {
        removed.iter().for_each(|removal| outln!("removed {}", in_words(removal)));
    }
}

fn print_plan(plan: &Plan, options: &Options) {
    let list = |removals: &[Removal]| removals.iter().map(|removal| removal.id().to_owned()).collect::<Vec<_>>();
    if options.json {
        outln!(
            "{}",
            json!({
                "ok": true, "from": plan.source.id, "parameter": plan.parameter, "image": plan.current, "resumes": plan.resumes,
                "instance_type": plan.template.instance_type, "subnet": plan.template.subnet, "builder_group": plan.builder_group,
                "leftovers": list(&plan.leftovers), "pruned": list(&plan.pruned),
            })
        );
        return;
    }
    let line = |what: &str, value: &str| outln!("{what:<14} {value}");
    line("copy", &format!("{} {} ({}), without a reboot", plan.source.id, plan.source.name, plan.source.state));
    let kind = &plan.template.instance_type;
    line("builder", &format!("{kind} in {}, which reaches nobody, without a role", plan.builder_group));
    let canary = format!("{kind} in {}, without a role", plan.template.groups.join(", "));
    line("canary", if options.no_canary { "none (--no-canary)" } else { &canary });
    line("parameter", &format!("{}, now {}", plan.parameter, plan.current.as_deref().unwrap_or("not there")));
    if let Some(bake) = &plan.resumes {
        line("goes on with", &format!("the bake {bake}, which was begun (--restart begins anew)"));
    }
    for removal in &plan.leftovers {
        line("removes", &format!("{}, of an earlier bake", in_words(removal)));
    }
    for removal in &plan.pruned {
        line("prunes", &format!("{}, older than the newest {}", in_words(removal), options.keep));
    }
    let copied = if plan.resumes.is_some() {
        ""
    } else {
        " EC2 would let the primary be copied;\nwhat comes later cannot be asked without a copy."
    };
    outln!("\nNothing was made.{copied}");
}

pub(super) fn in_words(removal: &Removal) -> String {
    match removal {
        Removal::Terminate(id) => format!("the instance {id}"),
        Removal::Deregister(id) => format!("the image {id} with its snapshots"),
        Removal::DeleteSnapshot(id) => format!("the snapshot {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bake_is_called_after_its_time() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_921_965);
        assert_eq!(name_of_a_bake(at), "20261129T031245Z");
    }

    #[test]
    fn a_template_that_ci_leaves_empty_is_the_stacks() {
        assert_eq!(workers_template(None, "video"), "video-worker");
        assert_eq!(workers_template(Some(""), "video"), "video-worker");
        assert_eq!(workers_template(Some("lt-1"), "video"), "lt-1");
    }
}
