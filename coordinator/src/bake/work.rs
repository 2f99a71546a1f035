//! A bake under way: performs the step that `next` has decided, once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::RefusalClass;
use tokio::time::Instant;

use super::next::{Step, Verdicts, next, unfinished};
use super::plan::Plan;
use super::removals::Removal;
use super::run::{LISTED_WITHIN, Progress, Way, remove};
use super::verdict::{self, Verdict};
use super::{copy_name, image_name, scripts};
use crate::cloud::Refused;
use crate::cloud::images::{Baked, BakedImage, Images, Launch, Part};

/// A stopped instance's console is there within it.
const CONSOLE_WITHIN: Duration = Duration::from_secs(600);
/// An image of a large disk takes hours.
const IMAGE_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// Beyond what builder and canary allow themselves.
const INSTANCE_WITHIN: Duration = Duration::from_secs(50 * 60);
/// Lines of a console that are shown where something failed.
const SHOWN: usize = 15;

/// Why a step was not performed.
pub(super) enum Trouble {
    /// EC2 or Systems Manager said no, or nothing.
    Refused(&'static str, Refused),
    /// The bake cannot come to an image.
    Failed(String),
}

/// A bake under way.
pub(super) struct Work<'a> {
    pub(super) images: &'a Images,
    pub(super) plan: &'a Plan,
    pub(super) way: &'a Way,
    pub(super) bake: String,
    pub(super) verdicts: Verdicts,
    /// What EC2 has accepted and may not list yet, since when.
    pub(super) asked: BTreeMap<&'static str, Instant>,
    /// The end of the console of what failed.
    pub(super) said: Vec<String>,
    pub(super) last: Option<(Step, Instant)>,
    /// EC2 has listed the copy.
    pub(super) has_copied: bool,
    /// What cannot be removed, since somebody else uses it.
    pub(super) kept: BTreeSet<String>,
    /// The last step was another than the one before.
    pub(super) is_new: bool,
}

impl Work<'_> {
    /// One step; the image once all is done.
    pub(super) async fn step(
        &mut self,
        baked: &Baked,
        tell: &mut impl FnMut(Progress),
    ) -> Result<Option<String>, Trouble> {
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

    pub(super) async fn remove(&mut self, removals: &[Removal]) -> Result<(), Refused> {
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

/// The same step, however far it is.
fn is_same(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::AwaitImage(one, _), Step::AwaitImage(other, _)) => one == other,
        (Step::Remove(_), Step::Remove(_)) => true,
        _ => one == other,
    }
}
