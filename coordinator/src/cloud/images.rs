//! What `spillway bake` does at EC2 and at Systems Manager: images, the instances that they are made on, snapshots, and
//! the parameter that names the image. With credentials of an operator's or of CI's, never the coordinator's.
//!
//! Everything that is made has the tags of [`tags`], by which it is found again: they are the only state of a bake.

mod calls;
mod look;

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::types::{Filter, Tag};
use aws_smithy_http_client::proxy::ProxyError;

use super::{INSTALLATION_TAG, sdk_config};
use crate::config::Proxies;

/// By whom it was made.
pub const BAKED_BY: (&str, &str) = ("ManagedBy", "spillway-bake");
/// Of which bake it is.
pub const BAKE_TAG: &str = "spillway:bake";
/// What it is in it: see [`Part`].
pub const PART_TAG: &str = "spillway:bake-part";
/// The machine that may be copied has it, with the installation's name. An administrator sets it.
pub const FROM_TAG: &str = "spillway:bake-from";

/// What something is in a bake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The image of the primary as it is, with all of its secrets.
    Copy,
    /// The instance on which a copy becomes a worker's disk.
    Builder,
    /// What workers are launched from.
    Image,
    /// The instance on which a new image is tried.
    Canary,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Copy, Self::Builder, Self::Image, Self::Canary];

    /// As the tag says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Builder => "builder",
            Self::Image => "image",
            Self::Canary => "canary",
        }
    }
}

/// Where an image is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    Pending,
    Available,
    /// With EC2's word for it, and its reason where it gives one.
    Failed(String),
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Pending, running or stopping.
    Alive,
    Stopped,
    /// Shutting down or terminated.
    Ended,
}

/// An image that a bake made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakedImage {
    pub id: String,
    pub name: String,
    /// None: its tag is missing or says nothing that is known.
    pub part: Option<Part>,
    pub bake: String,
    pub state: ImageState,
    /// As EC2 writes it; text that sorts by time.
    pub made_at: String,
    /// The instance that it was made of.
    pub source: Option<String>,
    /// Names of its devices, each with its snapshot.
    pub devices: Vec<(String, String)>,
}

/// An instance that a bake launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakeInstance {
    pub id: String,
    pub part: Option<Part>,
    pub bake: String,
    pub state: InstanceState,
    /// Why it is in this state, where EC2 says so.
    pub reason: Option<String>,
}

/// A snapshot that a bake made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakedSnapshot {
    pub id: String,
    pub bake: String,
    /// In percent.
    pub progress: Option<u8>,
}

/// All that the bakes of an installation have made and that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baked {
    pub images: Vec<BakedImage>,
    pub instances: Vec<BakeInstance>,
    pub snapshots: Vec<BakedSnapshot>,
    /// Images of which some instances of the account are, whosever, with their ids.
    pub in_use: BTreeMap<String, Vec<String>>,
    /// What the parameter has been, the newest last; empty where there is none.
    pub history: Vec<String>,
}

/// The workers' launch template, as far as a bake rests on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerTemplate {
    /// An image's id, or `resolve:ssm:NAME`.
    pub image: String,
    pub instance_type: String,
    pub subnet: Option<String>,
    pub groups: Vec<String>,
    /// Not encoded.
    pub user_data: String,
}

/// A machine that may be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub id: String,
    pub state: String,
    pub name: String,
    /// What its tag says: the installation for which it may be copied.
    pub bake_from: Option<String>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    /// Whom it lets out to, or in: empty where nothing passes.
    pub open_to: Vec<String>,
}

/// An instance to launch, without a role.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    pub bake: &'a str,
    pub part: Part,
    pub image: &'a BakedImage,
    pub instance_type: &'a str,
    pub subnet: Option<&'a str>,
    pub groups: &'a [String],
    pub user_data: &'a str,
}

/// EC2 and Systems Manager, for the bakes of one installation.
#[derive(Clone, Debug)]
pub struct Images {
    ec2: Client,
    ssm: aws_sdk_ssm::Client,
    installation: String,
}

impl Images {
    /// Credentials, region and endpoints as for [`super::Cloud`]; calls that fail for a moment are retried by the SDK.
    ///
    /// # Errors
    /// The SDK cannot use a proxy's URL.
    pub async fn connect(region: Option<&str>, proxies: &Proxies, installation: &str) -> Result<Self, ProxyError> {
        let config = sdk_config(region, proxies, RetryConfig::standard()).await?;
        let (ec2, ssm) = (Client::new(&config), aws_sdk_ssm::Client::new(&config));
        Ok(Self { ec2, ssm, installation: installation.to_owned() })
    }

    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The region that calls go to; None where nothing says which.
    pub fn region(&self) -> Option<String> {
        self.ec2.config().region().map(ToString::to_string)
    }

    /// The tags of everything that a bake makes.
    fn tags(&self, bake: &str, part: Part) -> Vec<Tag> {
        let name = format!("{} {}", self.installation, part.name());
        let tags = [
            ("Name", &*name),
            BAKED_BY,
            (INSTALLATION_TAG, &self.installation),
            (BAKE_TAG, bake),
            (PART_TAG, part.name()),
        ];
        tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
    }

    /// What has both tags of this installation's bakes.
    fn ours(&self) -> Vec<Filter> {
        let by = |key: &str, value: &str| Filter::builder().name(format!("tag:{key}")).values(value).build();
        vec![by(BAKED_BY.0, BAKED_BY.1), by(INSTALLATION_TAG, &self.installation)]
    }
}

fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key))?.value()
}

/// What the tags say of a bake: which one, and what it is in it.
fn of_bake(tags: &[Tag]) -> (String, Option<Part>) {
    let part = tag(tags, PART_TAG).and_then(|name| Part::ALL.into_iter().find(|part| part.name() == name));
    (tag(tags, BAKE_TAG).unwrap_or_default().to_owned(), part)
}
