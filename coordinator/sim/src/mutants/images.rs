//! Bugs in how a new image is tried: brain.

use super::list::{Mutant, Shown, bug};

pub const MUTANTS: &[Mutant] = &[
    bug(
        "image-tried-by-all",
        "as many instances as are desired try an image that has not run here",
        "coordinator/brain/src/capacity/new_image.rs",
        "wanted.min(u32::from(!is_tried(state, now, image)))",
        "wanted.min(u32::from(!is_tried(state, now, image)) + wanted)",
    ),
    bug(
        "image-proven-by-its-launch",
        "an image has run here once EC2 has accepted an instance of it",
        "coordinator/brain/src/controller/listing.rs",
        "filter(|_| instance.has_been_ready())",
        "filter(|_| instance.accepted_at.is_some())",
    ),
    bug(
        "image-unlisted-is-none",
        "a launch whose image EC2 does not list yet is not taken for the one that tries it",
        "coordinator/brain/src/capacity/new_image.rs",
        "of.as_ref().is_none_or(|of| of == image)",
        "of.as_ref().is_some_and(|of| of == image)",
    ),
    bug(
        "image-replacements-beside",
        "replacements are launched beside the instance that tries an image",
        "coordinator/brain/src/capacity/rebalance.rs",
        " || new_image::allows(state, now, 1, plan) == 0",
        "",
    ),
    bug(
        "image-drills-beside-it",
        "a drill launches beside the instance that tries an image",
        "coordinator/brain/src/capacity/drill.rs",
        "new_image::allows(state, now, begun, plan)",
        "begun",
    ),
    bug(
        "image-trial-ends-unread",
        "what launches take cannot be read once, and the trial of the image is over",
        "coordinator/brain/src/state/queries.rs",
        "self.launch_image.as_ref().map(|image| image.id.as_str())",
        "self.launch_image.as_ref().filter(|image| image.is_known).map(|image| image.id.as_str())",
    )
    .shown_by(Shown::Scenario("image/a_new_image")),
    bug(
        "image-never-proven",
        "an image on which an instance became ready is tried on and on",
        "coordinator/brain/src/state/queries.rs",
        "image.filter(|image| !self.proven_images.contains(image))",
        "image.filter(|image| !image.is_empty())",
    )
    .shown_by(Shown::Scenario("image/a_new_image")),
    bug(
        "image-breaker-stays",
        "the breaker of an image that never ran here keeps launches of a proven one back",
        "coordinator/brain/src/controller/launch_image.rs",
        "if is_proven && failed_on_another {",
        "if is_proven && failed_on_another && state.breaker.failures == 0 {",
    )
    .shown_by(Shown::Scenario("image/failed_boots")),
    bug(
        "image-breaker-forgotten",
        "a parameter that goes to and fro has a bad image tried again at once",
        "coordinator/brain/src/controller/launch_image.rs",
        "        state.breaker = before;\n",
        "",
    )
    .shown_by(Shown::Scenario("image/failed_boots")),
    bug(
        "image-breaker-closed-by-a-new-one",
        "another image that never ran here closes the breaker too",
        "coordinator/brain/src/controller/launch_image.rs",
        "if is_proven && failed_on_another {",
        "if failed_on_another {",
    )
    .shown_by(Shown::Scenario("image/failed_boots")),
    bug(
        "image-blamed-for-others",
        "failed boots of several images are all told as of the last one",
        "coordinator/brain/src/breaker.rs",
        "is_first || self.image.as_ref() == Some(image)",
        "is_first || self.image.as_ref() != Some(image) || self.failures > 0",
    )
    .shown_by(Shown::Scenario("image/failed_boots")),
];
