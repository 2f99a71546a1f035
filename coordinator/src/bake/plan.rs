//! What a bake rests on, found out before anything is made: the launch template and its parameter, the machine to copy,
//! a group in which a builder reaches nobody.

use super::removals::{Removal, leftovers, pruned};
use super::run::{BakeError, Baker, while_doing};
use super::{copy_name, unfinished};
use crate::cloud::images::{Part, Source, WorkerTemplate};

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

impl Baker {
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
}

/// Where the stack's template has launches read the image's id.
pub fn stacks_parameter(installation: &str) -> String {
    format!("/spillway/{installation}/image")
}

/// The name of the parameter that the template's image is: the stack's, and no version of it. By its history it is told
/// which images launches took, so no other may stand there.
pub(super) fn parameter(template: &WorkerTemplate, name: &str, installation: &str) -> Result<String, BakeError> {
    let parameter = stacks_parameter(installation);
    match template.image == format!("resolve:ssm:{parameter}") {
        true => Ok(parameter),
        false => Err(BakeError::Unfit(format!(
            "the launch template {name} has the image {}, and a bake sets {parameter}: let it say resolve:ssm:{parameter}, as ami/stack.yaml's does",
            template.image
        ))),
    }
}
