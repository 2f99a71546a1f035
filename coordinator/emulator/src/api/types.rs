//! DescribeInstanceTypes: what a type is called and how many vCPUs it has, by its size.

use super::View;
use super::filters::Filters;
use super::pages::Page;
use crate::error::ApiError;
use crate::query::Params;
use crate::region::{check_instance_type, vcpus};
use crate::xml::Xml;

/// Types that are described if the request names none.
const USUAL: &[&str] = &["c6i.large", "c6i.xlarge", "c6i.2xlarge", "t3.large"];
/// Of one request, as for EC2.
const MAX_TYPES: usize = 100;

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=100)?;
    let mut types = params.list("InstanceType");
    let filters = Filters::read(&mut params)?;
    filters.check(|name| name == "instance-type")?;
    params.finish()?;
    if types.len() > MAX_TYPES {
        return Err(ApiError::invalid_value(format!("More than {MAX_TYPES} instance types")));
    }
    for name in &types {
        check_instance_type(name)
            .map_err(|error| ApiError::new("InvalidInstanceType", format!("{} [{name}]", error.message)))?;
    }
    if types.is_empty() {
        types = USUAL.iter().map(|name| (*name).to_owned()).collect();
    }
    types.retain(|name| filters.match_all(|_| vec![name.clone()]));
    let page = page.of((1_u64..).zip(types), |(place, _)| *place);
    let mut xml = Xml::new();
    xml.list("instanceTypeSet", &page.items, |xml, (_, name)| {
        let count = vcpus(name);
        xml.text("instanceType", name).text("currentGeneration", "true").text("hypervisor", "nitro");
        xml.node("vCpuInfo", |xml| {
            let cores = count.div_ceil(2);
            xml.number("defaultVCpus", count).number("defaultCores", cores);
            xml.number("defaultThreadsPerCore", count / cores.max(1));
        });
    });
    page.write_next(&mut xml);
    Ok(xml)
}
