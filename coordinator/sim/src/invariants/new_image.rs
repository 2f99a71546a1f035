//! One instance tries an image on which none has been ready: told a second time, by the image that each instance truly
//! has, and by the readiness that agents have reported.

use spillway_brain::AgentPhase;
use spillway_pool::{FromAgent, Input};

use super::Invariant;
use crate::agenda::{C, N};
use crate::coordinator::number;
use crate::counts::Occurrence;
use crate::world::World;

impl World {
    /// Records which images were told to be launched from, and of which an instance was ready.
    pub(super) fn note_image(&mut self, c: C, input: &Input) {
        let (now, machines) = (self.local(c), &self.cloud.machines);
        let coordinator = &mut self.coordinators[c];
        for shadow in std::iter::once(&mut coordinator.shadow).chain(&mut coordinator.before_save) {
            match input {
                Input::LaunchImage(Some(image)) => {
                    let number = image.strip_prefix("ami-").and_then(|number| number.parse().ok());
                    number.into_iter().for_each(|number| shadow.takes_image(now, number));
                }
                Input::FromAgent(_, FromAgent::Reported(report)) if report.phase == AgentPhase::Ready => {
                    let image = machines.get(number(&report.id)).map(|machine| machine.image);
                    shadow.ready_images.extend(image.filter(|_| report.proven));
                }
                _ => {}
            }
        }
    }

    /// With `launches` new ones in a plan there is one instance of such an image at the most that starts.
    pub(super) fn check_new_image(&mut self, c: C, launches: usize) {
        let (shadow, state, now) = (&self.coordinators[c].shadow, self.coordinators[c].state(), self.pool_time(c));
        let Some(image) = shadow.launch_image.filter(|image| !shadow.ready_images.contains(image)) else { return };
        // The plan's own launches are among those that have no id.
        let is_of_it = |n: N| self.cloud.machines.get(n).is_none_or(|machine| machine.image == image);
        let starting = state.instances().filter(|it| it.is_on_its_way(now));
        let starting = starting.filter(|it| it.id.as_ref().is_none_or(|id| is_of_it(number(id)))).count();
        self.count(Occurrence::ImageTried);
        if starting > 1 {
            let text = format!("{launches} launches, and {starting} instances of ami-{image} start, which has not run");
            self.violate(Invariant::OneTriesAnImage, text);
        }
    }
}
