//! What counts as a credential that an image must not have, by the name of its variable or by its shape. Owns the
//! rules; reads no file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use spillway_settings::dotenv;

/// A credential in a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// From 1.
    pub line: usize,
    /// Of its variable.
    pub name: String,
    /// For the reader.
    pub what: &'static str,
}

const AWS: &str = "AWS credentials";
const COORDINATOR: &str = "a secret of the coordinator's";
/// What a finding is called that no variable names.
const ACCESS_KEY: &str = "an access key id";

/// Ends of the names that have `AWS` in them. Not merely `SECRET`: `AWS_SECRET_NAME` names a secret elsewhere.
const AWS_ENDS: [&str; 10] = [
    "ACCESS_KEY",
    "ACCESS_KEY_ID",
    "SECRET_KEY",
    "AWS_SECRET",
    "AWS_KEY",
    "AWS_KEY_ID",
    "SESSION_TOKEN",
    "SECURITY_TOKEN",
    "AUTHORIZATION_TOKEN",
    "BEARER_TOKEN_BEDROCK",
];
const COORDINATOR_TOKENS: [&str; 2] = ["SPILLWAY_GRPC_JOIN_TOKEN", "SPILLWAY_JOIN_TOKEN"];
const COORDINATOR_URLS: [&str; 2] = ["SPILLWAY_LEDGER_URL", "SPILLWAY_REDIS_URL"];

/// What this variable is, if it should not be in an image.
pub fn in_variable(name: &str, value: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let is_aws = upper.contains("AWS") && AWS_ENDS.iter().any(|end| upper.ends_with(end));
    let is_coordinators = COORDINATOR_TOKENS.contains(&upper.as_str())
        || COORDINATOR_URLS.contains(&upper.as_str()) && value.contains('@');
    let is_literal = !value.trim().is_empty() && (is_key(value) || spillway_settings::in_value(value).is_none());
    match () {
        () if has_access_key(value) || is_aws && is_literal => Some(AWS),
        () if is_coordinators && is_literal => Some(COORDINATOR),
        () => None,
    }
}

/// The variables that bun finds in such a file.
pub fn variables(text: &[u8]) -> BTreeMap<String, String> {
    dotenv::parse(text, &BTreeMap::new())
}

/// A credential that an environment file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub secret: Secret,
    pub assignment: dotenv::Assignment,
    /// Variables of the same file from which it has its value: they hold the credential.
    pub sources: Vec<String>,
}

/// Of an environment file: also what a later line overrides, since it stands there all the same.
pub fn assigned(text: &[u8], is_sample: bool) -> Vec<Assigned> {
    let expanded = variables(text);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = dotenv::assignments(text).into_iter().filter_map(|it| {
        let (name, value) = (lossy(&it.name), lossy(&it.value));
        let values = [Some(&value), expanded.get(&name)];
        let mut meant = values.into_iter().flatten().filter(|value| !(is_sample && is_example(value)));
        let what = meant.find_map(|value| in_variable(&name, value))?;
        let sources = it.references().into_iter().map(lossy);
        let sources = sources.filter(|it| *it != name && expanded.contains_key(it)).collect();
        Some(Assigned { secret: Secret { line: it.line, name, what }, assignment: it, sources })
    });
    found.collect()
}

/// The same, without where it stands.
pub fn in_environment(text: &[u8], is_sample: bool) -> BTreeSet<Secret> {
    assigned(text, is_sample).into_iter().map(|it| it.secret).collect()
}

/// Of any other text: a script, a unit, a configuration, comments. One assignment a line is looked for.
pub fn in_text(text: &[u8], is_sample: bool) -> BTreeSet<Secret> {
    let text = String::from_utf8_lossy(text);
    let mut found = BTreeSet::new();
    for (line, number) in text.lines().zip(1..) {
        let mut is_named = false;
        for (name, value) in literals(line) {
            if is_sample && is_example(value) {
                continue;
            }
            if let Some(what) = in_variable(name, value) {
                is_named = true;
                found.insert(Secret { line: number, name: name.to_owned(), what });
            }
        }
        if !is_named && has_access_key(line) && !(is_sample && is_example(line)) {
            found.insert(Secret { line: number, name: ACCESS_KEY.to_owned(), what: AWS });
        }
    }
    found
}

/// Documentation or an example, where AWS's own example keys are none.
pub fn is_sample(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ["example", "sample", "template", "dist"].iter().any(|part| name.contains(part))
        || ["md", "txt", "rst"].iter().any(|end| path.extension().is_some_and(|it| it == *end))
}

fn is_example(value: &str) -> bool {
    value.contains("EXAMPLE")
}

/// `NAME=value`, `NAME = value`, `NAME: 'value'`, `"NAME": "value"`: a quoted value, one that a shell, a unit or AWS's
/// own file sets, or one that looks like a key rather than like an expression.
fn literals(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices(['=', ':']).filter_map(|(at, operator)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'', '`', ']']);
        let name =
            before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().filter(|it| !it.is_empty())?;
        let rest = line[at + 1..].trim_start();
        let (value, is_quoted) = match rest.chars().next()? {
            quote @ ('"' | '\'' | '`') => (rest[1..].split(quote).next()?, true),
            _ => (rest.split(|c: char| c.is_whitespace() || ",;}\"'#".contains(c)).next()?, false),
        };
        let has_no_blanks = operator == "=" && rest.len() == line.len() - at - 1 && before.len() == at;
        let is_assigned = has_no_blanks || name.starts_with("aws_") || is_quoted || is_key(value);
        (is_assigned && !value.starts_with('$')).then_some((name, value))
    })
}

/// The alphabet of AWS's keys, and a digit, which the name of a variable seldom has.
fn is_key(value: &str) -> bool {
    value.len() >= 16
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+=".contains(&byte))
        && value.bytes().any(|byte| byte.is_ascii_digit())
}

/// An access key id of a user (`AKIA`) or of a session (`ASIA`), wherever it stands.
fn has_access_key(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        word.len() == 20
            && ["AKIA", "ASIA"].iter().any(|start| word.starts_with(start))
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}
