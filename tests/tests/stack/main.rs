//! `ami/stack.yaml`, the CloudFormation stack that an operator deploys: within its limits, judged by cfn-lint and
//! cfn-guard, created, updated and deleted at moto. Nothing here has run against AWS, and moto ignores the conditions
//! of policies: what they permit is evaluated here, call by call, as moto resolved them.
//!
//! ```text
//!   stack.yaml ──► moto ──► policies ──► evaluator ◄── table of calls (coordinator_calls, bake_calls)
//!                                            ▲
//!                        mutants: a policy with one part less; each must change a row of the table
//! ```

mod account;
mod bake_calls;
mod calls;
mod coordinator_calls;
mod guard;
mod keys;
mod launched;
mod life;
mod mutants;
mod policy;
mod table;
mod template;
