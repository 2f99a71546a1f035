//! The coordinator of Spillway: observes the queues and EC2, lets the brain decide, acts, and answers agents and people.

pub mod clock;
pub mod config;
pub mod queue;
pub mod redis_client;
