//! EC2's resources as they are now, and snapshots of the last minutes: a stale answer is read from an older snapshot.
//!
//! A snapshot is cheap: a record is copied only when it is changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::error::ApiError;
use crate::launch_data::is_id;
use crate::model::{Group, Image, Instance, InstanceState, Snapshot, SpotRequest, Tags, Volume};
use crate::ssm::Parameters;
use crate::templates::Template;

/// Terminated instances stay listed for about an hour on EC2.
const TERMINATED_LISTED_MS: u64 = 60 * 60 * 1000;
/// How far back a stale answer can reach.
pub(crate) const HISTORY_MS: u64 = 10 * 60 * 1000;
/// Changes that are kept; with more of them, the past is shorter.
const MAX_HISTORY: usize = 1_024;
/// Instances that are listed at once, terminated ones included.
pub(crate) const MAX_INSTANCES: usize = 10_000;

/// The records of all resources, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub(crate) instances: BTreeMap<String, Arc<Instance>>,
    pub(crate) spot_requests: BTreeMap<String, Arc<SpotRequest>>,
    pub(crate) templates: BTreeMap<String, Arc<Template>>,
    pub(crate) images: BTreeMap<String, Arc<Image>>,
    pub(crate) volumes: BTreeMap<String, Arc<Volume>>,
    pub(crate) snapshots: BTreeMap<String, Arc<Snapshot>>,
    pub(crate) groups: BTreeMap<String, Arc<Group>>,
    /// Of Systems Manager.
    pub(crate) parameters: Parameters,
}

