//! A pool by what goes in and what comes out: saved before done, undone where it was not saved, one leader, looks in
//! their time, answers to operators and agents.

mod clock;
mod doors;
mod leadership;
mod record;
mod save;
mod schedule;
mod support;
