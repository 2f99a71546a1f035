//! An image on which no instance has become ready here yet: one instance tries it first, whatever is launched and for
//! whatever it is, and the others follow once it is ready. It waits for no longer than until that boot's deadline.

use crate::note::Note;
use crate::plan::Plan;
use crate::state::State;
use crate::time::Timestamp;

/// How many of `wanted` launches may be begun now; the plan says so where that is fewer.
pub(super) fn allows(state: &State, now: Timestamp, wanted: u32, plan: &mut Plan) -> u32 {
    let Some(image) = state.unproven_image() else { return wanted };
    let allowed = wanted.min(u32::from(!is_tried(state, now, image)));
    let note = Note::NewImage { image: image.to_owned() };
    if allowed < wanted && !plan.notes.contains(&note) {
        plan.notes.push(note);
    }
    allowed
}

/// One of it is starting, or may be: EC2 lists a launch only after a while.
fn is_tried(state: &State, now: Timestamp, image: &str) -> bool {
    let may_be_of_it = |of: &Option<String>| of.as_ref().is_none_or(|of| of == image);
    state.instances.iter().any(|instance| instance.is_on_its_way(now) && may_be_of_it(&instance.ec2.image))
}
