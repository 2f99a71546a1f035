//! An account at moto, and the stack in it. Owns what is deployed and how policies are read back.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use spillway_tests::binaries::workspace;
use spillway_tests::moto::{CLOUDFORMATION, IAM, Moto, all};
use spillway_tests::stage::directory;
use tempfile::TempDir;

/// moto's account and region.
pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "us-east-1";

/// An account with a VPC and a primary.
pub struct Account {
    pub moto: Moto,
    pub directory: TempDir,
    pub vpc: String,
    subnet: String,
    primary_group: String,
}

/// One stack in it.
#[derive(Clone)]
pub struct Stack {
    pub name: String,
    pub outputs: BTreeMap<String, String>,
    pub template_id: String,
}

/// `ami/stack.yaml`.
pub fn body() -> String {
    fs::read_to_string(workspace().join("ami/stack.yaml")).expect("ami/stack.yaml")
}

impl Account {
    pub async fn open() -> Self {
        let directory = directory();
        let moto = Moto::start(directory.path()).await;
        let vpc = all(&moto.call("DescribeVpcs", &[]).await, "vpcId").remove(0);
        let subnet = all(&moto.call("DescribeSubnets", &[]).await, "subnetId").remove(0);
        let group = [("GroupName", "primary"), ("GroupDescription", "the primary's"), ("VpcId", &*vpc)];
        let primary_group = all(&moto.call("CreateSecurityGroup", &group).await, "groupId").remove(0);
        Account { moto, directory, vpc, subnet, primary_group }
    }

    /// Creates a stack, or updates it, with these parameters beside those that have no default.
    pub async fn deploy(&self, action: &str, name: &str, more: &[(&str, &str)]) -> Stack {
        let body = body();
        let mut form = vec![
            ("StackName".to_owned(), name.to_owned()),
            ("TemplateBody".to_owned(), body),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_NAMED_IAM".to_owned()),
        ];
        let required = [
            ("Vpc", &*self.vpc),
            ("Subnet", &self.subnet),
            ("PrimarySecurityGroup", &self.primary_group),
            ("PrimaryAddress", "10.0.0.5"),
        ];
        for (number, (key, value)) in required.iter().chain(more).enumerate() {
            let member = format!("Parameters.member.{}", number + 1);
            form.push((format!("{member}.ParameterKey"), (*key).to_owned()));
            form.push((format!("{member}.ParameterValue"), (*value).to_owned()));
        }
        let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (&**key, &**value)).collect();
        self.moto.ask(CLOUDFORMATION, action, &form).await;
        self.stack(name).await
    }

    pub async fn stack(&self, name: &str) -> Stack {
        let described = self.moto.ask(CLOUDFORMATION, "DescribeStacks", &[("StackName", name)]).await;
        let status = all(&described, "StackStatus").remove(0);
        assert!(["CREATE_COMPLETE", "UPDATE_COMPLETE"].contains(&&*status), "{described}");
        let outputs = all(&described, "OutputKey").into_iter().zip(all(&described, "OutputValue"));
        let outputs = outputs.map(|(key, value)| (key, value.replace("&quot;", "\""))).collect();
        let named = format!("{name}-worker");
        let templates = self.moto.call("DescribeLaunchTemplates", &[("LaunchTemplateName.1", &named)]).await;
        Stack { name: name.to_owned(), outputs, template_id: all(&templates, "launchTemplateId").remove(0) }
    }

    /// The latest version of a stack's launch template, as EC2 describes it.
    pub async fn template_version(&self, stack: &Stack) -> String {
        let form = [("LaunchTemplateId", &*stack.template_id), ("LaunchTemplateVersion.1", "$Latest")];
        self.moto.call("DescribeLaunchTemplateVersions", &form).await
    }

    pub async fn coordinator_policy(&self, stack: &Stack) -> Value {
        let arn = self.coordinator_policy_arn(stack);
        let form = [("PolicyArn", &*arn), ("VersionId", "v1")];
        document(&self.moto.ask(IAM, "GetPolicyVersion", &form).await, "Document")
    }

    pub fn coordinator_policy_arn(&self, stack: &Stack) -> String {
        format!("arn:aws:iam::{ACCOUNT}:policy/{}-coordinator", stack.name)
    }

    pub async fn bake_policy(&self, stack: &Stack) -> Value {
        let role = format!("{}-bake", stack.name);
        let form = [("RoleName", &*role), ("PolicyName", "bake")];
        document(&self.moto.ask(IAM, "GetRolePolicy", &form).await, "PolicyDocument")
    }

    /// Who may assume the stack's role of this kind.
    pub async fn trust(&self, stack: &Stack, kind: &str) -> Value {
        let role = format!("{}-{kind}", stack.name);
        document(&self.moto.ask(IAM, "GetRole", &[("RoleName", &role)]).await, "AssumeRolePolicyDocument")
    }
}

/// A document of IAM's, which it sends percent-encoded.
fn document(answer: &str, element: &str) -> Value {
    let encoded = format!("it={}", all(answer, element).remove(0).replace("&amp;", "%26"));
    let (_, text) = form_urlencoded::parse(encoded.as_bytes()).next().expect("a document");
    let mut document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    // CloudFormation takes AWS::NoValue out of a list; moto leaves null there.
    document["Statement"].as_array_mut().expect("statements").retain(|statement| !statement.is_null());
    document
}
