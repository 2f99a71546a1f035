//! A clock that was set: every time that the state keeps moves with it, so that what was left of a deadline still is.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// Moves the times that it keeps by so many milliseconds.
pub(crate) trait Stepped {
    fn step(&mut self, by: i64);
}

impl Stepped for Timestamp {
    fn step(&mut self, by: i64) {
        *self = self.stepped(by);
    }
}

impl<T: Stepped> Stepped for Option<T> {
    fn step(&mut self, by: i64) {
        self.iter_mut().for_each(|it| it.step(by));
    }
}

impl<T: Stepped> Stepped for VecDeque<T> {
    fn step(&mut self, by: i64) {
        self.iter_mut().for_each(|it| it.step(by));
    }
}

impl<T: Stepped> Stepped for Vec<T> {
    fn step(&mut self, by: i64) {
        self.iter_mut().for_each(|it| it.step(by));
    }
}

/// Something, and when it was found.
impl<T> Stepped for (T, Timestamp) {
    fn step(&mut self, by: i64) {
        self.1.step(by);
    }
}
