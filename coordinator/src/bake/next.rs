//! What a bake does next, by what is there. Pure.

use super::removals::{Removal, leftovers, pruned};
use super::verdict::Verdict;
use crate::cloud::images::{BakeInstance, Baked, BakedImage, ImageState, InstanceState, Part};

/// What the consoles of stopped instances say; None where it was not read yet, or says nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub builder: Option<Verdict>,
    pub canary: Option<Verdict>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    MakeCopy,
    /// An image is being made; in percent, where EC2 says how far it is.
    AwaitImage(Part, Option<u8>),
    LaunchBuilder(BakedImage),
    /// An instance works.
    AwaitInstance(Part, String),
    /// An instance has stopped: what its console says is not known yet.
    ReadConsole(Part, String),
    /// Of this builder.
    MakeImage(String),
    LaunchCanary(BakedImage),
    SetParameter(String),
    /// The image is in use: what is not needed any more goes.
    Remove(Vec<Removal>),
    /// Launches take this image.
    Done(String),
    /// It cannot go on: why.
    Failed(String),
}

/// The bake that is under way, by its copy. A tag that no bake has set names none.
pub fn unfinished(baked: &Baked) -> Option<&str> {
    let copy = baked.images.iter().find(|image| image.part == Some(Part::Copy) && is_name(&image.bake));
    copy.map(|image| image.bake.as_str())
}

