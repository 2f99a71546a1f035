//! Security groups, as far as their outbound rules say whether an instance reaches anybody: CreateSecurityGroup,
//! DescribeSecurityGroups, AuthorizeSecurityGroupEgress, RevokeSecurityGroupEgress. No inbound rules. A launch may name
//! groups that were never made here: they are open, as a new group is.

use std::sync::Arc;

use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use super::{Change, View};
use crate::error::ApiError;
use crate::model::{Egress, Group};
use crate::query::Params;
use crate::region::{ACCOUNT_ID, VPC_ID};
use crate::shared::new_id;
use crate::tags;
use crate::xml::Xml;

const FILTERS: &[&str] = &["description", "group-id", "group-name", "owner-id", "vpc-id"];

pub(super) fn create(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let name = params.require("GroupName")?;
    let description = params.require("GroupDescription")?;
    drop(params.take("VpcId"));
    let tags = tags::read_specifications(&mut params)?.remove("security-group").unwrap_or_default();
    params.finish()?;
    if change.state.resources.groups.values().any(|group| group.name == name) {
        let message = format!("The security group '{name}' already exists for VPC '{VPC_ID}'");
        return Err(ApiError::new("InvalidGroup.Duplicate", message));
    }
    change.stop_if_dry_run()?;
    let seq = change.state.next_seq();
    let group = Group { seq, id: new_id("sg-"), name, description, egress: vec![Egress::everything()], tags };
    let mut xml = Xml::new();
    xml.text("return", "true").text("groupId", &group.id);
    change.state.resources.groups.insert(group.id.clone(), Arc::new(group));
    Ok(xml)
}

pub(super) fn authorize_egress(change: &mut Change<'_>, params: Params) -> Result<Xml, ApiError> {
    change_egress(change, params, |rules, asked| rules.push(asked))
}

pub(super) fn revoke_egress(change: &mut Change<'_>, params: Params) -> Result<Xml, ApiError> {
    change_egress(change, params, |rules, asked| rules.retain(|rule| *rule != asked))
}

fn change_egress(
    change: &mut Change<'_>,
    mut params: Params,
    apply: impl Fn(&mut Vec<Egress>, Egress),
) -> Result<Xml, ApiError> {
    let id = params.require("GroupId")?;
    let mut asked = Vec::new();
    for mut permission in params.structures("IpPermissions") {
        let protocol = permission.require("IpProtocol")?;
        permission.without_effect(&["FromPort", "ToPort"]);
        for mut range in permission.structures("IpRanges") {
            asked.push(Egress { protocol: protocol.clone(), cidr: range.require("CidrIp")? });
            range.without_effect(&["Description"]);
            range.finish()?;
        }
        permission.finish()?;
    }
    params.finish()?;
    let group = change.state.resources.groups.get(&id).ok_or_else(|| unknown(&id))?;
    let mut changed = Group::clone(group);
    change.stop_if_dry_run()?;
    asked.into_iter().for_each(|rule| apply(&mut changed.egress, rule));
    change.state.resources.groups.insert(id, Arc::new(changed));
    let mut xml = Xml::new();
    xml.text("return", "true");
    Ok(xml)
}

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let ids = params.list("GroupId");
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    if let Some(id) = ids.iter().find(|id| !view.resources.groups.contains_key(*id)) {
        return Err(unknown(id));
    }
    let found =
        view.resources.groups.values().filter(|group| {
            (ids.is_empty() || ids.contains(&group.id)) && filters.match_all(|name| values(group, name))
        });
    let page = page.of(found, |group| group.seq);
    let mut xml = Xml::new();
    xml.list("securityGroupInfo", &page.items, |xml, group| {
        xml.text("ownerId", ACCOUNT_ID).text("groupId", &group.id).text("groupName", &group.name);
        xml.text("groupDescription", &group.description).text("vpcId", VPC_ID).node("ipPermissions", |_| ());
        xml.list("ipPermissionsEgress", &group.egress, |xml, rule| {
            xml.text("ipProtocol", &rule.protocol).node("groups", |_| ());
            xml.list("ipRanges", [&rule.cidr], |xml, cidr| {
                xml.text("cidrIp", cidr);
            });
        });
        tags_xml(xml, &group.tags);
    });
    page.write_next(&mut xml);
    Ok(xml)
}

fn unknown(id: &str) -> ApiError {
    ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
}

fn values(group: &Group, filter: &str) -> Vec<String> {
    let value = match filter {
        "description" => group.description.clone(),
        "group-id" => group.id.clone(),
        "group-name" => group.name.clone(),
        "owner-id" => ACCOUNT_ID.to_owned(),
        "vpc-id" => VPC_ID.to_owned(),
        name if is_tag_filter(name) => return tag_values(name, &group.tags),
        _ => return Vec::new(),
    };
    vec![value]
}
