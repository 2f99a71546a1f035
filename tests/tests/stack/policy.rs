//! What a policy says to one call, as IAM evaluates it: nothing is allowed that no statement allows, and a denial wins.
//! Knows the parts of the language that our policies use; another one fails the test rather than being ignored.

use std::collections::BTreeMap;

use serde_json::Value;

/// One call as a service authorizes it: an action on one resource, with what the service tells of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub action: String,
    pub resource: String,
    /// By condition key.
    pub context: BTreeMap<String, String>,
    /// Who asks: a kind and an ARN or a name. Compared in trust policies alone.
    pub principal: Option<(&'static str, String)>,
}

const PARTS: [&str; 6] = ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"];

/// Whether these statements allow the call.
pub fn allows(policy: &Value, call: &Call) -> bool {
    let mut is_allowed = false;
    for statement in policy["Statement"].as_array().expect("statements") {
        let object = statement.as_object().expect("a statement");
        let unknown = object.keys().find(|key| !PARTS.contains(&key.as_str()));
        assert!(unknown.is_none(), "the evaluator does not know {unknown:?}: {statement}");
        if !applies(statement, call) {
            continue;
        }
        match statement["Effect"].as_str() {
            Some("Allow") => is_allowed = true,
            Some("Deny") => return false,
            other => panic!("the effect {other:?}"),
        }
    }
    is_allowed
}

fn applies(statement: &Value, call: &Call) -> bool {
    let action = call.action.to_lowercase();
    texts(&statement["Action"]).iter().any(|pattern| is_like(&pattern.to_lowercase(), &action))
        // A trust policy names no resource: it is the role's.
        && (statement["Resource"].is_null()
            || texts(&statement["Resource"]).iter().any(|pattern| is_like(pattern, &call.resource)))
        && (statement["Principal"].is_null() || is_meant(&statement["Principal"], call))
        && statement["Condition"].as_object().is_none_or(|operators| {
            operators.iter().all(|(operator, keys)| {
                keys.as_object().expect("keys").iter().all(|(key, values)| {
                    let given = call.context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
                    holds(operator, &texts(values), given.map(|(_, value)| value.as_str()))
                })
            })
        })
}

/// Of several values one must match, and of a negated operator's none. A key that is not told matches nothing.
fn holds(operator: &str, values: &[&str], given: Option<&str>) -> bool {
    let some = |matches: fn(&str, &str) -> bool| given.is_some_and(|given| values.iter().any(|it| matches(it, given)));
    match operator {
        "StringEquals" => some(|value, given| value == given),
        "StringLike" => some(is_like),
        "ArnEquals" | "ArnLike" => some(is_arn_like),
        "ArnNotEquals" | "ArnNotLike" => !some(is_arn_like),
        "Bool" => some(|value, given| value.eq_ignore_ascii_case(given)),
        "Null" => values == [if given.is_none() { "true" } else { "false" }],
        other => panic!("the evaluator does not know the operator {other}"),
    }
}

fn is_meant(principal: &Value, call: &Call) -> bool {
    let (kind, who) = call.principal.as_ref().expect("a trust policy is asked about somebody");
    let named = texts(&principal[*kind]);
    // The account's root stands for all of the account whom its policies allow it.
    let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
    named.iter().any(|it| it == who || (it.ends_with(":root") && *kind == "AWS" && account(it) == account(who)))
}

/// One text, or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(|it| it.as_str().expect("a text")).collect(),
        Value::Null => Vec::new(),
        other => panic!("{other} instead of a text"),
    }
}

/// `*` is any text, `?` any character.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    let mut star = None;
    while read < text.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, read));
            at += 1;
        } else if pattern.get(at).is_some_and(|it| *it == '?' || *it == text[read]) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((of, from)) = star {
            star = Some((of, from + 1));
            (at, read) = (of + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|it| *it == '*')
}

/// Part by part: a wildcard does not reach across a colon, but in the last part.
fn is_arn_like(pattern: &str, arn: &str) -> bool {
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    patterns.len() == parts.len() && patterns.iter().zip(parts).all(|(pattern, part)| is_like(pattern, part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(context: &[(&str, &str)]) -> Call {
        let context = context.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (action, resource) = ("ec2:RunInstances".to_owned(), "arn:aws:ec2:r:1:instance/i-1".to_owned());
        Call { action, resource, context, principal: None }
    }

    fn with(condition: Value) -> Value {
        json!({ "Statement": [{ "Effect": "Allow", "Action": "ec2:runinst*", "Resource": "*", "Condition": condition }] })
    }

    #[test]
    fn nothing_is_allowed_that_no_statement_allows_and_a_denial_wins() {
        assert!(!allows(&json!({ "Statement": [] }), &call(&[])));
        assert!(allows(&with(json!({})), &call(&[])));
        let mut denied = with(json!({}));
        let denial = json!({ "Effect": "Deny", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:instance/*" });
        denied["Statement"].as_array_mut().expect("a list").push(denial);
        assert!(!allows(&denied, &call(&[])));
    }

    #[test]
    fn a_condition_on_what_is_not_told_holds_for_negated_operators_alone() {
        for (operator, value, equal, other) in [
            ("StringEquals", "a", "a", "A"),
            ("StringLike", "a*c", "abc", "ab"),
            ("ArnEquals", "arn:aws:x:*:1:y/*", "arn:aws:x:r:1:y/z/z", "arn:aws:x:r:r:1:y/z"),
            ("Bool", "true", "True", "false"),
        ] {
            let policy = with(json!({ operator: { "k": value } }));
            assert!(allows(&policy, &call(&[("K", equal)])), "{operator}");
            assert!(!allows(&policy, &call(&[("k", other)])), "{operator}");
            assert!(!allows(&policy, &call(&[])), "{operator}");
        }
        let policy = with(json!({ "ArnNotLike": { "k": ["arn:aws:x:r:1:a", "arn:aws:x:r:1:b"] } }));
        assert!(allows(&policy, &call(&[("k", "arn:aws:x:r:1:c")])) && allows(&policy, &call(&[])));
        assert!(!allows(&policy, &call(&[("k", "arn:aws:x:r:1:b")])));
        assert!(allows(&with(json!({ "Null": { "k": "true" } })), &call(&[])));
        assert!(!allows(&with(json!({ "Null": { "k": "true" } })), &call(&[("k", "")])));
    }

    #[test]
    fn wildcards_match_as_iams_do() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*/x*x", "a/xbx/xcx", true),
            ("arn:*:image/*", "arn:aws:ec2:r::image/ami-1", true),
            ("image/*", "images/1", false),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
    }
}
