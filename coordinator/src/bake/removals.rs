//! What bakes leave behind and nothing needs any more. Pure.

use std::collections::BTreeSet;

use crate::cloud::images::{Baked, BakedImage, InstanceState, Part};

/// Something to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An instance.
    Terminate(String),
    /// An image, with its snapshots.
    Deregister(String),
    /// A snapshot that no image has any more.
    DeleteSnapshot(String),
}

impl Removal {
    /// What is removed.
    pub fn id(&self) -> &str {
        match self {
            Self::Terminate(id) | Self::Deregister(id) | Self::DeleteSnapshot(id) => id,
        }
    }
}

/// What is of no bake but `current`: instances, images that launches never took, and snapshots without an image. A copy
/// comes last. With no current one, everything of that kind.
pub fn leftovers(baked: &Baked, current: Option<&str>) -> Vec<Removal> {
    let is_current = |bake: &str| Some(bake) == current;
    let mut removals = Vec::new();
    for instance in &baked.instances {
        if instance.state != InstanceState::Ended && !is_current(&instance.bake) {
            removals.push(Removal::Terminate(instance.id.clone()));
        }
    }
    let of_images: BTreeSet<&str> =
        baked.images.iter().flat_map(|image| &image.devices).map(|(_, snapshot)| snapshot.as_str()).collect();
    // An image that is still being made may not tell its snapshots yet.
    let is_told = |bake: &str| !baked.images.iter().any(|image| image.bake == bake && image.devices.is_empty());
    for snapshot in &baked.snapshots {
        if !of_images.contains(snapshot.id.as_str()) && !is_current(&snapshot.bake) && is_told(&snapshot.bake) {
            removals.push(Removal::DeleteSnapshot(snapshot.id.clone()));
        }
    }
    let is_left = |image: &&BakedImage| !is_current(&image.bake) && !baked.history.contains(&image.id);
    let (copies, others): (Vec<_>, Vec<_>) =
        baked.images.iter().filter(is_left).partition(|image| image.part == Some(Part::Copy));
    removals.extend(others.into_iter().chain(copies).map(|image| Removal::Deregister(image.id.clone())));
    removals
}

/// All of it, the images that launches take too: where an installation ends.
pub fn everything(baked: &Baked) -> Vec<Removal> {
    leftovers(&Baked { history: Vec::new(), ..baked.clone() }, None)
}

/// Images that launches took once and that are older than the newest `keeps`: never the one that the parameter names,
/// and none of which there is an instance.
pub fn pruned(baked: &Baked, keeps: usize) -> Vec<Removal> {
    let current = baked.history.last();
    let mut images: Vec<&BakedImage> = baked
        .images
        .iter()
        .filter(|image| image.part == Some(Part::Image) && baked.history.contains(&image.id))
        .collect();
    images.sort_by(|one, other| (&other.made_at, &other.id).cmp(&(&one.made_at, &one.id)));
    let old = images.into_iter().skip(keeps.max(1));
    let old = old.filter(|image| Some(&image.id) != current && !baked.in_use.contains(&image.id));
    old.map(|image| Removal::Deregister(image.id.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::next::tests::{BAKE, image, instance, snapshot};
    use super::*;

    #[test]
    fn what_no_bake_goes_on_with_is_left_over() {
        let copy = image("ami-copy", Part::Copy, BAKE);
        let (failed, good) = (image("ami-failed", Part::Image, "failed"), image("ami-good", Part::Image, "good"));
        let gone = image("ami-gone", Part::Image, "gone");
        let baked = Baked {
            snapshots: [&copy, &failed, &good, &gone].map(snapshot).to_vec(),
            images: vec![copy, failed, good],
            instances: vec![
                instance("i-builder", Part::Builder, BAKE, InstanceState::Alive),
                instance("i-left", Part::Canary, "failed", InstanceState::Stopped),
                instance("i-ended", Part::Canary, "failed", InstanceState::Ended),
            ],
            history: vec!["ami-plain".to_owned(), "ami-good".to_owned()],
            ..Baked::default()
        };
        let of_others = [
            Removal::Terminate("i-left".to_owned()),
            Removal::DeleteSnapshot("snap-ami-gone".to_owned()),
            Removal::Deregister("ami-failed".to_owned()),
        ];
        assert_eq!(leftovers(&baked, Some(BAKE)), of_others);
        let all: Vec<String> = leftovers(&baked, None).iter().map(|removal| removal.id().to_owned()).collect();
        assert_eq!(all, ["i-builder", "i-left", "snap-ami-gone", "ami-failed", "ami-copy"]);
    }

    #[test]
    fn an_installation_that_ends_keeps_no_image() {
        let good = image("ami-good", Part::Image, "good");
        let baked = Baked { images: vec![good], history: vec!["ami-good".to_owned()], ..Baked::default() };
        assert_eq!(everything(&baked), [Removal::Deregister("ami-good".to_owned())]);
    }

    /// EC2 lists a new image before it lists its devices.
    #[test]
    fn snapshots_of_an_image_that_does_not_tell_them_yet_stay() {
        let copy = image("ami-copy", Part::Copy, BAKE);
        let snapshots = vec![snapshot(&copy)];
        let baked = Baked { images: vec![BakedImage { devices: Vec::new(), ..copy }], snapshots, ..Baked::default() };
        assert_eq!(leftovers(&baked, None), [Removal::Deregister("ami-copy".to_owned())]);
    }

    #[test]
    fn old_images_go_but_not_one_in_use_nor_the_one_that_the_parameter_names() {
        let ids = ["ami-1", "ami-2", "ami-3", "ami-4", "ami-5"];
        let mut baked = Baked {
            images: ids.iter().map(|id| image(id, Part::Image, id)).collect(),
            history: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Baked::default()
        };
        let removed =
            |baked: &Baked, keeps| pruned(baked, keeps).iter().map(|it| it.id().to_owned()).collect::<Vec<_>>();
        assert_eq!(removed(&baked, 3), ["ami-2", "ami-1"]);
        baked.in_use.insert("ami-2".to_owned());
        assert_eq!(removed(&baked, 3), ["ami-1"]);
        // Rolled back: the newest is not the one that launches take.
        baked.history.push("ami-1".to_owned());
        assert_eq!(removed(&baked, 3), [""; 0]);
        assert_eq!(removed(&baked, 0), ["ami-4", "ami-3"], "at least one stays to go back to");
    }
}
