//! A bake, performed: looks, has `next` decide, acts, waits. Prints nothing: it tells its progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::next::{Step, Verdicts, next, unfinished};
use super::removals::{Removal, everything, leftovers, pruned};
use super::rollback::{RollbackError, earlier};
use super::verdict::{self, Verdict};
use super::{copy_name, image_name, scripts};
use crate::cloud::Refused;
use crate::cloud::images::{Baked, BakedImage, Images, Launch, Part, Source, WorkerTemplate};
use spillway_brain::RefusalClass;

/// Between two looks: short at first, for what is quick.
const POLLS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// EC2 lists what it has made within it.
const LISTED_WITHIN: Duration = Duration::from_secs(180);
/// A stopped instance's console is there within it.
const CONSOLE_WITHIN: Duration = Duration::from_secs(600);
/// An image of a large disk takes hours.
const IMAGE_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// Beyond what builder and canary allow themselves.
const INSTANCE_WITHIN: Duration = Duration::from_secs(50 * 60);
/// Looks that fail one after the other, about half an hour of them, end a bake; what is there stays.
const FAILURES: u32 = 180;
/// Lines of a console that are shown where something failed.
const SHOWN: usize = 15;

/// How an image is made.
#[derive(Clone, Debug)]
pub struct Way {
    /// How many images stay that launches took once.
    pub keeps: usize,
    /// The image is tried on a canary.
    pub tries: bool,
    /// What failed stays, for a person to look at.
    pub keeps_failed: bool,
    /// Variables and files that may have credentials.
    pub allowed: Vec<String>,
    /// Services of the primary's that no worker may start.
    pub stopped: Vec<String>,
    /// Paths that no worker may have.
    pub erased: Vec<String>,
}

/// What a bake rests on, found out before anything is made.
#[derive(Clone, Debug)]
pub struct Plan {
    pub parameter: String,
    pub template: WorkerTemplate,
    pub source: Source,
    /// In which the builder reaches nobody.
    pub builder_group: String,
    /// The bake that is gone on with.
    pub resumes: Option<String>,
    /// What earlier bakes left.
    pub leftovers: Vec<Removal>,
    /// Images that would go now.
    pub pruned: Vec<Removal>,
    /// What launches take now.
    pub current: Option<String>,
}

/// What `spillway uninstall` removes.
#[derive(Clone, Debug)]
pub struct Uninstalls {
    /// Instances that are not terminated.
    pub workers: Vec<String>,
    pub removals: Vec<Removal>,
    /// None: it is not there.
    pub parameter: Option<String>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new step begins.
    Begins(Step),
    /// The same one goes on.
    Goes(Step),
    /// EC2 does not answer for the moment.
    Retries(String),
}

