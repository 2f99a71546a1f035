//! The rows of the role for `spillway bake`: what it may do, and who may assume it.

use super::account::{ACCOUNT, Account, REGION, Stack};
use super::calls::{Launch, Tags, arn, call, tags};
use super::policy::Call;
use super::table::{Of, Row, no, yes};

pub const CI_SUBJECT: &str = "repo:acme/scalereach:ref:refs/heads/main";

const MANAGED_BY: &str = "ManagedBy";
const INSTALLATION: &str = "spillway:installation";

/// What everything that `bake` makes has.
fn bake_tags(stack: &Stack) -> Tags {
    tags(&[("Name", "bake"), (MANAGED_BY, "spillway-bake"), (INSTALLATION, &stack.name)])
}

/// The builder: in the closed group, on demand, without a template, of an image of ours.
fn builder(account: &Account, stack: &Stack) -> Launch {
    Launch::of(account, stack).using("security-group", &stack.outputs["BuilderGroupId"]).but(|launch| {
        launch.template = None;
        launch.image_tags = bake_tags(stack);
        "on-demand".clone_into(&mut launch.market);
        for kind in ["instance", "volume", "network-interface"] {
            launch.tags.insert(kind.to_owned(), bake_tags(stack));
        }
    })
}

pub fn rows(account: &Account, stack: &Stack) -> Vec<Row> {
    let mut rows = launches(account, stack);
    rows.extend(images(stack));
    rows.extend(others(stack));
    rows
}

fn launches(account: &Account, stack: &Stack) -> Vec<Row> {
    let of = Of::Bake;
    let builder = builder(account, stack);
    let group = &*stack.outputs["WorkerGroupId"];
    let in_group = |group: &str| builder.using("security-group", group).calls();
    let mut rows = vec![
        yes(of, "launch the builder", builder.calls()),
        yes(of, "launch an instance among the workers to try an image", in_group(group)),
        no(of, "launch in another group", in_group("sg-primary")),
        no(of, "launch in another VPC", builder.but(|it| it.vpc = arn("vpc", "vpc-another")).calls()),
        no(of, "launch another type", builder.but(|it| "p5.48xlarge".clone_into(&mut it.instance_type)).calls()),
        no(of, "launch without tags", builder.but(|it| it.tags.clear()).calls()),
        no(of, "launch somebody's image", builder.but(|it| it.image_tags.clear()).calls()),
        no(of, "launch a worker as the coordinator does", super::coordinator_calls::launch(account, stack).calls()),
    ];
    for kind in ["instance", "volume", "network-interface"] {
        rows.extend(without_a_tag(&builder.run(kind), "RequestTag", kind));
        rows.extend(without_a_tag(&builder.tag(kind), "RequestTag", kind));
    }
    rows.extend(without_a_tag(&builder.run("image"), "ResourceTag", "image"));
    rows.extend(elsewhere(builder.calls()));
    rows
}

/// Images and snapshots, from their making to their end.
fn images(stack: &Stack) -> Vec<Row> {
    let of = Of::Bake;
    let ours = bake_tags(stack);
    let primary = tags(&[("spillway:bake-from", &stack.name)]);
    let worker = super::coordinator_calls::launch_tags(&stack.name);
    let copy = |tags: &Tags| call("ec2:CreateImage", &arn("instance", "i-1")).on(tags);
    let made = |kind: &str| call("ec2:CreateImage", &arn(kind, "*")).tagging(&ours);
    let tag =
        |kind: &str| call("ec2:CreateTags", &arn(kind, "*")).told("ec2:CreateAction", "CreateImage").tagging(&ours);
    let results = [made("image"), made("snapshot"), tag("image"), tag("snapshot")];
    let image_of = |tags: &Tags| [vec![copy(tags)], results.to_vec()].concat();
    let deregister = call("ec2:DeregisterImage", &arn("image", "ami-1")).on(&ours);
    let delete = call("ec2:DeleteSnapshot", &arn("snapshot", "snap-1")).on(&ours);
    let mut rows = vec![
        yes(of, "make an image of the primary", image_of(&primary)),
        yes(of, "make an image of the builder", image_of(&ours)),
        no(of, "make an image of another machine", image_of(&Tags::new())),
        no(of, "make an image of a worker", image_of(&worker)),
        no(of, "make an image of another installation's primary", image_of(&tags(&[("spillway:bake-from", "other")]))),
        no(of, "make an image of the primary elsewhere", [copy(&primary).elsewhere()]),
        yes(of, "prune an image with its snapshot", [deregister.clone(), delete.clone()]),
        no(of, "delete somebody's image", [call("ec2:DeregisterImage", &arn("image", "ami-2"))]),
        no(of, "delete somebody's snapshot", [call("ec2:DeleteSnapshot", &arn("snapshot", "snap-2"))]),
    ];
    for kind in ["image", "snapshot"] {
        rows.extend(without_a_tag(&made(kind), "RequestTag", kind));
        rows.extend(without_a_tag(&tag(kind), "RequestTag", &format!("new {kind}")));
        rows.push(no(of, &format!("tag a {kind} that exists"), [tag(kind).untold("ec2:CreateAction")]));
    }
    rows.extend(without_a_tag(&copy(&ours), "ResourceTag", "builder"));
    rows.extend(without_a_tag(&deregister, "ResourceTag", "old image"));
    rows.extend(without_a_tag(&delete, "ResourceTag", "old snapshot"));
    rows.extend(elsewhere(results.into_iter().chain([copy(&ours), deregister, delete])));
    rows
}

