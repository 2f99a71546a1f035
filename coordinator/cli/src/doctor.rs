//! `spillway doctor`: what `spillway run` rests on, looked at one by one.

use std::path::Path;

use serde_json::json;
use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::doctor::{self, Finding, Level};
use spillway_output::outln;
use spillway_words::shown::visible_line;

/// An id and what it is about.
const COLUMN: usize = 36;

/// Prints each finding as soon as it is known.
///
/// # Errors
/// Something does not work.
pub(super) async fn doctor(file: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let mut found: Vec<Finding> = Vec::new();
    let mut say = |finding: Finding| {
        if !as_json {
            print(&finding);
        }
        found.push(finding);
    };
    match config::load(file, &config::process_environment(), Needs::Everything) {
        Ok(settings) => doctor::examine(&settings, &mut say).await,
        Err(error) => say(doctor::unusable(&error)),
    }
    let count = |level: Level| found.iter().filter(|finding| finding.level == level).count();
    let (ok, warned, failed) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    if as_json {
        outln!("{}", json!({ "ok": failed == 0, "findings": found }));
    } else {
        outln!("\n{ok} ok, {warned} to know, {failed} to mend");
    }
    anyhow::ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}

fn print(finding: &Finding) {
    let word = match finding.level {
        Level::Ok => "ok  ",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    };
    let subject = finding.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
    let about = visible_line(&format!("{}{subject}", finding.id));
    outln!("{word}  {about:<COLUMN$} {}", visible_line(&finding.detail));
    if let Some(remedy) = &finding.remedy {
        outln!("      {:COLUMN$} {}", "", visible_line(remedy));
    }
}
