//! The rows of the coordinator's policy.

use super::account::{ACCOUNT, Account, REGION, Stack};
use super::calls::{Launch, MADE, Tags, arn, call, tags};
use super::table::{Of, Row, no, yes};

/// What a launch of this installation tags everything with. `launched` holds it to the coordinator itself.
pub fn launch_tags(installation: &str) -> Tags {
    tags(&[
        ("Name", "spillway"),
        ("ManagedBy", "auto-scaler"),
        ("spillway:pool", "spillway"),
        ("spillway:token", "spillway-0001"),
        ("spillway:installation", installation),
    ])
}

/// As the coordinator launches: it tags all but the network interface, which the template tags.
pub fn launch(account: &Account, stack: &Stack) -> Launch {
    Launch::of(account, stack).but(|launch| {
        for kind in MADE {
            launch.tags.insert(kind.to_owned(), launch_tags(&stack.name));
        }
        let by_template = tags(&[("ManagedBy", "auto-scaler"), ("spillway:installation", &stack.name)]);
        launch.tags.insert("network-interface".to_owned(), by_template);
    })
}

pub fn rows(account: &Account, plain: &Stack, full: &Stack) -> Vec<Row> {
    let of = Of::Coordinator;
    let launch = launch(account, plain);
    let mut rows = launches(of, &launch);
    rows.extend(parts(of, &launch));
    rows.extend(tagging(of, &launch));
    rows.extend(others(of, plain));

    let launch = self::launch(account, full);
    let on_demand = Of::CoordinatorOnDemand;
    let market = |market: &str| launch.but(|it| market.clone_into(&mut it.market)).calls();
    rows.push(yes(on_demand, "a launch on spot", launch.calls()));
    rows.push(yes(on_demand, "a launch on demand", market("on-demand")));
    rows.push(no(on_demand, "a launch of a capacity block", market("capacity-block")));
    rows.push(no(on_demand, "a launch for the other installation", self::launch(account, plain).calls()));
    rows
}

/// Launches as a whole.
fn launches(of: Of, launch: &Launch) -> Vec<Row> {
    let key = launch.but(|it| it.uses.push(("key-pair", "operators".to_owned(), true)));
    let snapshot = launch.but(|it| it.uses.push(("snapshot", "snap-1".to_owned(), true)));
    let market = |market: &str| launch.but(|it| market.clone_into(&mut it.market)).calls();
    let another = arn("launch-template", "lt-another");
    vec![
        yes(of, "a launch as the coordinator launches", launch.calls()),
        yes(of, "a launch in another subnet of the VPC", launch.using("subnet", "subnet-2").calls()),
        yes(of, "a launch of another type", launch.but(|it| "c7i.large".clone_into(&mut it.instance_type)).calls()),
        yes(of, "a launch with the template's key pair", key.calls()),
        yes(of, "a launch with a snapshot that the template names", snapshot.calls()),
        no(of, "a launch with another key pair", launch.using("key-pair", "mine").calls()),
        no(of, "a launch with a disk from another snapshot", launch.using("snapshot", "snap-2").calls()),
        no(of, "a launch of another image", launch.using("image", "ami-another").calls()),
        no(of, "a launch in another security group", launch.using("security-group", "sg-another").calls()),
        no(of, "a launch in another VPC", launch.but(|it| it.vpc = arn("vpc", "vpc-another")).calls()),
        no(of, "a launch through another template", launch.but(|it| it.template = Some(another)).calls()),
        no(of, "a launch without a template", launch.but(|it| it.template = None).calls()),
        no(of, "a launch on demand", market("on-demand")),
        no(of, "a launch of a capacity block", market("capacity-block")),
        no(of, "a launch without tags", launch.but(|it| it.tags.clear()).calls()),
        no(
            of,
            "a launch with an existing network interface",
            [
                // It has tags of its own, and none in the request.
                launch.but(|it| drop(it.tags.remove("network-interface"))).run("network-interface"),
            ],
        ),
    ]
}

