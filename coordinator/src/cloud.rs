//! EC2, through aws-sdk-ec2: the only place that knows the SDK. Every call is made once: the brain decides on a retry,
//! and a later tick makes it.
//!
//! Instances are launched through the pool's launch template, as one-time spot instances that terminate on shutdown,
//! with the launch token as ClientToken and these tags:
//!
//! | tag | value |
//! |---|---|
//! | `Name` | the pool's name |
//! | `ManagedBy` | `auto-scaler` |
//! | `spillway:pool` | the pool's name |
//! | `spillway:token` | the launch token |
//! | `spillway:installation` | whose it is: see `installation` |

mod classify;
mod codes;
mod counted;
mod image_yet;
pub mod images;
mod launch;
mod launch_image;
mod list;
mod look;
mod machine;
mod permitted;
mod proxy;
mod quotas;
mod roles;
mod spot_prices;
mod tags;
mod volumes;

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::BehaviorVersion;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_smithy_http_client::proxy::ProxyError;
use spillway_brain::InstanceId;

use crate::config::Proxies;

pub use classify::{Refused, class_of};
pub use launch_image::LaunchImage;
use launch_image::LaunchImages;
pub use list::{Interruption, Known, ListedInstance, Listing};
pub use look::{Image, Template};
pub use machine::{Machine, this_machine};
pub(crate) use proxy::connector;
pub use quotas::{Market, RunningInstance, VcpuQuota};
pub use roles::{Role, SPOT_ROLE};
pub use spot_prices::SpotPrice;
pub use volumes::LeftVolumes;
use volumes::Volumes;

/// Tags that every instance launched by Spillway carries.
pub const MANAGED_BY: (&str, &str) = ("ManagedBy", "auto-scaler");
pub const POOL_TAG: &str = "spillway:pool";
pub const TOKEN_TAG: &str = "spillway:token";
pub const INSTALLATION_TAG: &str = "spillway:installation";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// RunInstances answers within a few seconds; a call that takes longer counts as unanswered.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// EC2 in one region.
#[derive(Clone, Debug)]
pub struct Cloud {
    client: Client,
    /// For what is asked of other services now and then.
    config: aws_config::SdkConfig,
    volumes: Volumes,
    launch_images: LaunchImages,
}

impl Cloud {
    /// Credentials, region and endpoint come from the SDK's standard sources (`AWS_…`, profile, instance role);
    /// `region` overrides them. Proxies come from `proxies`, and are taken for no request to this machine or to
    /// instance metadata.
    ///
    /// # Errors
    /// The SDK cannot use a proxy's URL.
    pub async fn connect(region: Option<&str>, proxies: &Proxies) -> Result<Self, ProxyError> {
        let config = sdk_config(region, proxies, RetryConfig::disabled()).await?;
        let counting = aws_sdk_ec2::config::Builder::from(&config).interceptor(counted::Counted).build();
        let client = Client::from_conf(counting);
        Ok(Cloud { client, config, volumes: Volumes::default(), launch_images: LaunchImages::default() })
    }

    /// The region that calls go to; None where nothing says which.
    pub fn region(&self) -> Option<String> {
        self.client.config().region().map(ToString::to_string)
    }

    /// The account that the credentials are of, by any instance that EC2 shows there; None where there is none.
    pub async fn account(&self) -> Result<Option<String>, Refused> {
        let answer = self.client.describe_instances().max_results(5).send().await.map_err(Refused::from)?;
        Ok(answer.reservations().iter().find_map(|reservation| reservation.owner_id().map(str::to_owned)))
    }

    /// Ok when EC2 has accepted the termination; a listing confirms it.
    pub async fn terminate(&self, id: &InstanceId) -> Result<(), Refused> {
        // One instance per call: one bad id fails a whole batch.
        match self.client.terminate_instances().instance_ids(&id.0).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Refused::from(error)),
        }
    }
}

/// What every client of AWS' is made with.
async fn sdk_config(
    region: Option<&str>,
    proxies: &Proxies,
    retries: RetryConfig,
) -> Result<aws_config::SdkConfig, ProxyError> {
    let http = proxy::client(proxies)?;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries)
        .timeout_config(timeouts);
    if let Some(region) = region {
        loader = loader.region(aws_config::Region::new(region.to_owned()));
    }
    Ok(loader.load().await)
}
