//! What can be done to instances besides EC2's API (interrupt them, recommend a rebalance, schedule maintenance, read
//! their consoles): for the control API, and in-process.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::api::{register_image, root_device};
use crate::error::ControlError;
use crate::launch_data::check_image_id;
use crate::lifecycle::{self, Command};
use crate::model::{Device, Instance, Interruption, Lifecycle, Maintenance, Notice};
use crate::record::{InstanceRecord, VolumeRecord};
use crate::shared::{Shared, State, new_id};

/// How much of the end of a console is returned.
const CONSOLE_BYTES: u64 = 64 * 1024;
/// How far ahead a notice or an event may be, at most.
const MAX_AHEAD_SECONDS: f64 = 7.0 * 24.0 * 3600.0;
const MAX_EVENTS: usize = 20;

/// EC2 interrupts a spot instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interrupt {
    pub(crate) instance: String,
    /// From the notice to the interruption; 0: without a notice.
    pub(crate) notice_seconds: f64,
    #[serde(default)]
    pub(crate) action: Interruption,
}

/// EC2 recommends to replace a spot instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rebalance {
    pub(crate) instance: String,
}

/// EC2 schedules maintenance of an instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleMaintenance {
    instance: String,
    #[serde(default = "default_code")]
    code: String,
    #[serde(default = "default_description")]
    description: String,
    #[serde(default = "default_not_before")]
    not_before_seconds: f64,
    #[serde(default = "default_not_after")]
    not_after_seconds: f64,
    /// Cancels what is scheduled, instead.
    #[serde(default)]
    cancel: bool,
}

/// What is on an image from now on, beside what a launch says: one device, added or changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageDevice {
    pub(crate) image: String,
    pub(crate) device: String,
    pub(crate) delete_on_termination: bool,
}

impl ScheduleMaintenance {
    pub(crate) fn new(instance: &str, code: &str, ahead: Duration) -> Self {
        Self {
            instance: instance.to_owned(),
            code: code.to_owned(),
            description: default_description(),
            not_before_seconds: ahead.as_secs_f64(),
            not_after_seconds: ahead.as_secs_f64() + default_not_after(),
            cancel: false,
        }
    }

    pub(crate) fn cancelled(instance: &str) -> Self {
        Self { cancel: true, ..Self::new(instance, "", Duration::ZERO) }
    }
}

fn default_code() -> String {
    "system-reboot".to_owned()
}

fn default_description() -> String {
    "scheduled reboot".to_owned()
}

fn default_not_before() -> f64 {
    600.0
}

fn default_not_after() -> f64 {
    1200.0
}

/// All instances in the order of their launch.
pub(crate) fn records(shared: &Shared) -> Vec<InstanceRecord> {
    let state = shared.state();
    let now_ms = shared.clock.now_ms();
    let mut instances: Vec<&Instance> = state.resources.instances.values().map(|instance| &**instance).collect();
    instances.sort_by_key(|instance| instance.seq);
    instances.into_iter().map(|instance| InstanceRecord::new(instance, now_ms)).collect()
}

pub(crate) fn record(shared: &Shared, id: &str) -> Result<InstanceRecord, ControlError> {
    let state = shared.state();
    Ok(InstanceRecord::new(find(&state, id)?, shared.clock.now_ms()))
}

/// All volumes in the order in which they were made.
pub(crate) fn volumes(shared: &Shared) -> Vec<VolumeRecord> {
    let state = shared.state();
    let mut volumes: Vec<_> = state.resources.volumes.values().collect();
    volumes.sort_by_key(|volume| volume.seq);
    volumes.into_iter().map(|volume| VolumeRecord::new(volume)).collect()
}

pub(crate) fn image_device(shared: &Shared, request: &ImageDevice) -> Result<(), ControlError> {
    check_image_id(&request.image).map_err(|error| ControlError::BadRequest(error.message))?;
    if !request.device.starts_with("/dev/") && !request.device.starts_with("xvd") {
        return Err(ControlError::BadRequest(format!("device is a name such as /dev/sdb, not {}", request.device)));
    }
    shared.change(|state, now_ms| {
        register_image(state, now_ms, &request.image);
        let Some(image) = state.resources.images.get_mut(&request.image).map(Arc::make_mut) else { return Ok(()) };
        let delete_on_termination = request.delete_on_termination;
        match image.devices.iter_mut().find(|device| device.name == request.device) {
            Some(device) => device.delete_on_termination = delete_on_termination,
            None => {
                let name = request.device.clone();
                image.devices.push(Device { name, delete_on_termination, ..root_device() });
            }
        }
        Ok(())
    })
}

