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

/// What the bakes that `is_over` names have left and nothing needs: instances, images that launches never took and of
/// which there is no instance, and snapshots without an image. A copy comes last.
pub fn leftovers(baked: &Baked, is_over: impl Fn(&str) -> bool) -> Vec<Removal> {
    let mut removals = Vec::new();
    for instance in &baked.instances {
        if instance.state != InstanceState::Ended && is_over(&instance.bake) {
            removals.push(Removal::Terminate(instance.id.clone()));
        }
    }
    let of_images: BTreeSet<&str> =
        baked.images.iter().flat_map(|image| &image.devices).map(|(_, snapshot)| snapshot.as_str()).collect();
    // An image that is still being made may not tell its snapshots yet.
    let is_told = |bake: &str| !baked.images.iter().any(|image| image.bake == bake && image.devices.is_empty());
    for snapshot in &baked.snapshots {
        if !of_images.contains(snapshot.id.as_str()) && is_over(&snapshot.bake) && is_told(&snapshot.bake) {
            removals.push(Removal::DeleteSnapshot(snapshot.id.clone()));
        }
    }
    let ends: BTreeSet<&str> = removals.iter().map(Removal::id).collect();
    // Builder and canary are themselves instances of the copy and of the image.
    let is_used = |image: &BakedImage| match baked.in_use.get(&image.id) {
        None => false,
        Some(users) => users.iter().any(|user| !ends.contains(user.as_str())),
    };
    let is_left = |image: &&BakedImage| is_over(&image.bake) && !baked.history.contains(&image.id) && !is_used(image);
    let (copies, others): (Vec<_>, Vec<_>) =
        baked.images.iter().filter(is_left).partition(|image| image.part == Some(Part::Copy));
    let images = others.into_iter().chain(copies).map(|image| Removal::Deregister(image.id.clone()));
    let images: Vec<Removal> = images.collect();
    removals.extend(images);
    removals
}

/// All of it, the images that launches take too: where an installation ends.
pub fn everything(baked: &Baked) -> Vec<Removal> {
    leftovers(&Baked { history: Vec::new(), ..baked.clone() }, |_| true)
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
    let old = old.filter(|image| Some(&image.id) != current && !baked.in_use.contains_key(&image.id));
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
        assert_eq!(leftovers(&baked, |bake| bake != BAKE), of_others);
        let all: Vec<String> = leftovers(&baked, |_| true).iter().map(|removal| removal.id().to_owned()).collect();
        assert_eq!(all, ["i-builder", "i-left", "snap-ami-gone", "ami-failed", "ami-copy"]);
    }

    /// As after the parameter was deleted and made again, which forgets what launches took.
    #[test]
    fn an_image_of_which_an_instance_runs_is_never_left_over() {
        let good = image("ami-good", Part::Image, "good");
        let mut baked = Baked { images: vec![good], ..Baked::default() };
        assert_eq!(leftovers(&baked, |_| true).len(), 1);
        baked.in_use.insert("ami-good".to_owned(), vec!["i-worker".to_owned()]);
        assert_eq!(leftovers(&baked, |_| true), []);
        baked.instances.push(instance("i-canary", Part::Canary, "good", InstanceState::Stopped));
        baked.in_use.insert("ami-good".to_owned(), vec!["i-canary".to_owned()]);
        assert_eq!(leftovers(&baked, |_| true).len(), 2, "its own canary goes with it");
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
        assert_eq!(leftovers(&baked, |_| true), [Removal::Deregister("ami-copy".to_owned())]);
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
        baked.in_use.insert("ami-2".to_owned(), vec!["i-1".to_owned()]);
        assert_eq!(removed(&baked, 3), ["ami-1"]);
        // Rolled back: the newest is not the one that launches take.
        baked.history.push("ami-1".to_owned());
        assert_eq!(removed(&baked, 3), [""; 0]);
        assert_eq!(removed(&baked, 0), ["ami-4", "ami-3"], "at least one stays to go back to");
    }
}
