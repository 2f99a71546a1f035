//! The images that launches take: new ones appear, no boot on some of them succeeds, and the parameter is rolled back.
//! EC2 tells which one it is late, at times not at all, and of an instance only after a while.

use spillway_pool::Input;

use crate::agenda::{C, CoordinatorEv, Ev, N};
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::counts::Occurrence;
use crate::faults::{Fault, Heal};
use crate::say;
use crate::world::World;

/// One of so many new images is bad; one of so many good ones is rolled back all the same.
const BAD: u64 = 3;
const TAKEN_AWAY: u64 = 4;
/// One of so many questions for the image is not answered.
const NOT_TOLD: u64 = 16;

/// The images of a run, and the one that launches take.
#[derive(Debug)]
pub struct Images {
    /// Whether no boot on it succeeds.
    are_bad: Vec<bool>,
    pub current: usize,
}

impl Default for Images {
    fn default() -> Self {
        Images { are_bad: vec![false], current: 0 }
    }
}

impl Images {
    pub fn is_bad(&self, image: usize) -> bool {
        self.are_bad[image]
    }

    fn last_good(&self) -> usize {
        self.are_bad.iter().rposition(|is_bad| !is_bad).unwrap_or(0)
    }
}

/// EC2's id of it.
pub fn name(image: usize) -> String {
    format!("ami-{image}")
}

impl World {
    pub fn image_is_published(&mut self) {
        let images = &mut self.cloud.images;
        let (before, is_bad) = (images.current, self.rng.one_in(BAD));
        images.are_bad.push(is_bad);
        images.current = images.are_bad.len() - 1;
        say!(self, "launches take a new image: {}{}", name(images.current), if is_bad { ", which is bad" } else { "" });
        self.count(if is_bad { Occurrence::NewBadImage } else { Occurrence::NewImage });
        if is_bad || self.rng.one_in(TAKEN_AWAY) {
            let at = self.now + self.rng.octaves(2 * MINUTE, 3 * HOUR);
            self.agenda.put(at, Ev::Heal(Heal::RolledBack(before)));
        }
    }

    /// To a bad one before it as well.
    pub fn image_is_rolled_back(&mut self, to: usize) {
        self.cloud.images.current = to;
        say!(self, "launches take {} again", name(to));
        self.count(Occurrence::RolledBack);
    }

    /// A person has seen to it that launches take a good one.
    pub fn image_is_good(&mut self) {
        if self.cloud.images.is_bad(self.cloud.images.current) {
            let good = self.cloud.images.last_good();
            self.image_is_rolled_back(good);
        }
    }

    /// When lists say which image a new instance is of.
    pub fn image_listed_at(&mut self) -> u64 {
        match self.setup.has(Fault::NewImage) && self.rng.one_in(4) {
            true => self.now + self.rng.octaves(SECOND, 8 * MINUTE),
            false => self.now,
        }
    }

    /// What a list of `as_of` says of its image.
    pub fn listed_image(&self, n: N, as_of: u64) -> Option<String> {
        let machine = &self.cloud.machines[n];
        (self.setup.has(Fault::NewImage) && as_of >= machine.image_listed_at).then(|| name(machine.image))
    }

    /// A leader asks which image launches take.
    pub fn asks_for_image(&mut self, c: C) {
        if !self.setup.has(Fault::NewImage) || !self.coordinators[c].leads() {
            return;
        }
        let at = self.now + self.net.latency(self.now, &mut self.rng) + self.rng.between(20, 2000);
        let is_told = !self.net.ec2[c].is_down(self.now) && (self.is_calm || !self.rng.one_in(NOT_TOLD));
        let image = is_told.then(|| name(self.cloud.images.current));
        self.put_coordinator(c, at, CoordinatorEv::Input(Box::new(Input::LaunchImage(image))));
    }
}