/// One resource of a launch, so that no other one denies it: with another template, or elsewhere.
fn parts(of: Of, launch: &Launch) -> Vec<Row> {
    let used = [("key-pair", "operators"), ("snapshot", "snap-1")];
    let launch = used
        .iter()
        .fold(launch.clone(), |launch, (kind, id)| launch.but(|it| it.uses.push((kind, (*id).to_owned(), true))));
    let another = launch.but(|it| it.template = Some(arn("launch-template", "lt-another")));
    let mut rows = Vec::new();
    for kind in ["image", "snapshot", "security-group", "key-pair", "subnet"].into_iter().chain(MADE) {
        if kind != "spot-instances-request" {
            rows.push(no(of, &format!("{kind} by another template"), [another.run(kind)]));
        }
        rows.push(no(of, &format!("{kind} in another region"), [launch.run(kind).elsewhere()]));
    }
    rows
}

/// The two tags, one by one, on each resource that a launch makes.
fn tagging(of: Of, launch: &Launch) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in MADE {
        for call in [launch.run(kind), launch.tag(kind)] {
            let is = call.action.trim_start_matches("ec2:").to_owned();
            let (managed_by, installation) = ("aws:RequestTag/ManagedBy", "aws:RequestTag/spillway:installation");
            rows.push(no(of, &format!("{is} of {kind} without ManagedBy"), [call.clone().untold(managed_by)]));
            let other = call.clone().told(managed_by, "spillway-bake");
            rows.push(no(of, &format!("{is} of {kind} that another manages"), [other]));
            let without = call.clone().untold(installation);
            rows.push(no(of, &format!("{is} of {kind} without the installation"), [without]));
            rows.push(no(of, &format!("{is} of {kind} of another installation"), [call.told(installation, "other")]));
        }
        let later = launch.tag(kind).untold("ec2:CreateAction");
        rows.push(no(of, &format!("tags for {kind} outside of a launch"), [later]));
        let other_call = launch.tag(kind).told("ec2:CreateAction", "CreateVolume");
        rows.push(no(of, &format!("tags for {kind} with another call"), [other_call]));
    }
    rows.push(no(of, "tags for instances elsewhere", [launch.tag("instance").elsewhere()]));
    rows
}

