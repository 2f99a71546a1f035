//! Records states as the ledger gets them: `SPILLWAY_RECORD=1 cargo test -p spillway-brain --test scenarios` writes
//! those of all scenarios that together have each field filled and each variant once to
//! `fixtures/states-VERSION.jsonl`, which later versions must read (`tests/ledger.rs`). Done once for a release, and
//! never again for it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::Write as _;

use serde_json::Value;
use spillway_brain::State;

/// Longer texts are sentences.
const LONGEST_VARIANT: usize = 24;

/// States, each with what is filled in it.
type States = Vec<(BTreeSet<String>, Value)>;

thread_local! {
    static STATES: RefCell<Option<States>> = const { RefCell::new(None) };
}

/// From here on states of this thread are kept, if that is asked for.
pub fn begin() {
    if env::var_os("SPILLWAY_RECORD").is_some() {
        STATES.set(Some(Vec::new()));
    }
}

/// A tick has ended with this state.
pub fn saved(state: &State) {
    STATES.with_borrow_mut(|states| {
        let Some(states) = states else { return };
        let value = serde_json::to_value(state).expect("it is written");
        let mut features = BTreeSet::new();
        collect("", &value, &mut features);
        states.push((features, value));
    });
}

/// Writes the fewest states, as far as taking the one that adds most each time finds them.
pub fn end() {
    let Some(mut states) = STATES.take() else { return };
    let mut lines = String::new();
    while let Some(most) = states.iter().max_by_key(|(features, _)| features.len()).cloned() {
        let (features, state) = most;
        if features.is_empty() {
            break;
        }
        lines += &format!("{state}\n");
        for (left, _) in &mut states {
            left.retain(|feature| !features.contains(feature));
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/states-", env!("CARGO_PKG_VERSION"), ".jsonl");
    let written = File::create_new(file).and_then(|mut new| new.write_all(lines.as_bytes()));
    written.unwrap_or_else(|error| panic!("{file}: {error}: a release's states are recorded once, and never changed"));
}

/// The paths of all that is not empty, and the words that may be variants.
fn collect(path: &str, value: &Value, features: &mut BTreeSet<String>) {
    let is_word =
        |text: &str| text.len() <= LONGEST_VARIANT && text.chars().all(|c| c == '-' || c.is_ascii_lowercase());
    match value {
        Value::Null | Value::Bool(false) => return,
        Value::Number(number) if number.as_u64() == Some(0) => return,
        Value::String(text) if text.is_empty() => return,
        Value::String(text) if is_word(text) => drop(features.insert(format!("{path}={text}"))),
        Value::Array(all) => all.iter().for_each(|it| collect(&format!("{path}[]"), it, features)),
        Value::Object(fields) => fields.iter().for_each(|(key, it)| collect(&format!("{path}.{key}"), it, features)),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => {}
    }
    if !path.is_empty() && !matches!(value, Value::Array(_) | Value::Object(_)) {
        features.insert(path.to_owned());
    }
}
