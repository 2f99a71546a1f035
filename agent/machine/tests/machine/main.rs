//! The machine in a world that the tests write: events at times, and the actions and phases that must follow.

mod dead_man;
mod hand_back;
mod life;
mod world;