/// Whether it is the name of a bake: `20261129T031245Z`. It becomes part of scripts.
fn is_name(bake: &str) -> bool {
    let has = |place: usize, byte: u8| match place {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    bake.len() == 16 && bake.bytes().enumerate().all(|(place, byte)| has(place, byte))
}

/// The next step of a bake. `keeps`: how many images stay that launches took once. `tries`: the image is tried on a
/// canary before launches take it.
pub fn next(baked: &Baked, bake: &str, verdicts: &Verdicts, keeps: usize, tries: bool) -> Step {
    let image = |part| baked.images.iter().find(|image| image.bake == bake && image.part == Some(part));
    let instance = |part| baked.instances.iter().find(|it| it.bake == bake && it.part == Some(part));
    if let Some(image) = image(Part::Image).filter(|image| baked.history.contains(&image.id)) {
        return match baked.history.last() {
            Some(current) if *current != image.id => Step::Failed(format!(
                "launches took {} of this bake, and somebody has had them take {current} since",
                image.id
            )),
            _ => finish(baked, image, keeps),
        };
    }
    let Some(copy) = image(Part::Copy) else { return Step::MakeCopy };
    if let Some(step) = until_available(baked, copy, Part::Copy) {
        return step;
    }
    let Some(made) = image(Part::Image) else {
        return match instance(Part::Builder) {
            None => Step::LaunchBuilder(copy.clone()),
            Some(builder) => match until_verdict(builder, Part::Builder, verdicts.builder.as_ref()) {
                Some(step) => step,
                None => Step::MakeImage(builder.id.clone()),
            },
        };
    };
    if let Some(step) = until_available(baked, made, Part::Image) {
        return step;
    }
    if !tries {
        return Step::SetParameter(made.id.clone());
    }
    match instance(Part::Canary) {
        None => Step::LaunchCanary(made.clone()),
        Some(canary) => match until_verdict(canary, Part::Canary, verdicts.canary.as_ref()) {
            Some(step) => step,
            None => Step::SetParameter(made.id.clone()),
        },
    }
}

/// The instances go before the copy, which says that there is something to go on with.
fn finish(baked: &Baked, image: &BakedImage, keeps: usize) -> Step {
    // A bake that began later is somebody else's.
    let left = leftovers(baked, |bake| bake <= image.bake.as_str());
    let removals: Vec<Removal> = left.into_iter().chain(pruned(baked, keeps)).collect();
    match removals.is_empty() {
        true => Step::Done(image.id.clone()),
        false => Step::Remove(removals),
    }
}

fn until_available(baked: &Baked, image: &BakedImage, part: Part) -> Option<Step> {
    match &image.state {
        ImageState::Available => None,
        ImageState::Failed(why) => {
            Some(Step::Failed(format!("EC2 could not make the image {} ({}): {why}", image.id, part.name())))
        }
        ImageState::Pending => {
            let is_of = |id: &str| image.devices.iter().any(|(_, snapshot)| snapshot == id);
            // A pending image may not tell its snapshots yet; then those of the bake that are not done are meant.
            let of_it =
                baked.snapshots.iter().filter(|it| is_of(&it.id) || image.devices.is_empty() && it.bake == image.bake);
            Some(Step::AwaitImage(part, of_it.filter_map(|it| it.progress).min()))
        }
    }
}

fn until_verdict(instance: &BakeInstance, part: Part, verdict: Option<&Verdict>) -> Option<Step> {
    let name = part.name();
    match (instance.state, verdict) {
        (InstanceState::Alive, _) => Some(Step::AwaitInstance(part, instance.id.clone())),
        (InstanceState::Stopped, None) => Some(Step::ReadConsole(part, instance.id.clone())),
        (InstanceState::Stopped, Some(Verdict::Good)) => None,
        (InstanceState::Stopped, Some(Verdict::Bad(why))) => {
            Some(Step::Failed(format!("the {name} {}: {why}", instance.id)))
        }
        (InstanceState::Ended, _) => {
            let why = instance.reason.as_deref().unwrap_or("EC2 gives no reason");
            Some(Step::Failed(format!("the {name} {} was terminated before it had a verdict: {why}", instance.id)))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cloud::images::BakedSnapshot;

    pub(crate) const BAKE: &str = "20261129T031245Z";

    pub(crate) fn image(id: &str, part: Part, bake: &str) -> BakedImage {
        BakedImage {
            id: id.to_owned(),
            name: id.to_owned(),
            part: Some(part),
            bake: bake.to_owned(),
            state: ImageState::Available,
            made_at: bake.to_owned(),
            source: None,
            devices: vec![("/dev/sda1".to_owned(), format!("snap-{id}"))],
        }
    }

    pub(crate) fn instance(id: &str, part: Part, bake: &str, state: InstanceState) -> BakeInstance {
        BakeInstance { id: id.to_owned(), part: Some(part), bake: bake.to_owned(), state, reason: None }
    }

    pub(crate) fn snapshot(image: &BakedImage) -> BakedSnapshot {
        BakedSnapshot { id: image.devices[0].1.clone(), bake: image.bake.clone(), progress: Some(40) }
    }

    fn step(baked: &Baked, verdicts: &Verdicts) -> Step {
        next(baked, BAKE, verdicts, 2, true)
    }

    /// From nothing to the end, each step by what the one before left behind.
    #[test]
    fn a_bake_goes_from_step_to_step_by_what_is_there() {
        let (mut baked, mut verdicts) = (Baked::default(), Verdicts::default());
        baked.history.push("ami-plain".to_owned());
        assert_eq!(step(&baked, &verdicts), Step::MakeCopy);
        let copy = image("ami-copy", Part::Copy, BAKE);
        baked.snapshots.push(snapshot(&copy));
        baked.images.push(BakedImage { state: ImageState::Pending, ..copy.clone() });
        assert_eq!(unfinished(&baked), Some(BAKE));
        assert_eq!(step(&baked, &verdicts), Step::AwaitImage(Part::Copy, Some(40)));
        baked.images[0] = copy.clone();
        assert_eq!(step(&baked, &verdicts), Step::LaunchBuilder(copy));
        baked.instances.push(instance("i-builder", Part::Builder, BAKE, InstanceState::Alive));
        assert_eq!(step(&baked, &verdicts), Step::AwaitInstance(Part::Builder, "i-builder".to_owned()));
        baked.instances[0].state = InstanceState::Stopped;
        assert_eq!(step(&baked, &verdicts), Step::ReadConsole(Part::Builder, "i-builder".to_owned()));
        verdicts.builder = Some(Verdict::Good);
        assert_eq!(step(&baked, &verdicts), Step::MakeImage("i-builder".to_owned()));
        let made = image("ami-new", Part::Image, BAKE);
        baked.snapshots.push(snapshot(&made));
        baked.images.push(made.clone());
        assert_eq!(step(&baked, &verdicts), Step::LaunchCanary(made.clone()));
        assert_eq!(next(&baked, BAKE, &verdicts, 2, false), Step::SetParameter("ami-new".to_owned()), "untried");
        baked.instances.push(instance("i-canary", Part::Canary, BAKE, InstanceState::Stopped));
        verdicts.canary = Some(Verdict::Good);
        assert_eq!(step(&baked, &verdicts), Step::SetParameter("ami-new".to_owned()));
        baked.history.push("ami-new".to_owned());
        let Step::Remove(removals) = step(&baked, &verdicts) else { panic!("nothing is removed") };
        let expected = [
            Removal::Terminate("i-builder".to_owned()),
            Removal::Terminate("i-canary".to_owned()),
            Removal::Deregister("ami-copy".to_owned()),
        ];
        assert_eq!(removals, expected, "the copy is the last: by it a bake is gone on with");
        baked.instances.clear();
        baked.images.remove(0);
        baked.snapshots.remove(0);
        assert_eq!(step(&baked, &verdicts), Step::Done("ami-new".to_owned()));
    }

    #[test]
    fn a_bake_fails_with_what_its_instance_said_or_ec2() {
        let mut baked = Baked { images: vec![image("ami-copy", Part::Copy, BAKE)], ..Baked::default() };
        baked.instances.push(instance("i-builder", Part::Builder, BAKE, InstanceState::Stopped));
        let verdicts = Verdicts { builder: Some(Verdict::Bad("no agent.toml".to_owned())), ..Verdicts::default() };
        assert_eq!(step(&baked, &verdicts), Step::Failed("the builder i-builder: no agent.toml".to_owned()));
        baked.instances[0].state = InstanceState::Ended;
        let Step::Failed(why) = step(&baked, &Verdicts::default()) else { panic!("it goes on") };
        assert!(why.contains("terminated before it had a verdict"), "{why}");
        baked.images[0].state = ImageState::Failed("failed Client.InternalError".to_owned());
        let Step::Failed(why) = step(&baked, &Verdicts::default()) else { panic!("it goes on") };
        assert!(why.contains("Client.InternalError"), "{why}");
    }

    #[test]
    fn a_copy_whose_tag_names_no_bake_is_gone_on_with_by_nobody() {
        let of = |bake: &str| Baked { images: vec![image("ami-copy", Part::Copy, bake)], ..Baked::default() };
        assert_eq!(unfinished(&of(BAKE)), Some(BAKE));
        for bake in ["", "x; reboot", "20261129T03124 Z", "20261129T031245Z; reboot", "20261129X031245Z"] {
            assert_eq!(unfinished(&of(bake)), None, "{bake}");
        }
    }

    #[test]
    fn an_image_that_launches_have_left_is_no_success() {
        let baked = Baked {
            images: vec![image("ami-new", Part::Image, BAKE)],
            history: ["ami-old", "ami-new", "ami-old"].map(str::to_owned).to_vec(),
            ..Baked::default()
        };
        let Step::Failed(why) = step(&baked, &Verdicts::default()) else { panic!("it is done") };
        assert!(why.contains("take ami-old since"), "{why}");
    }

    /// What an earlier bake left does not stand in for a part of this one.
    #[test]
    fn the_parts_of_another_bake_are_none_of_this_one() {
        let baked = Baked {
            images: vec![image("ami-copy", Part::Copy, BAKE), image("ami-other", Part::Image, "other")],
            instances: vec![instance("i-other", Part::Builder, "other", InstanceState::Stopped)],
            ..Baked::default()
        };
        assert!(matches!(step(&baked, &Verdicts::default()), Step::LaunchBuilder(_)));
    }
}
