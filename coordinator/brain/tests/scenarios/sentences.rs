//! Which kinds of reasons and notes the scenarios have said: a sentence that no scenario says could be wrong, and
//! nobody would see it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

thread_local! {
    static SAID: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// The name of a variant, as the ledger has it.
pub fn kind(of: &impl Serialize) -> String {
    match serde_json::to_value(of).expect("it is written") {
        Value::String(name) => name,
        Value::Object(fields) => fields.into_iter().next().map(|(name, _)| name).unwrap_or_default(),
        other => panic!("{other} is no variant"),
    }
}

/// A scenario's file has a sentence of this kind.
pub fn is_said(kind: &str) {
    SAID.with_borrow_mut(|said| said.insert(kind.to_owned()));
}

/// The variants of an enum, by its source, that no scenario of this thread has said.
pub fn unsaid(source: &str, name: &str) -> Vec<String> {
    let body = source.split(&format!("pub enum {name} {{\n")).nth(1).expect("the enum");
    let body = body.split("\n}\n").next().expect("its end");
    // Variants are indented once, their fields twice.
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    let names = variants.map(|line| snake(line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()));
    SAID.with_borrow(|said| names.filter(|name| !said.contains(name)).collect())
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
