//! EC2 tells which image launches take. Boots that failed on an image which never ran here say nothing about one that
//! did: the breaker is set aside while launches take that one, and counts again where they take the other once more. It
//! is not forgotten, or a parameter that goes to and fro would boot a bad image on and on.

use crate::launch_image::LaunchImage;
use crate::plan::AlertKind;
use crate::state::State;
use crate::time::Timestamp;

/// None: EC2 did not tell.
pub(super) fn told(state: &mut State, now: Timestamp, answer: Option<String>) {
    let before = state.launch_image.take();
    let told = LaunchImage::told(before.clone(), now, answer);
    let changed_to = told.as_ref().filter(|told| before.is_none_or(|before| before.id != told.id));
    let changed_to = changed_to.map(|image| image.id.clone());
    state.launch_image = told;
    if let Some(image) = changed_to {
        changes(state, now, &image);
    }
}

fn changes(state: &mut State, now: Timestamp, image: &str) {
    let is_proven = state.proven_images.contains(image);
    let failed_on_another = state.never_ran().is_some_and(|never_ran| never_ran.image != image);
    if is_proven && failed_on_another {
        state.breaker_set_aside = Some(state.breaker.reset(now));
        state.alerts.remove(&AlertKind::BootsFail);
    } else if let Some(before) = state.breaker_set_aside.take_if(|it| it.image.as_deref() == Some(image))
        && !is_proven
        && before.open_until >= state.breaker.open_until
    {
        state.breaker = before;
    }
}