pub(crate) fn interrupt(shared: &Shared, request: &Interrupt) -> Result<InstanceRecord, ControlError> {
    let notice = ahead("notice_seconds", request.notice_seconds)?;
    shared.change(|state, now_ms| {
        check_live_spot(state, &request.instance)?;
        let at_ms = now_ms.saturating_add(notice);
        if !lifecycle::send(state, &request.instance, Command::Interrupt { at_ms, action: request.action }) {
            return Err(ControlError::NotPossible(format!(
                "{} has too many pending requests: retry once it has handled them",
                request.instance
            )));
        }
        if notice > 0 {
            state.resources.change_instance(&request.instance, |instance| {
                instance.notice = Some(Notice { action: request.action, at_ms });
            });
            let (code, message) = match request.action {
                Interruption::Terminate => ("marked-for-termination", "Your Spot instance is marked for termination."),
                Interruption::Stop | Interruption::Hibernate => {
                    ("marked-for-stop", "Your Spot instance is marked for stop.")
                }
            };
            state.resources.set_spot_status(&request.instance, now_ms, "active", code, message);
        }
        Ok(InstanceRecord::new(find(state, &request.instance)?, now_ms))
    })
}

pub(crate) fn rebalance(shared: &Shared, request: &Rebalance) -> Result<InstanceRecord, ControlError> {
    shared.change(|state, now_ms| {
        check_live_spot(state, &request.instance)?;
        state.resources.change_instance(&request.instance, |instance| instance.rebalance_ms = Some(now_ms));
        Ok(InstanceRecord::new(find(state, &request.instance)?, now_ms))
    })
}

pub(crate) fn maintenance(shared: &Shared, request: ScheduleMaintenance) -> Result<InstanceRecord, ControlError> {
    let not_before = about_now("not_before_seconds", request.not_before_seconds)?;
    let not_after = about_now("not_after_seconds", request.not_after_seconds)?;
    if not_after < not_before {
        return Err(ControlError::BadRequest("not_after_seconds must not be less than not_before_seconds".to_owned()));
    }
    shared.change(|state, now_ms| {
        let instance = find(state, &request.instance)?;
        if !instance.is_alive() {
            return Err(not_alive(instance));
        }
        if !request.cancel && instance.maintenance.len() >= MAX_EVENTS {
            return Err(ControlError::NotPossible(format!(
                "{} already has {MAX_EVENTS} maintenance events, the maximum",
                request.instance
            )));
        }
        state.resources.change_instance(&request.instance, |instance| {
            if request.cancel {
                let active = instance.maintenance.iter_mut().filter(|event| event.state == "active");
                active.for_each(|event| {
                    "canceled".clone_into(&mut event.state);
                    event.description.insert_str(0, "[Canceled] ");
                });
                return;
            }
            instance.maintenance.push(Maintenance {
                event_id: new_id("instance-event-"),
                code: request.code.clone(),
                description: request.description.clone(),
                state: "active".to_owned(),
                not_before_ms: now_ms.saturating_add_signed(not_before),
                not_after_ms: now_ms.saturating_add_signed(not_after),
            });
        });
        Ok(InstanceRecord::new(find(state, &request.instance)?, now_ms))
    })
}

/// The end of an instance's console.
pub(crate) fn console(shared: &Shared, id: &str) -> Result<String, ControlError> {
    find(&shared.state(), id)?;
    let path = shared.options.directory.join(id).join("console.log");
    // The instance has no console yet.
    let Ok(mut file) = std::fs::File::open(path) else { return Ok(String::new()) };
    let mut text = Vec::new();
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(CONSOLE_BYTES)))
        .and_then(|_| file.take(CONSOLE_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Err(error) => Err(ControlError::NotPossible(format!("cannot read the console of {id}: {error}"))),
    }
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Instance, ControlError> {
    state.resources.instances.get(id).map(|instance| &**instance).ok_or_else(|| ControlError::NoInstance(id.to_owned()))
}

/// EC2 interrupts only spot instances, and only those that are alive.
fn check_live_spot(state: &State, id: &str) -> Result<(), ControlError> {
    let instance = find(state, id)?;
    if instance.lifecycle != Lifecycle::Spot {
        return Err(ControlError::NotPossible(format!("{id} is not a spot instance")));
    }
    if instance.is_alive() { Ok(()) } else { Err(not_alive(instance)) }
}

fn not_alive(instance: &Instance) -> ControlError {
    ControlError::NotPossible(format!("{} is {}, not pending or running", instance.id, instance.state.name()))
}

/// In milliseconds from now; negative where it lies in the past.
fn about_now(name: &str, seconds: f64) -> Result<i64, ControlError> {
    if !(-MAX_AHEAD_SECONDS..=MAX_AHEAD_SECONDS).contains(&seconds) {
        let problem = format!("{name} must be between -{MAX_AHEAD_SECONDS} and {MAX_AHEAD_SECONDS}");
        return Err(ControlError::BadRequest(problem));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within a week of now")]
    Ok((seconds * 1000.0) as i64)
}

fn ahead(name: &str, seconds: f64) -> Result<u64, ControlError> {
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds <= MAX_AHEAD_SECONDS);
    duration
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
        .ok_or_else(|| ControlError::BadRequest(format!("{name} must be between 0 and {MAX_AHEAD_SECONDS}")))
}
