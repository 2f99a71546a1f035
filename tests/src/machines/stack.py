"""Deploys ami/stack.yaml at moto with the parameters that `spillway init` wrote, by boto3, which knows nothing of Spillway.

Prints the launch template that it made, and the ids of what the template names.

    stack.py ENDPOINT STACK.YAML STACK-PARAMETERS.JSON
"""

import json
import sys

import boto3

endpoint, template, parameters = sys.argv[1:]
keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(service):
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", **keys)


ec2 = client("ec2")
with open(parameters, encoding="utf-8") as file:
    given = {it["ParameterKey"]: it["ParameterValue"] for it in json.load(file)}
# The account at moto has a network of its own.
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
there = {
    "Vpc": vpc,
    "Subnet": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
    "PrimarySecurityGroup": ec2.create_security_group(GroupName="primary", Description="primary", VpcId=vpc)["GroupId"],
}
missing = [name for name in (*there, "PrimaryAddress") if not given.get(name)]
if missing:
    sys.exit(f"init wrote no {', '.join(missing)}: {given}")
given |= there

cloudformation = client("cloudformation")
with open(template, encoding="utf-8") as file:
    cloudformation.create_stack(
        StackName="spillway",
        TemplateBody=file.read(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
stack = cloudformation.describe_stacks(StackName="spillway")["Stacks"][0]
if stack["StackStatus"] != "CREATE_COMPLETE":
    sys.exit(f"the stack is {stack['StackStatus']}")
outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
versions = ec2.describe_launch_template_versions(LaunchTemplateName="spillway-worker", Versions=["$Latest"])
data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
print(json.dumps({"data": data, "subnet": there["Subnet"], "worker_group": outputs["WorkerGroupId"], "outputs": outputs}))
