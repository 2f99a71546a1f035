//! The control API in-process, and launch templates, for programs that embed the emulator.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::api::{add_template, check_new_template};
use crate::calls::Calls;
use crate::error::{ApiError, ControlError};
use crate::faults::{Canned, Capacity, Delay, FailLaunch, Lose, Refuse, RefuseOrder};
use crate::instance_control::{self, ImageDevice, Interrupt, Rebalance, ScheduleMaintenance};
use crate::launch_data::{LaunchData, MetadataRequest, Spot, check_image_id, decode_user_data};
use crate::model::{Interruption, ShutdownBehavior};
use crate::record::{InstanceRecord, VolumeRecord};
use crate::{Emulator, faults, iam, quotas};

/// A launch template's first version, as far as it matters here.
#[derive(Clone, Debug)]
pub struct LaunchTemplate {
    pub image_id: String,
    pub instance_type: String,
    /// A script that begins with `#!`; not encoded.
    pub user_data: String,
    /// Tags of its instances.
    pub tags: BTreeMap<String, String>,
    /// Launches spot instances unless the request overrides it. Such a template is not for CreateFleet.
    pub spot: bool,
    /// Shows tags in the metadata.
    pub metadata_tags: bool,
    pub shutdown_behavior: ShutdownBehavior,
    pub instance_profile: Option<String>,
}

impl Default for LaunchTemplate {
    fn default() -> Self {
        Self {
            image_id: "ami-0e000000000000001".to_owned(),
            instance_type: "c6i.xlarge".to_owned(),
            user_data: String::new(),
            tags: BTreeMap::new(),
            spot: false,
            metadata_tags: true,
            shutdown_behavior: ShutdownBehavior::Terminate,
            instance_profile: None,
        }
    }
}

impl LaunchTemplate {
    fn data(self) -> Result<LaunchData, ApiError> {
        check_image_id(&self.image_id)?;
        let user_data = (!self.user_data.is_empty()).then(|| BASE64.encode(&self.user_data));
        if let Some(user_data) = &user_data {
            decode_user_data(user_data)?;
        }
        let tags = if self.tags.is_empty() { None } else { Some(("instance".to_owned(), self.tags)) };
        Ok(LaunchData {
            image_id: Some(self.image_id),
            instance_type: Some(self.instance_type),
            user_data,
            tags: tags.into_iter().collect(),
            market: self.spot.then(|| Some(Spot::default())),
            metadata: MetadataRequest {
                http_tokens: Some("required"),
                instance_metadata_tags: Some(if self.metadata_tags { "enabled" } else { "disabled" }),
                ..MetadataRequest::default()
            },
            shutdown_behavior: Some(self.shutdown_behavior),
            profile_name: self.instance_profile,
            ..LaunchData::default()
        })
    }
}

impl Emulator {
    /// Creates a launch template, and returns its id.
    pub fn create_launch_template(&self, name: &str, template: LaunchTemplate) -> Result<String, ApiError> {
        let data = template.data()?;
        self.shared.change(|state, now_ms| {
            check_new_template(state, name)?;
            Ok(add_template(state, now_ms, name.to_owned(), None, data, None).id.clone())
        })
    }

    /// The records of all instances, in the order of their launch.
    pub fn instances(&self) -> Vec<InstanceRecord> {
        instance_control::records(&self.shared)
    }

    /// All volumes, those too that their instances have left behind.
    pub fn volumes(&self) -> Vec<VolumeRecord> {
        instance_control::volumes(&self.shared)
    }

    /// Puts a device on an image, or changes the one that it has: whether its volume is deleted with its instance.
    pub fn image_device(&self, image: &str, device: &str, delete_on_termination: bool) -> Result<(), ControlError> {
        let (image, device) = (image.to_owned(), device.to_owned());
        instance_control::image_device(&self.shared, &ImageDevice { image, device, delete_on_termination })
    }

    /// The end of an instance's console.
    pub fn console(&self, instance: &str) -> Result<String, ControlError> {
        instance_control::console(&self.shared, instance)
    }

    /// Interrupts a spot instance after a notice; without one if `notice` is zero.
    pub fn interrupt(&self, instance: &str, notice: Duration) -> Result<InstanceRecord, ControlError> {
        let request = Interrupt {
            instance: instance.to_owned(),
            notice_seconds: notice.as_secs_f64(),
            action: Interruption::Terminate,
        };
        instance_control::interrupt(&self.shared, &request)
    }

    /// Gives a spot instance a rebalance recommendation.
    pub fn rebalance(&self, instance: &str) -> Result<InstanceRecord, ControlError> {
        instance_control::rebalance(&self.shared, &Rebalance { instance: instance.to_owned() })
    }

    /// Schedules an event for an instance, which its metadata and DescribeInstanceStatus then show. Nothing happens at
    /// its time.
    pub fn schedule(&self, instance: &str, code: &str, ahead: Duration) -> Result<InstanceRecord, ControlError> {
        instance_control::maintenance(&self.shared, ScheduleMaintenance::new(instance, code, ahead))
    }

    /// Cancels what is scheduled for an instance.
    pub fn cancel_schedule(&self, instance: &str) -> Result<InstanceRecord, ControlError> {
        instance_control::maintenance(&self.shared, ScheduleMaintenance::cancelled(instance))
    }

    /// The log of EC2 calls.
    pub fn calls(&self) -> Calls {
        self.shared.state().calls.clone()
    }

    /// See [`Refuse`].
    pub fn refuse(&self, fault: Refuse) -> Result<(), ControlError> {
        self.shared.state().faults.refuse(fault.into())
    }

    /// See [`Refuse`]; with this HTTP status instead of the one that goes with the code.
    pub fn refuse_with_status(&self, fault: Refuse, status: u16) -> Result<(), ControlError> {
        self.shared.state().faults.refuse(RefuseOrder::with_status(fault, status))
    }

    /// See [`FailLaunch`].
    pub fn fail_launch(&self, fault: FailLaunch) -> Result<(), ControlError> {
        self.shared.state().faults.fail_launch(fault)
    }

    /// See [`Lose`].
    pub fn lose(&self, fault: Lose) -> Result<(), ControlError> {
        self.shared.state().faults.lose(fault)
    }

    /// See [`Delay`].
    pub fn delay(&self, fault: Delay) -> Result<(), ControlError> {
        self.shared.state().faults.delay(fault)
    }

    /// See [`Canned`].
    pub fn answer(&self, fault: Canned) -> Result<(), ControlError> {
        self.shared.state().faults.answer(fault)
    }

    /// See [`Capacity`].
    pub fn capacity(&self, change: Capacity) -> Result<(), ControlError> {
        self.shared.state().faults.capacity(change)
    }

    /// Answers Describe calls from the state that was current `lag` ago.
    pub fn stale(&self, lag: Duration) -> Result<(), ControlError> {
        self.shared.state().faults.stale(lag.as_secs_f64())
    }

    /// Dates answers so many seconds ahead of the time, or behind it.
    pub fn date_off(&self, seconds: i64) -> Result<(), ControlError> {
        self.shared.state().faults.date(seconds)
    }

    /// Who may assume a role: a trust policy.
    pub fn trust(&self, role: &str, policy: &serde_json::Value) -> Result<(), ControlError> {
        iam::set_trust(&self.shared, role, policy)
    }

    /// A quota's value.
    pub fn quota(&self, code: &str, value: f64) -> Result<(), ControlError> {
        quotas::set(&self.shared, code, value)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.state().faults = faults::Faults::default();
    }
}
