//! `spillway notify --test`: whether messages arrive.

use std::path::Path;

use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::notify;
use spillway_output::outln;

pub(super) async fn test(file: Option<&Path>) -> anyhow::Result<()> {
    let settings = config::load(file, &config::process_environment(), Needs::Everything)?;
    let answer = notify::test(&settings).await?;
    outln!("the webhook took a test message: {answer}");
    Ok(())
}
