//! What calls consist of: EC2 authorizes a launch once for each resource that it names or makes, and once more for each
//! that it tags. Owns what EC2 tells policies of them; what is allowed is said in the tables.

use std::collections::BTreeMap;

use super::account::{ACCOUNT, Account, REGION, Stack};
use super::policy::Call;

pub type Tags = BTreeMap<String, String>;

/// What a launch makes, and tags.
pub const MADE: [&str; 4] = ["instance", "volume", "network-interface", "spot-instances-request"];

pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The ARN of an EC2 resource. Images and snapshots belong to no account.
pub fn arn(kind: &str, id: &str) -> String {
    let account = if ["image", "snapshot"].contains(&kind) { "" } else { ACCOUNT };
    format!("arn:aws:ec2:{REGION}:{account}:{kind}/{id}")
}

/// One call on one resource, of which nothing is told.
pub fn call(action: &str, resource: &str) -> Call {
    Call { action: action.to_owned(), resource: resource.to_owned(), context: BTreeMap::new(), principal: None }
}

impl Call {
    /// With this condition key.
    pub fn told(mut self, key: &str, value: &str) -> Self {
        self.context.insert(key.to_owned(), value.to_owned());
        self
    }

    /// On a resource that has these tags.
    pub fn on(self, tags: &Tags) -> Self {
        tags.iter().fold(self, |call, (key, value)| call.told(&format!("aws:ResourceTag/{key}"), value))
    }

    /// With these tags in the request.
    pub fn tagging(self, tags: &Tags) -> Self {
        tags.iter().fold(self, |call, (key, value)| call.told(&format!("aws:RequestTag/{key}"), value))
    }

    /// Without a condition key.
    pub fn untold(mut self, key: &str) -> Self {
        assert!(self.context.remove(key).is_some(), "{key} is not told of {}", self.resource);
        self
    }

    /// The same on a resource elsewhere.
    pub fn elsewhere(mut self) -> Self {
        self.resource = self.resource.replace(REGION, "eu-west-1");
        self
    }
}

/// A launch: what RunInstances is asked for.
#[derive(Clone, Debug)]
pub struct Launch {
    /// By which template; None: without one.
    pub template: Option<String>,
    /// Each resource that is used, and whether the template names it rather than the request.
    pub uses: Vec<(&'static str, String, bool)>,
    /// Tags of the image.
    pub image_tags: Tags,
    pub vpc: String,
    pub market: String,
    pub instance_type: String,
    /// By what they are of.
    pub tags: BTreeMap<String, Tags>,
}

impl Launch {
    /// Through the stack's template, of what it names, on spot, and tagged by nobody yet.
    pub fn of(account: &Account, stack: &Stack) -> Self {
        Launch {
            template: Some(arn("launch-template", &stack.template_id)),
            uses: vec![
                ("image", "ami-worker".to_owned(), true),
                ("security-group", stack.outputs["WorkerGroupId"].clone(), true),
                ("subnet", "subnet-1".to_owned(), true),
            ],
            image_tags: Tags::new(),
            vpc: arn("vpc", &account.vpc),
            market: "spot".to_owned(),
            instance_type: "c6i.xlarge".to_owned(),
            tags: BTreeMap::new(),
        }
    }

    /// RunInstances on what it uses of this kind, or makes.
    pub fn run(&self, kind: &str) -> Call {
        let used = self.uses.iter().find(|(used, ..)| *used == kind);
        let (id, is_templates) = used.map_or(("*", true), |(_, id, is_templates)| (id, *is_templates));
        let mut call = call("ec2:RunInstances", &arn(kind, id));
        if let Some(template) = self.template.as_ref().filter(|_| kind != "spot-instances-request") {
            let is_templates = if is_templates { "true" } else { "false" };
            call = call.told("ec2:LaunchTemplate", template).told("ec2:IsLaunchTemplateResource", is_templates);
        }
        call = match kind {
            "image" => call.on(&self.image_tags),
            "subnet" | "security-group" | "network-interface" => call.told("ec2:Vpc", &self.vpc),
            "instance" => call
                .told("ec2:InstanceMarketType", &self.market)
                .told("ec2:InstanceType", &self.instance_type)
                .told("ec2:MetadataHttpTokens", "required"),
            _ => call,
        };
        call.tagging(self.tags.get(kind).unwrap_or(&Tags::new()))
    }

    /// CreateTags on what it makes of this kind.
    pub fn tag(&self, kind: &str) -> Call {
        let tags = self.tags.get(kind).unwrap_or_else(|| panic!("{kind} is not tagged"));
        call("ec2:CreateTags", &arn(kind, "*")).told("ec2:CreateAction", "RunInstances").tagging(tags)
    }

    /// All that EC2 authorizes.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls: Vec<Call> = self.uses.iter().map(|(kind, ..)| self.run(kind)).collect();
        calls.extend(self.template.iter().map(|template| call("ec2:RunInstances", template)));
        let is_spot = |kind: &&&str| self.market == "spot" || **kind != "spot-instances-request";
        calls.extend(MADE.iter().filter(is_spot).map(|kind| self.run(kind)));
        calls.extend(self.tags.keys().map(|kind| self.tag(kind)));
        calls
    }

    /// The same with one thing changed.
    pub fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut launch = self.clone();
        change(&mut launch);
        launch
    }

    /// The same with another resource of a kind that the request names.
    pub fn using(&self, kind: &'static str, id: &str) -> Self {
        self.but(|launch| {
            launch.uses.retain(|(used, ..)| *used != kind);
            launch.uses.push((kind, id.to_owned(), false));
        })
    }
}
