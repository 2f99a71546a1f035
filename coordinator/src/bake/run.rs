//! A bake, performed: looks, has `next` decide, acts, waits. Prints nothing: it tells its progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::RefusalClass;
use tokio::time::{Instant, sleep};

use super::next::{Step, Verdicts};
use super::plan::{Plan, parameter, stacks_parameter};
use super::removals::{Removal, everything, leftovers};
use super::rollback::{RollbackError, earlier};
use super::work::{Trouble, Work};
use crate::cloud::Refused;
use crate::cloud::images::Images;

/// Between two looks: short at first, for what is quick.
const POLLS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// EC2 lists what it has made within it.
pub(super) const LISTED_WITHIN: Duration = Duration::from_secs(180);
/// Looks that fail one after the other, about half an hour of them, end a bake; what is there stays.
const FAILURES: u32 = 180;

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

pub(super) fn while_doing(doing: &'static str) -> impl Fn(Refused) -> BakeError {
    move |refused| BakeError::Refused { doing, refused }
}

/// Makes images, of one installation.
#[derive(Debug)]
pub struct Baker {
    pub(super) images: Images,
}

impl Baker {
    pub fn new(images: Images) -> Self {
        Self { images }
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

pub(super) async fn remove(images: &Images, removal: &Removal) -> Result<(), Refused> {
    match removal {
        Removal::Terminate(id) => images.terminate(id).await,
        Removal::Deregister(id) => images.deregister(id).await,
        Removal::DeleteSnapshot(id) => images.delete_snapshot(id).await,
    }
}
