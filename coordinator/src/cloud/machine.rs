//! What instance metadata says of the machine that this runs on: for `spillway init` on a primary.

use std::time::Duration;

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;

use super::proxy;
use crate::config::Proxies;

/// A machine off EC2 has no metadata service: nobody waits long for it.
const WITHIN: Duration = Duration::from_secs(2);

/// An EC2 instance, by its metadata. What is not told is None.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub instance: String,
    pub region: Option<String>,
    pub private_address: Option<String>,
    pub vpc: Option<String>,
    pub subnet: Option<String>,
    /// The first of its security groups.
    pub security_group: Option<String>,
    pub image: Option<String>,
    /// The role of its instance profile.
    pub role: Option<String>,
}

/// This machine; None where no metadata service answers: it is no EC2 instance.
pub async fn this_machine() -> Option<Machine> {
    let http = proxy::client(&Proxies::default()).ok()?;
    let provider = ProviderConfig::without_region().with_http_client(http);
    let client =
        Client::builder().configure(&provider).connect_timeout(WITHIN).read_timeout(WITHIN).max_attempts(2).build();
    let get = async |path: &str| {
        let text = client.get(format!("/latest/meta-data/{path}")).await.ok()?;
        let first = text.as_ref().lines().next().unwrap_or_default().trim().to_owned();
        Some(first).filter(|text| !text.is_empty())
    };
    let instance = get("instance-id").await?;
    let mac = get("mac").await.unwrap_or_default();
    let of_interface = async |name: &str| get(&format!("network/interfaces/macs/{mac}/{name}")).await;
    Some(Machine {
        instance,
        region: get("placement/region").await,
        private_address: get("local-ipv4").await,
        vpc: of_interface("vpc-id").await,
        subnet: of_interface("subnet-id").await,
        security_group: of_interface("security-group-ids").await,
        image: get("ami-id").await,
        role: get("iam/security-credentials/").await,
    })
}