impl Resources {
    pub(crate) fn instance(&self, id: &str) -> Result<&Arc<Instance>, ApiError> {
        if !is_id(id, "i-") {
            return Err(ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        self.instances.get(id).ok_or_else(|| {
            ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
        })
    }

    pub(crate) fn spot_request(&self, id: &str) -> Result<&Arc<SpotRequest>, ApiError> {
        if !is_id(id, "sir-") {
            return Err(ApiError::new("InvalidSpotInstanceRequestID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        self.spot_requests.get(id).ok_or_else(|| {
            ApiError::new(
                "InvalidSpotInstanceRequestID.NotFound",
                format!("The spot instance request ID '{id}' does not exist"),
            )
        })
    }

    pub(crate) fn change_instance(&mut self, id: &str, change: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.instances.get_mut(id) {
            change(Arc::make_mut(instance));
        }
    }

    /// Sets the status of an instance's spot request, if it has one.
    pub(crate) fn set_spot_status(
        &mut self,
        instance_id: &str,
        now_ms: u64,
        state: &'static str,
        code: &'static str,
        message: &'static str,
    ) {
        let request_id = self.instances.get(instance_id).and_then(|instance| instance.spot_request_id.clone());
        if let Some(request) = request_id.and_then(|id| self.spot_requests.get_mut(&id)) {
            let request = Arc::make_mut(request);
            // A request that its owner cancelled stays cancelled.
            if request.state != "cancelled" {
                request.state = state;
            }
            request.status_code = code;
            request.status_message = message;
            request.update_ms = now_ms;
        }
    }

    /// The tags of a resource of any kind.
    pub(crate) fn tags_mut(&mut self, id: &str) -> Option<&mut Tags> {
        if self.instances.contains_key(id) {
            return self.instances.get_mut(id).map(|instance| &mut Arc::make_mut(instance).tags);
        }
        if let Some(request) = self.spot_requests.get_mut(id) {
            return Some(&mut Arc::make_mut(request).tags);
        }
        if let Some(template) = self.templates.get_mut(id) {
            return Some(&mut Arc::make_mut(template).tags);
        }
        if let Some(image) = self.images.get_mut(id) {
            return Some(&mut Arc::make_mut(image).tags);
        }
        if let Some(snapshot) = self.snapshots.get_mut(id) {
            return Some(&mut Arc::make_mut(snapshot).tags);
        }
        Some(&mut Arc::make_mut(self.volumes.get_mut(id)?).tags)
    }

    /// Whether an instance in these groups reaches nobody: all of them are closed.
    pub(crate) fn are_closed(&self, groups: &[String]) -> bool {
        let is_closed = |group: &String| self.groups.get(group).is_some_and(|group| group.is_closed());
        !groups.is_empty() && groups.iter().all(is_closed)
    }

    /// The volumes that are attached to an instance, in the order of their devices.
    pub(crate) fn volumes_of(&self, instance: &str) -> Vec<&Volume> {
        let is_attached = |volume: &&Volume| volume.attached_to.as_deref() == Some(instance);
        let mut volumes: Vec<&Volume> = self.volumes.values().map(|volume| &**volume).filter(is_attached).collect();
        volumes.sort_by_key(|volume| volume.seq);
        volumes
    }

    /// An instance is terminated: its volumes are deleted with it, or are left behind.
    pub(crate) fn release_volumes(&mut self, instance: &str) {
        let of_it = |volume: &Volume| volume.attached_to.as_deref() == Some(instance);
        self.volumes.retain(|_, volume| !(of_it(volume) && volume.device.delete_on_termination));
        for volume in self.volumes.values_mut().filter(|volume| of_it(volume)) {
            Arc::make_mut(volume).attached_to = None;
        }
    }

    /// Deletes instances that were terminated long ago, and with them their spot requests.
    pub(crate) fn forget_terminated(&mut self, now_ms: u64) {
        let expired: Vec<(String, Option<String>)> = self
            .instances
            .values()
            .filter(|instance| instance.state == InstanceState::Terminated)
            .filter(|instance| instance.ended_ms.is_some_and(|at| at.saturating_add(TERMINATED_LISTED_MS) < now_ms))
            .map(|instance| (instance.id.clone(), instance.spot_request_id.clone()))
            .collect();
        for (instance, request) in expired {
            self.instances.remove(&instance);
            if let Some(request) = request {
                self.spot_requests.remove(&request);
            }
        }
    }
}

/// Snapshots of the last minutes, one per change.
#[derive(Debug, Default)]
pub(crate) struct History {
    snapshots: VecDeque<(u64, Resources)>,
    /// The oldest snapshots are no longer kept.
    shortened: bool,
}

impl History {
    /// Keeps a snapshot of `resources` as what is true from `now_ms` on.
    pub(crate) fn record(&mut self, now_ms: u64, resources: &Resources) {
        // One snapshot from before the window stays: it is what was true when the window began.
        while self.snapshots.get(1).is_some_and(|(at, _)| at.saturating_add(HISTORY_MS) < now_ms)
            || self.snapshots.len() >= MAX_HISTORY
        {
            self.snapshots.pop_front();
            self.shortened = true;
        }
        self.snapshots.push_back((now_ms, resources.clone()));
    }

    /// What was true at `at_ms`, or as early as is known. Before the first change, nothing existed.
    pub(crate) fn at(&self, at_ms: u64) -> Resources {
        let after = self.snapshots.partition_point(|(recorded, _)| *recorded <= at_ms);
        match after.checked_sub(1) {
            None if !self.shortened => Resources::default(),
            index => self.snapshots.get(index.unwrap_or(0)).map(|(_, resources)| resources.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ImageState;

    #[test]
    fn the_past_is_what_was_true_then() {
        let mut history = History::default();
        let mut resources = Resources::default();
        history.record(10, &resources);
        resources.images.insert("ami-1".to_owned(), Arc::new(image()));
        history.record(20, &resources);
        assert_eq!(history.at(5).images.len(), 0);
        assert_eq!(history.at(19).images.len(), 0);
        assert_eq!(history.at(20).images.len(), 1);
        history.record(20 + 2 * HISTORY_MS, &resources);
        assert_eq!(history.at(20 + HISTORY_MS).images.len(), 1, "the snapshot before the window is kept");
    }

    fn image() -> Image {
        Image {
            seq: 1,
            id: "ami-1".to_owned(),
            name: String::new(),
            description: String::new(),
            source_instance: None,
            create_ms: 0,
            devices: Vec::new(),
            tags: Tags::new(),
            state: ImageState::Available,
            deregistered: false,
        }
    }
}
