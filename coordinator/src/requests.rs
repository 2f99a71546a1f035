//! What operators ask of the pools' loops, whoever passes it on: gRPC, or the page.

use spillway_pool::{Denied, Granted, Wish};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::pools::PoolList;
use crate::reconcile::{Message, PoolHandle, Request};

/// Why a request was not granted.
#[derive(Debug, Error)]
pub enum Rejected {
    #[error("no pool \"{name}\" here: the pools are {known}")]
    NoPool { name: String, known: String },
    #[error("no instance {0} here: `spillway status --all` lists them")]
    NoInstance(String),
    #[error("{0}")]
    Denied(Denied),
    #[error("the coordinator is stopping")]
    Stopping,
}

/// The pool of this name, or all pools if it is empty.
pub fn pools(list: &PoolList, name: &str) -> Result<Vec<PoolHandle>, Rejected> {
    let shown = list.shown();
    let known: Vec<String> = shown.iter().map(|pool| pool.name.clone()).collect();
    let found: Vec<PoolHandle> = shown.into_iter().filter(|pool| name.is_empty() || pool.name == name).collect();
    if found.is_empty() {
        return Err(Rejected::NoPool { name: name.to_owned(), known: known.join(", ") });
    }
    Ok(found)
}

/// The pool that has this instance.
pub fn pool_of(list: &PoolList, id: &str) -> Result<PoolHandle, Rejected> {
    let has = |pool: &PoolHandle| pool.status.borrow().view.instances.iter().any(|instance| instance.id == id);
    list.shown().into_iter().find(has).ok_or_else(|| Rejected::NoInstance(id.to_owned()))
}

/// Sends a request to the pool's loop. Returns what will happen.
pub async fn request(pool: &PoolHandle, by: String, wish: Wish) -> Result<Granted, Rejected> {
    // A standby's loop may take a while to answer.
    if !pool.status.borrow().leading {
        return Err(Rejected::Denied(Denied::NotTheLeader));
    }
    let (reply, answer) = oneshot::channel();
    pool.messages.send(Message::Operator(Request { wish, by }, reply)).await.map_err(|_| Rejected::Stopping)?;
    answer.await.map_err(|_| Rejected::Stopping)?.map_err(Rejected::Denied)
}

/// The same of each pool of this name, or of all: a sentence for each.
pub async fn request_of_all(list: &PoolList, name: &str, by: &str, wish: &Wish) -> Result<String, Rejected> {
    let mut answers = Vec::new();
    for pool in pools(list, name)? {
        let answer = request(&pool, by.to_owned(), wish.clone()).await?;
        answers.push(format!("{}: {answer}", pool.name));
    }
    Ok(answers.join("\n"))
}

/// Who asked for it and why, for `spillway explain`.
pub fn signed(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("by {by}") } else { format!("{reason}, by {by}") }
}