/// What a bake came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub bake: String,
    pub image: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// What it rests on is not there, or not as it must be. Nothing was made.
    #[error("{0}")]
    Unfit(String),
    /// With what was removed: all that this bake had made, unless it is kept.
    #[error("{why}")]
    Failed { why: String, said: Vec<String>, kept: bool },
    #[error("{doing}: {refused}")]
    Refused { doing: &'static str, refused: Refused },
    #[error(transparent)]
    Rollback(#[from] RollbackError),
}

fn while_doing(doing: &'static str) -> impl Fn(Refused) -> BakeError {
    move |refused| BakeError::Refused { doing, refused }
}

/// Makes images, of one installation.
#[derive(Debug)]
pub struct Baker {
    images: Images,
}

impl Baker {
    pub fn new(images: Images) -> Self {
        Self { images }
    }

    /// Finds out all that a bake rests on. Nothing is made.
    ///
    /// # Errors
    /// Something is missing, or a builder would reach somebody.
    pub async fn plan(&self, from: Option<&str>, template: &str, keeps: usize) -> Result<Plan, BakeError> {
        let installation = self.images.installation();
        let found = self.images.template(template).await.map_err(while_doing("cannot read the launch template"))?;
        let found = found.ok_or_else(|| {
            BakeError::Unfit(format!(
                "there is no launch template {template} in {}: is the stack called {installation} (--installation)? ami/stack.yaml makes it",
                self.images.region().unwrap_or_default()
            ))
        })?;
        let parameter = parameter(&found, template, installation)?;
        let source = self.source(from).await?;
        let builder_group = self.builder_group().await?;
        let baked = self.images.look(&parameter).await.map_err(while_doing("cannot look at the images there are"))?;
        let resumes = unfinished(&baked).map(str::to_owned);
        let copy = baked.images.iter().find(|it| it.part == Some(Part::Copy) && resumes.as_ref() == Some(&it.bake));
        if let Some(copied) = copy.and_then(|copy| copy.source.as_ref()).filter(|copied| **copied != source.id) {
            return Err(BakeError::Unfit(format!(
                "a bake was begun from {copied}, and {} is to be copied: --restart begins anew, --discard removes it",
                source.id
            )));
        }
        Ok(Plan {
            leftovers: leftovers(&baked, |bake| resumes.as_deref() != Some(bake)),
            pruned: pruned(&baked, keeps),
            current: baked.history.last().cloned(),
            template: found,
            parameter,
            source,
            builder_group,
            resumes,
        })
    }

    async fn source(&self, from: Option<&str>) -> Result<Source, BakeError> {
        let installation = self.images.installation();
        let found = self.images.sources(from).await.map_err(while_doing("cannot find the primary"))?;
        let tag =
            format!("aws ec2 create-tags --resources i-PRIMARY --tags Key=spillway:bake-from,Value={installation}");
        let unfit = |why: String| Err(BakeError::Unfit(why));
        match &found[..] {
            [] => unfit(format!("no machine may be copied: an administrator tags the primary once ({tag})")),
            [source] if source.bake_from.as_deref() != Some(installation) => unfit(format!(
                "{} is not tagged as the machine that is copied for {installation}: an administrator does that once ({tag})",
                source.id
            )),
            [source] if source.state != "running" && source.state != "stopped" => {
                unfit(format!("{} is {}: wait until it runs", source.id, source.state))
            }
            [source] => Ok(source.clone()),
            several => unfit(format!(
                "several machines may be copied for {installation}: say which (--from): {}",
                several.iter().map(|it| format!("{} {}", it.id, it.name)).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// The tag and the name are anybody's: what counts is that nothing gets out of it.
    async fn builder_group(&self) -> Result<String, BakeError> {
        let name = format!("{}-builder", self.images.installation());
        let found = self.images.groups(&name).await.map_err(while_doing("cannot find the builder's security group"))?;
        match &found[..] {
            [group] if group.open_to.is_empty() => Ok(group.id.clone()),
            [group] => Err(BakeError::Unfit(format!(
                "the security group {} ({name}) is open to {}: a copy of the primary that starts in it could work the queue's jobs. Take its rules \
                 out, or update the stack",
                group.id,
                group.open_to.join(", ")
            ))),
            [] => Err(BakeError::Unfit(format!("there is no security group {name}: ami/stack.yaml makes it"))),
            _ => Err(BakeError::Unfit(format!(
                "there are several security groups {name}: only the stack's may have that name"
            ))),
        }
    }

    /// Whether EC2 would let a copy of the primary be made.
    pub async fn would_copy(&self, plan: &Plan) -> Result<(), BakeError> {
        let name = copy_name(self.images.installation());
        let asked = self.images.create_image(&plan.source.id, &name, ("dry-run", Part::Copy), true).await;
        asked.map(drop).map_err(while_doing("EC2 would not copy the primary"))
    }

    /// Makes an image, or goes on with the bake that was begun.
    ///
    /// # Errors
    /// There is no new image. What was made for it is removed, unless the way is to keep it or EC2 does not answer.
    pub async fn bake(
        &self,
        plan: &Plan,
        fresh: &str,
        way: &Way,
        tell: &mut impl FnMut(Progress),
    ) -> Result<Done, BakeError> {
        let mut work = Work {
            images: &self.images,
            plan,
            way,
            bake: plan.resumes.clone().unwrap_or_else(|| fresh.to_owned()),
            verdicts: Verdicts::default(),
            asked: BTreeMap::new(),
            said: Vec::new(),
            last: None,
            has_copied: false,
            kept: BTreeSet::new(),
            is_new: true,
        };
        work.remove(&plan.leftovers).await.map_err(while_doing("cannot remove what an earlier bake left"))?;
        let (mut pause, mut failures) = (POLLS.0, 0);
        loop {
            let looked = self.images.look(&plan.parameter).await;
            let acted = match looked {
                Ok(baked) => work.step(&baked, tell).await,
                Err(refused) => Err(Trouble::Refused("cannot look at what there is", refused)),
            };
            match acted {
                Ok(Some(image)) => return Ok(Done { bake: work.bake, image }),
                Ok(None) => {
                    failures = 0;
                    pause = if work.is_new { POLLS.0 } else { pause };
                }
                // What was asked for may have been done: the next look says.
                Err(Trouble::Refused(_, refused)) if refused.class == RefusalClass::Retry && failures < FAILURES => {
                    failures += 1;
                    tell(Progress::Retries(refused.to_string()));
                }
                Err(Trouble::Refused(doing, refused)) => return Err(BakeError::Refused { doing, refused }),
                Err(Trouble::Failed(why)) => {
                    let said = std::mem::take(&mut work.said);
                    let kept = way.keeps_failed;
                    let removed = match kept {
                        true => Ok(Vec::new()),
                        // Another's bake may have begun meanwhile.
                        false => self.discard(&plan.parameter, |bake| bake == work.bake).await,
                    };
                    let (why, kept) = match removed {
                        Ok(_) => (why, kept),
                        Err(error) => (format!("{why}. Not all that was made could be removed: {error}"), true),
                    };
                    return Err(BakeError::Failed { why, said, kept });
                }
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(POLLS.1);
        }
    }

    /// Removes everything that these bakes have made and launches never took; what it was.
    ///
    /// # Errors
    /// EC2 refuses, or still lists some of it after minutes.
    pub async fn discard(&self, parameter: &str, is_meant: impl Fn(&str) -> bool) -> Result<Vec<Removal>, BakeError> {
        let mut all: Vec<Removal> = Vec::new();
        let mut kept: BTreeSet<String> = BTreeSet::new();
        let until = Instant::now() + LISTED_WITHIN;
        loop {
            let baked = self.images.look(parameter).await.map_err(while_doing("cannot look at what there is"))?;
            let left = leftovers(&baked, &is_meant);
            let left: Vec<Removal> = left.into_iter().filter(|it| !kept.contains(it.id())).collect();
            if left.is_empty() {
                return Ok(all);
            }
            if Instant::now() > until {
                let ids: Vec<&str> = left.iter().map(Removal::id).collect();
                return Err(BakeError::Unfit(format!("EC2 still lists {}: look at them by hand", ids.join(", "))));
            }
            for removal in left {
                match remove(&self.images, &removal).await {
                    // Somebody has made an image of it: it is theirs now.
                    Err(refused) if refused.code == "InvalidSnapshot.InUse" => {
                        kept.insert(removal.id().to_owned());
                        continue;
                    }
                    removed => removed.map_err(while_doing("cannot remove what a bake has made"))?,
                }
                if !all.contains(&removal) {
                    all.push(removal);
                }
            }
            sleep(POLLS.0).await;
        }
    }

    /// What there is to remove of this installation, once none of its instances is left.
    pub async fn uninstalls(&self, template: &str) -> Result<Uninstalls, BakeError> {
        let found = self.images.template(template).await.map_err(while_doing("cannot read the launch template"))?;
        // Where the stack is gone already, its parameter is where it was.
        let parameter = match &found {
            Some(found) => parameter(found, template, self.images.installation())?,
            None => stacks_parameter(self.images.installation()),
        };
        let baked = self.images.look(&parameter).await.map_err(while_doing("cannot look at the images there are"))?;
        let workers = self.images.workers().await.map_err(while_doing("cannot look for instances"))?;
        Ok(Uninstalls {
            workers,
            removals: everything(&baked),
            parameter: Some(parameter).filter(|_| !baked.history.is_empty()),
        })
    }

    /// Removes one thing; it may be gone already.
    pub async fn remove(&self, removal: &Removal) -> Result<(), BakeError> {
        remove(&self.images, removal).await.map_err(while_doing("cannot remove what bakes have made"))
    }

    /// Launches have no image any more.
    pub async fn delete_parameter(&self, parameter: &str) -> Result<(), BakeError> {
        self.images.delete_parameter(parameter).await.map_err(while_doing("cannot delete the parameter"))
    }

    /// Has launches take an earlier image again; which one, and which they took until now.
    pub async fn rollback(&self, template: &str, asked: Option<&str>) -> Result<(String, String), BakeError> {
        let found = self.images.template(template).await.map_err(while_doing("cannot read the launch template"))?;
        let found = found.ok_or_else(|| BakeError::Unfit(format!("there is no launch template {template}")))?;
        let parameter = parameter(&found, template, self.images.installation())?;
        let baked = self.images.look(&parameter).await.map_err(while_doing("cannot look at the images there are"))?;
        let current = baked.history.last().cloned().unwrap_or_default();
        for image in earlier(&baked.history, asked)? {
            if self.images.is_workers(&image).await.map_err(while_doing("cannot look at an image"))? {
                self.images.set(&parameter, &image).await.map_err(while_doing("cannot set the parameter"))?;
                return Ok((image, current));
            }
        }
        let what = match asked {
            None => "no earlier image of this installation's workers is there any more".to_owned(),
            Some(asked) => format!("{asked} is no image of this installation's workers, or not there any more"),
        };
        Err(BakeError::Unfit(format!("{what}: launches go on with {current}")))
    }
}

/// Where the stack's template has launches read the image's id.
pub fn stacks_parameter(installation: &str) -> String {
    format!("/spillway/{installation}/image")
}

/// The name of the parameter that the template's image is: the stack's, and no version of it. By its history it is told
/// which images launches took, so no other may stand there.
fn parameter(template: &WorkerTemplate, name: &str, installation: &str) -> Result<String, BakeError> {
    let parameter = stacks_parameter(installation);
    match template.image == format!("resolve:ssm:{parameter}") {
        true => Ok(parameter),
        false => Err(BakeError::Unfit(format!(
            "the launch template {name} has the image {}, and a bake sets {parameter}: let it say resolve:ssm:{parameter}, as ami/stack.yaml's does",
            template.image
        ))),
    }
}

enum Trouble {
    /// EC2 or Systems Manager said no, or nothing.
    Refused(&'static str, Refused),
    /// The bake cannot come to an image.
    Failed(String),
}

/// A bake under way.
struct Work<'a> {
    images: &'a Images,
    plan: &'a Plan,
    way: &'a Way,
    bake: String,
    verdicts: Verdicts,
    /// What EC2 has accepted and may not list yet, since when.
    asked: BTreeMap<&'static str, Instant>,
    /// The end of the console of what failed.
    said: Vec<String>,
    last: Option<(Step, Instant)>,
    /// EC2 has listed the copy.
    has_copied: bool,
    /// What cannot be removed, since somebody else uses it.
    kept: BTreeSet<String>,
    /// The last step was another than the one before.
    is_new: bool,
}

impl Work<'_> {
    /// One step; the image once all is done.
    async fn step(&mut self, baked: &Baked, tell: &mut impl FnMut(Progress)) -> Result<Option<String>, Trouble> {
        // Somebody else's copy was there first: EC2 has its name once. Both go on with that bake.
        let has_begun = baked.images.iter().any(|image| image.bake == self.bake);
        if let Some(other) = unfinished(baked).filter(|other| *other != self.bake && !has_begun) {
            other.clone_into(&mut self.bake);
        }
        self.has_copied |= unfinished(baked) == Some(self.bake.as_str());
        let step = next(baked, &self.bake, &self.verdicts, self.way.keeps, self.way.tries);
        let is_new = self.last.as_ref().is_none_or(|(last, _)| !is_same(last, &step));
        self.is_new = is_new;
        if is_new {
            self.last = Some((step.clone(), Instant::now()));
            tell(Progress::Begins(step.clone()));
        } else {
            tell(Progress::Goes(step.clone()));
        }
        let installation = self.images.installation();
        match step {
            Step::MakeCopy if self.has_copied => {
                return Err(gone("its copy is not there any more: another bake has begun, or somebody has removed it"));
            }
            Step::MakeCopy => {
                let name = copy_name(installation);
                let source = self.plan.source.id.clone();
                self.create("copy", &source, &name, Part::Copy).await?;
            }
            Step::LaunchBuilder(image) => {
                let groups = [self.plan.builder_group.clone()];
                // It was closed when the bake began, which may be long ago.
                self.is_still_closed().await?;
                let user_data = scripts::builder(&self.bake, self.way);
                self.launch("builder", Part::Builder, &image, &groups, &user_data).await?;
            }
            Step::MakeImage(builder) => {
                let name = image_name(installation, &self.bake);
                self.create("image", &builder, &name, Part::Image).await?;
            }
            Step::LaunchCanary(image) => {
                let groups = self.plan.template.groups.clone();
                let user_data = scripts::canary(&self.bake, &self.plan.template);
                self.launch("canary", Part::Canary, &image, &groups, &user_data).await?;
            }
            Step::ReadConsole(part, instance) => self.read(part, &instance).await?,
            Step::SetParameter(image) => {
                // Systems Manager looks at the image before it shows the new value.
                if let Some(at) = self.asked.get("parameter") {
                    return if at.elapsed() < LISTED_WITHIN {
                        Ok(None)
                    } else {
                        Err(unseen(&self.plan.parameter, &image))
                    };
                }
                let set = self.images.set(&self.plan.parameter, &image).await;
                set.map_err(|refused| Trouble::Refused("cannot set the parameter", refused))?;
                self.asked.insert("parameter", Instant::now());
            }
            Step::Remove(removals) => {
                let left: Vec<Removal> = removals.into_iter().filter(|it| !self.kept.contains(it.id())).collect();
                if left.is_empty() {
                    let image = baked.images.iter().find(|it| it.bake == self.bake && it.part == Some(Part::Image));
                    return Ok(image.map(|image| image.id.clone()));
                }
                let removed = self.remove(&left).await;
                removed.map_err(|refused| Trouble::Refused("cannot remove what is not needed any more", refused))?;
            }
            Step::AwaitImage(part, _) => self.waits(IMAGE_WITHIN, part, "")?,
            Step::AwaitInstance(part, id) => self.waits(INSTANCE_WITHIN, part, &id)?,
            Step::Done(image) => return Ok(Some(image)),
            Step::Failed(why) => {
                self.tell_console(baked).await;
                return Err(Trouble::Failed(why));
            }
        }
        Ok(None)
    }

    /// Whether a step may go on; it has a limit of its own, since who should keep to another may not run at all.
    fn waits(&self, most: Duration, part: Part, id: &str) -> Result<(), Trouble> {
        match &self.last {
            Some((_, since)) if since.elapsed() > most => Err(Trouble::Failed(format!(
                "the {} {id} is not ready after {}: its console may say why",
                part.name(),
                spillway_words::in_words(most)
            ))),
            _ => Ok(()),
        }
    }

    async fn is_still_closed(&self) -> Result<(), Trouble> {
        let name = format!("{}-builder", self.images.installation());
        let found = self.images.groups(&name).await;
        let found = found.map_err(|refused| Trouble::Refused("cannot read the builder's security group", refused))?;
        match found.iter().find(|group| group.id == self.plan.builder_group) {
            Some(group) if group.open_to.is_empty() => Ok(()),
            Some(group) => Err(Trouble::Failed(format!(
                "the security group {} ({name}) has been opened to {} since the bake began",
                group.id,
                group.open_to.join(", ")
            ))),
            None => Err(Trouble::Failed(format!("the security group {name} is gone"))),
        }
    }

    /// Has it been asked for already? EC2 lists it in a moment, or has forgotten it.
    fn was_asked(&self, what: &'static str) -> Result<bool, Trouble> {
        match self.asked.get(what) {
            None => Ok(false),
            Some(at) if at.elapsed() < LISTED_WITHIN => Ok(true),
            Some(_) => Err(Trouble::Failed(format!(
                "EC2 has accepted to make the {what}, and does not list it with the tags that it was given"
            ))),
        }
    }

    async fn create(&mut self, what: &'static str, instance: &str, name: &str, part: Part) -> Result<(), Trouble> {
        if self.was_asked(what)? {
            return Ok(());
        }
        let made = self.images.create_image(instance, name, (&self.bake, part), false).await;
        let made = made.map_err(|refused| Trouble::Refused("EC2 does not make an image", refused))?;
        if made.is_some() {
            self.asked.insert(what, Instant::now());
            return Ok(());
        }
        // An image of that name is there. One of ours is listed in a moment; another's may go, and is asked for again.
        match &self.last {
            Some((_, since)) if since.elapsed() > LISTED_WITHIN => Err(gone(&format!(
                "an image called {name} is there that is none of this installation's bakes: deregister it"
            ))),
            _ => Ok(()),
        }
    }

    async fn launch(
        &mut self,
        what: &'static str,
        part: Part,
        image: &BakedImage,
        groups: &[String],
        user_data: &str,
    ) -> Result<(), Trouble> {
        if self.was_asked(what)? {
            return Ok(());
        }
        let launch = Launch {
            bake: &self.bake,
            part,
            image,
            instance_type: &self.plan.template.instance_type,
            subnet: self.plan.template.subnet.as_deref(),
            groups,
            user_data,
        };
        let launched = self.images.launch(&launch).await;
        launched.map_err(|refused| Trouble::Refused("EC2 does not launch an instance", refused))?;
        self.asked.insert(what, Instant::now());
        Ok(())
    }

    async fn read(&mut self, part: Part, instance: &str) -> Result<(), Trouble> {
        let console = self.images.console(instance).await;
        let console = console.map_err(|refused| Trouble::Refused("cannot read a console", refused))?;
        let verdict = Verdict::read(&console, &self.bake, part).or_else(|| {
            let waits = self.last.as_ref().is_some_and(|(_, since)| since.elapsed() < CONSOLE_WITHIN);
            let why =
                "it has stopped, and its console says nothing of a verdict: is cloud-init in the image?".to_owned();
            (!waits).then_some(Verdict::Bad(why))
        });
        match part {
            Part::Builder => self.verdicts.builder = verdict,
            _ => self.verdicts.canary = verdict,
        }
        Ok(())
    }

    /// What the instance that failed has said.
    async fn tell_console(&mut self, baked: &Baked) {
        for part in [Part::Canary, Part::Builder] {
            let Some(instance) = baked.instances.iter().find(|it| it.bake == self.bake && it.part == Some(part)) else {
                continue;
            };
            let console = self.images.console(&instance.id).await.unwrap_or_default();
            self.said = verdict::lines(&console, SHOWN);
            if !self.said.is_empty() {
                return;
            }
        }
    }

    async fn remove(&mut self, removals: &[Removal]) -> Result<(), Refused> {
        for removal in removals {
            match remove(self.images, removal).await {
                // Somebody has made an image of it: it is theirs now.
                Err(refused) if refused.code == "InvalidSnapshot.InUse" => {
                    self.kept.insert(removal.id().to_owned());
                }
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// The bake cannot go on, and what it has made is somebody else's by now, or stays for the next try.
fn gone(message: &str) -> Trouble {
    let (class, code) = (RefusalClass::Configuration, "NotOurs".to_owned());
    Trouble::Refused("the bake cannot go on", Refused { class, code, message: message.to_owned() })
}

/// The parameter was set, and does not show it: whether launches take the image is not known, so it stays.
fn unseen(parameter: &str, image: &str) -> Trouble {
    let refused = Refused {
        class: RefusalClass::Configuration,
        code: "NotShown".to_owned(),
        message: format!(
            "{parameter} was set to {image} and does not show it: look at it (aws ssm get-parameter --name {parameter}), then run this again"
        ),
    };
    Trouble::Refused("Systems Manager does not take the image", refused)
}

async fn remove(images: &Images, removal: &Removal) -> Result<(), Refused> {
    match removal {
        Removal::Terminate(id) => images.terminate(id).await,
        Removal::Deregister(id) => images.deregister(id).await,
        Removal::DeleteSnapshot(id) => images.delete_snapshot(id).await,
    }
}

/// The same step, however far it is.
fn is_same(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::AwaitImage(one, _), Step::AwaitImage(other, _)) => one == other,
        (Step::Remove(_), Step::Remove(_)) => true,
        _ => one == other,
    }
}