/// All but launches.
fn others(of: Of, stack: &Stack) -> Vec<Row> {
    let ours = launch_tags(&stack.name);
    let with = |key: &str, value: &str| {
        let mut tags = ours.clone();
        tags.insert(key.to_owned(), value.to_owned());
        tags
    };
    let terminate = |tags: &Tags| call("ec2:TerminateInstances", &arn("instance", "i-1")).on(tags);
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let pass = |name: &str| call("iam:PassRole", &role(name)).told("iam:PassedToService", "ec2.amazonaws.com");
    let parameter = |name: &str| format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}");
    let image = parameter(&stack.outputs["ImageParameter"]);
    let template = arn("launch-template", &stack.template_id);
    let mut rows = vec![
        yes(of, "terminate an instance of ours", [terminate(&ours)]),
        no(of, "terminate another installation's", [terminate(&with("spillway:installation", "other"))]),
        no(of, "terminate what another manages", [terminate(&with("ManagedBy", "spillway-bake"))]),
        no(of, "terminate what has no tags", [terminate(&Tags::new())]),
        no(of, "terminate the primary", [terminate(&tags(&[("spillway:bake-from", &stack.name)]))]),
        no(
            of,
            "terminate what only has the installation",
            [terminate(&tags(&[("spillway:installation", &stack.name)]))],
        ),
        no(of, "terminate what only has ManagedBy", [terminate(&tags(&[("ManagedBy", "auto-scaler")]))]),
        no(of, "terminate in another region", [terminate(&ours).elsewhere()]),
        yes(of, "give an instance the worker's role", [pass("spillway-worker")]),
        no(of, "give an instance another role", [pass("admin")]),
        no(of, "give an instance the role for bake", [pass("spillway-bake")]),
        no(
            of,
            "give a function the worker's role",
            [pass("spillway-worker").told("iam:PassedToService", "lambda.amazonaws.com")],
        ),
        no(of, "give nobody knows whom the worker's role", [pass("spillway-worker").untold("iam:PassedToService")]),
        yes(of, "read the image's parameter", [call("ssm:GetParameters", &image)]),
        no(of, "read another parameter", [call("ssm:GetParameters", &parameter("/app/database-url"))]),
        no(of, "read what is below the image's parameter", [call("ssm:GetParameters", &format!("{image}/x"))]),
        no(of, "set the image", [call("ssm:PutParameter", &image)]),
        no(of, "assume the role for bake", [call("sts:AssumeRole", &role("spillway-bake"))]),
    ];
    let looks = [
        "Images",
        "Instances",
        "InstanceTypes",
        "LaunchTemplateVersions",
        "SpotInstanceRequests",
        "SpotPriceHistory",
        "Volumes",
    ];
    rows.extend(looks.map(|what| yes(of, &format!("describe {what}"), [call(&format!("ec2:Describe{what}"), "*")])));
    rows.extend(account_looks(of));
    for (action, resource) in [
        ("ec2:CreateLaunchTemplateVersion", template.clone()),
        ("ec2:ModifyLaunchTemplate", template.clone()),
        ("ec2:DeleteLaunchTemplate", template.clone()),
        ("ec2:CreateLaunchTemplate", arn("launch-template", "*")),
        ("ec2:CreateFleet", template),
        ("ec2:DeleteFleets", arn("fleet", "fleet-1")),
        ("ec2:RequestSpotInstances", arn("spot-instances-request", "*")),
        ("ec2:StopInstances", arn("instance", "i-1")),
        ("ec2:ModifyInstanceAttribute", arn("instance", "i-1")),
        ("ec2:AssociateIamInstanceProfile", arn("instance", "i-1")),
        ("ec2:GetConsoleOutput", arn("instance", "i-1")),
        ("ec2:CreateImage", arn("instance", "i-1")),
        ("ec2:DeregisterImage", arn("image", "ami-1")),
        ("ec2:DeleteVolume", arn("volume", "vol-1")),
        ("ec2:DeleteTags", arn("instance", "i-1")),
        ("ec2:AuthorizeSecurityGroupIngress", arn("security-group", &stack.outputs["WorkerGroupId"])),
        ("iam:AttachRolePolicy", role("spillway-worker")),
        ("iam:UpdateAssumeRolePolicy", role("spillway-worker")),
    ] {
        rows.push(no(of, action, [call(action, &resource).on(&ours)]));
    }
    rows
}

/// What `spillway doctor` reads of the account: roles by their names, quotas, and nothing else of both.
fn account_looks(of: Of) -> Vec<Row> {
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let profile = |name: &str| format!("arn:aws:iam::{ACCOUNT}:instance-profile/{name}");
    let spot_role = role("aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot");
    let fleet_role = role("aws-service-role/spotfleet.amazonaws.com/AWSServiceRoleForEC2SpotFleet");
    vec![
        yes(of, "read a quota", [call("servicequotas:GetServiceQuota", "*")]),
        yes(of, "read the service-linked role for spot", [call("iam:GetRole", &spot_role)]),
        yes(of, "read the workers' profile", [call("iam:GetInstanceProfile", &profile("spillway-worker"))]),
        no(of, "read another service-linked role", [call("iam:GetRole", &fleet_role)]),
        no(of, "read another role", [call("iam:GetRole", &role("admin"))]),
        no(of, "read another profile", [call("iam:GetInstanceProfile", &profile("other-worker"))]),
        no(of, "list roles", [call("iam:ListRoles", &role("*"))]),
        no(of, "read a policy of the worker's role", [call("iam:GetRolePolicy", &role("spillway-worker"))]),
        no(of, "make the service-linked role", [call("iam:CreateServiceLinkedRole", &spot_role)]),
        no(of, "ask for a higher quota", [call("servicequotas:RequestServiceQuotaIncrease", "*")]),
        no(of, "list quotas", [call("servicequotas:ListServiceQuotas", "*")]),
    ]
}