fn others(stack: &Stack) -> Vec<Row> {
    let of = Of::Bake;
    let ours = bake_tags(stack);
    let on = |action: &str| call(action, &arn("instance", "i-1"));
    let primary = tags(&[("spillway:bake-from", &stack.name)]);
    let parameter = |name: &str| format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}");
    let image = parameter(&stack.outputs["ImageParameter"]);
    let mut rows = Vec::new();
    for action in ["ec2:TerminateInstances", "ec2:GetConsoleOutput"] {
        rows.push(yes(of, &format!("{action} of the builder"), [on(action).on(&ours)]));
        rows.push(no(of, &format!("{action} of the primary"), [on(action).on(&primary)]));
        let worker = super::coordinator_calls::launch_tags(&stack.name);
        rows.push(no(of, &format!("{action} of a worker"), [on(action).on(&worker)]));
        rows.extend(without_a_tag(&on(action).on(&ours), "ResourceTag", "builder"));
        rows.extend(elsewhere([on(action).on(&ours)]));
    }
    for action in ["GetParameter", "GetParameters", "GetParameterHistory", "PutParameter"] {
        let action = format!("ssm:{action}");
        rows.push(yes(of, &format!("{action} of the image"), [call(&action, &image)]));
        rows.push(no(of, &format!("{action} of another one"), [call(&action, &parameter("/app/database-url"))]));
    }
    for what in
        ["Images", "Instances", "InstanceStatus", "LaunchTemplateVersions", "SecurityGroups", "Snapshots", "Volumes"]
    {
        rows.push(yes(of, &format!("describe {what}"), [call(&format!("ec2:Describe{what}"), "*")]));
    }
    // Another machine becomes one that may be copied, or a worker that the coordinator terminates.
    let mark = call("ec2:CreateTags", &arn("instance", "i-1"));
    rows.push(no(of, "mark a machine as the primary", [mark.clone().tagging(&primary)]));
    rows.push(no(of, "mark a machine as ours", [mark.tagging(&ours)]));
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    for (action, resource) in [
        ("iam:PassRole", role("spillway-worker")),
        ("sts:AssumeRole", role("spillway-worker")),
        ("ssm:DeleteParameter", image),
        ("ec2:CreateLaunchTemplateVersion", arn("launch-template", &stack.template_id)),
        ("ec2:ModifyLaunchTemplate", arn("launch-template", &stack.template_id)),
        ("ec2:ModifyImageAttribute", arn("image", "ami-1")),
        ("ec2:ModifySnapshotAttribute", arn("snapshot", "snap-1")),
        ("ec2:ModifyInstanceAttribute", arn("instance", "i-1")),
        ("ec2:CopyImage", arn("image", "ami-1")),
        ("ec2:CreateSnapshot", arn("volume", "vol-1")),
        ("ec2:StartInstances", arn("instance", "i-1")),
        ("ec2:AuthorizeSecurityGroupEgress", arn("security-group", &stack.outputs["BuilderGroupId"])),
    ] {
        let call = call(action, &resource).on(&ours).told("iam:PassedToService", "ec2.amazonaws.com");
        rows.push(no(of, action, [call]));
    }
    rows
}

