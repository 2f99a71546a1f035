//! Whether there is a workers' image yet. The stack's parameter names a plain server's image until the first bake: EC2
//! refuses a launch template whose parameter does not exist or names none. What is launched from that has no agent, and
//! would be replaced again and again.

use aws_sdk_ec2::types::Image;
use spillway_brain::RefusalClass;

use super::volumes::describe_version;
use super::{Cloud, INSTALLATION_TAG, Refused};
use crate::config::Pool;

/// Where `ami/stack.yaml` has its launch template read the image's id.
fn stacks_parameter(installation: &str) -> String {
    format!("resolve:ssm:/spillway/{installation}/image")
}

impl Cloud {
    /// Why nothing is launched: the stack's parameter names an image that is not of this installation's workers. None
    /// where the template names its image in another way, or where that cannot be read.
    pub(super) async fn no_image_yet(&self, pool: &Pool, installation: &str) -> Option<Refused> {
        let named = describe_version(&self.client, &pool.launch_template, &pool.launch_template_version);
        let named = named.resolve_alias(false).send().await.ok()?;
        let named = named.launch_template_versions().first()?.launch_template_data()?.image_id()?.to_owned();
        // A version behind it is a person's choice.
        if named != stacks_parameter(installation) {
            return None;
        }
        let read = describe_version(&self.client, &pool.launch_template, &pool.launch_template_version).send().await;
        let read = read.ok()?;
        let id = read.launch_template_versions().first()?.launch_template_data()?.image_id()?.to_owned();
        if !id.starts_with("ami-") {
            return None;
        }
        let is_ours = match self.client.describe_images().image_ids(&id).send().await.map_err(Refused::from) {
            Ok(found) => found.images().first().is_some_and(|image| is_of(image, installation)),
            Err(refused) if refused.code.starts_with("InvalidAMIID") => false,
            Err(_) => return None,
        };
        (!is_ours).then(|| Refused {
            class: RefusalClass::Configuration,
            code: "NoImageYet".to_owned(),
            message: format!(
                "{} names {id}, which is not an image of this installation's workers (the tag {INSTALLATION_TAG})",
                named.trim_start_matches("resolve:ssm:")
            ),
        })
    }
}

fn is_of(image: &Image, installation: &str) -> bool {
    image.tags().iter().any(|tag| tag.key() == Some(INSTALLATION_TAG) && tag.value() == Some(installation))
}
