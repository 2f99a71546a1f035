//! RunInstances: one spot instance through the pool's launch template.

use std::collections::BTreeMap;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, LaunchTemplateSpecification, MarketType, ResourceType,
    ShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag, TagSpecification,
};
use spillway_brain::{InstanceId, LaunchToken, RefusalClass};

use super::{Cloud, INSTALLATION_TAG, MANAGED_BY, POOL_TAG, Refused, TOKEN_TAG};
use crate::config::Pool;

impl Cloud {
    /// Idempotent: for the same token, pool and installation EC2 answers with the first instance.
    pub async fn launch(&self, pool: &Pool, installation: &str, token: &LaunchToken) -> Result<InstanceId, Refused> {
        if let Some(refused) = self.no_image_yet(pool, installation).await {
            return Err(refused);
        }
        let request = self.launch_request(pool, installation, token).await;
        let answer = request.send().await.map_err(Refused::from)?;
        let id = answer.instances().first().and_then(|instance| instance.instance_id());
        id.map(|id| InstanceId(id.to_owned())).ok_or_else(|| Refused {
            class: RefusalClass::Retry,
            code: "NoInstance".to_owned(),
            message: "EC2 accepted the launch, but its answer has no instance".to_owned(),
        })
    }

    /// The whole request, not sent yet.
    pub(super) async fn launch_request(
        &self,
        pool: &Pool,
        installation: &str,
        token: &LaunchToken,
    ) -> RunInstancesFluentBuilder {
        let spot = SpotMarketOptions::builder()
            .spot_instance_type(SpotInstanceType::OneTime)
            .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
            .build();
        let market = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(spot).build();
        let mut request = self
            .client
            .run_instances()
            .client_token(&token.0)
            .min_count(1)
            .max_count(1)
            .launch_template(template(pool))
            .instance_market_options(market)
            .set_block_device_mappings(Some(self.devices(pool).await).filter(|devices| !devices.is_empty()))
            // The dead-man's switch powers the instance off, which must end the billing.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate);
        let tags = tags(pool, installation, token);
        for resource in [ResourceType::Instance, ResourceType::Volume, ResourceType::SpotInstancesRequest] {
            let specification = TagSpecification::builder().resource_type(resource).set_tags(Some(tags.clone()));
            request = request.tag_specifications(specification.build());
        }
        request
    }
}

fn template(pool: &Pool) -> LaunchTemplateSpecification {
    let by = LaunchTemplateSpecification::builder().version(&pool.launch_template_version);
    if pool.launch_template.starts_with("lt-") {
        by.launch_template_id(&pool.launch_template).build()
    } else {
        by.launch_template_name(&pool.launch_template).build()
    }
}

/// The pool's additional tags never override the ones that identify its instances.
fn tags(pool: &Pool, installation: &str, token: &LaunchToken) -> Vec<Tag> {
    let mut tags: BTreeMap<&str, &str> = pool.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    tags.extend([("Name", pool.name.as_str()), MANAGED_BY, (POOL_TAG, pool.name.as_str()), (TOKEN_TAG, &token.0)]);
    tags.insert(INSTALLATION_TAG, installation);
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