/// A call without each of the two tags, and with each that is another's.
fn without_a_tag(call: &Call, which: &str, what: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (tag, other) in [(MANAGED_BY, "auto-scaler"), (INSTALLATION, "other")] {
        let key = format!("aws:{which}/{tag}");
        let name = |how: &str| format!("{} with {what} {how} {tag}", call.action);
        rows.push(no(Of::Bake, &name("without"), [call.clone().untold(&key)]));
        rows.push(no(Of::Bake, &name("of another"), [call.clone().told(&key, other)]));
    }
    rows
}

/// Each call in another region.
fn elsewhere(calls: impl IntoIterator<Item = Call>) -> Vec<Row> {
    let row = |call: Call| {
        let kind = call.resource.rsplit(':').next().unwrap_or_default().to_owned();
        no(Of::Bake, &format!("{} of {kind} elsewhere", call.action), [call.elsewhere()])
    };
    calls.into_iter().map(row).collect()
}

/// Who assumes the roles.
pub fn trust_rows() -> Vec<Row> {
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let by = |kind: &'static str, who: &str| {
        let call = call("sts:AssumeRole", "").told("aws:PrincipalArn", who);
        Call { principal: Some((kind, who.to_owned())), ..call }
    };
    let aws = |arn: &str| by("AWS", arn);
    let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com");
    let ci = |provider: &str, subject: &str| {
        let key = "token.actions.githubusercontent.com";
        let call = call("sts:AssumeRoleWithWebIdentity", "").told(&format!("{key}:aud"), "sts.amazonaws.com");
        Call { principal: Some(("Federated", provider.to_owned())), ..call.told(&format!("{key}:sub"), subject) }
    };
    let mut rows = Vec::new();
    for (of, stack, primary) in
        [(Of::BakeTrust, "spillway", "spillway-primary"), (Of::BakeTrustWithCi, "other", "app-server")]
    {
        rows.push(yes(of, "an operator", [aws(&format!("arn:aws:iam::{ACCOUNT}:user/operator"))]));
        rows.push(yes(of, "an operator's role", [aws(&role("deployer"))]));
        rows.push(no(of, "the primary", [aws(&role(primary))]));
        rows.push(no(of, "the primary, whose role has a path", [aws(&role(&format!("services/{primary}")))]));
        rows.push(no(of, "a worker", [aws(&role(&format!("{stack}-worker")))]));
        rows.push(no(of, "an operator of another account", [aws("arn:aws:iam::210987654321:user/operator")]));
        rows.push(no(of, "EC2", [by("Service", "ec2.amazonaws.com")]));
    }
    let of = Of::BakeTrustWithCi;
    rows.push(yes(of, "CI on the branch", [ci(&provider, CI_SUBJECT)]));
    rows.push(no(of, "CI on another branch", [ci(&provider, "repo:acme/scalereach:ref:refs/heads/x")]));
    rows.push(no(of, "CI of a pull request", [ci(&provider, "repo:acme/scalereach:pull_request")]));
    rows.push(no(of, "CI of another repository", [ci(&provider, "repo:acme/scalereach-fork:ref:refs/heads/main")]));
    rows.push(no(of, "CI by another provider", [ci(&provider.replace("token.", "evil."), CI_SUBJECT)]));
    let key = "token.actions.githubusercontent.com:aud";
    rows.push(no(of, "CI with a token for another service", [ci(&provider, CI_SUBJECT).told(key, "vault")]));
    rows.push(no(Of::BakeTrust, "CI where none is named", [ci(&provider, CI_SUBJECT)]));

    let of = Of::WorkerTrust;
    rows.push(yes(of, "EC2", [by("Service", "ec2.amazonaws.com")]));
    rows.push(no(of, "another service", [by("Service", "lambda.amazonaws.com")]));
    rows.push(no(of, "an operator, who could choose an instance's name", [aws(&role("deployer"))]));
    rows.push(no(of, "the primary", [aws(&role("spillway-primary"))]));
    rows.push(no(of, "CI", [ci(&provider, CI_SUBJECT)]));
    rows
}
