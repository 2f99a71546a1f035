//! What the primary's role may do at EC2 beside launches, each action tried with a dry run: `aws.terminate`,
//! `aws.spot_requests`, `aws.volumes`, `aws.spot_prices`. The tags of a launch are tried with it
//! (`aws.launch`): the policy lets nobody set tags by themselves.

use spillway_brain::RefusalClass;

use super::Finding;
use crate::cloud::{Cloud, Refused};

const TERMINATE: &str = "aws.terminate";

pub(super) async fn examine(cloud: &Cloud, installation: Option<&str>, say: &mut impl FnMut(Finding)) {
    say(terminate(cloud, installation).await);
    let may = "ec2:DescribeSpotInstanceRequests";
    let without = "interruptions are known by agents alone";
    say(list("aws.spot_requests", may, without, cloud.would_list_spot_requests().await));
    let without = "what instances leave behind is not seen, and is billed";
    say(list("aws.volumes", "ec2:DescribeVolumes", without, cloud.would_list_volumes().await));
    let (may, without) = ("ec2:DescribeSpotPriceHistory", "what instances cost is not known");
    say(list("aws.spot_prices", may, without, cloud.would_tell_spot_prices().await));
}

/// EC2 tries a permission on an instance that there is, with its tags.
async fn terminate(cloud: &Cloud, installation: Option<&str>) -> Finding {
    let Some(installation) = installation else {
        return Finding::ok(TERMINATE, "not tried: this installation has no name yet");
    };
    let id = match cloud.own_instance(installation).await {
        Ok(Some(id)) => id,
        Ok(None) => return Finding::ok(TERMINATE, format!("not tried: no instance of installation {installation}")),
        Err(refused) => return Finding::warn(TERMINATE, refused.to_string(), "try again"),
    };
    match cloud.would_terminate(&id).await {
        Ok(()) => Finding::ok(TERMINATE, format!("EC2 would terminate {id} (dry run)")),
        // Gone in between.
        Err(refused) if refused.code == "InvalidInstanceID.NotFound" => {
            Finding::ok(TERMINATE, format!("not tried: {id} is gone"))
        }
        Err(refused) if refused.class == RefusalClass::Permission => Finding::fail(
            TERMINATE,
            format!("{id} could not be terminated, and would be billed on: {refused}"),
            "allow ec2:TerminateInstances to the primary's role: ami/coordinator-policy.json, whose tags must be this \
             installation's",
        ),
        Err(refused) if refused.code == "OperationNotPermitted" => Finding::fail(
            TERMINATE,
            format!("{id} is protected from termination: {refused}"),
            "aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id, and the same in the launch \
             template",
        ),
        Err(refused) => Finding::warn(TERMINATE, refused.to_string(), "try again"),
    }
}

fn list(id: &'static str, action: &str, without: &str, answer: Result<(), Refused>) -> Finding {
    match answer {
        Ok(()) => Finding::ok(id, format!("EC2 answers {action} (dry run)")),
        Err(refused) if refused.class == RefusalClass::Permission => Finding::warn(
            id,
            format!("{without}: {refused}"),
            format!("allow {action} to the primary's role: ami/coordinator-policy.json"),
        ),
        Err(refused) => Finding::warn(id, refused.to_string(), "try again"),
    }
}
