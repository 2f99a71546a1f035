//! The table of EC2's error codes: `codes.txt`, read once.

use std::collections::HashMap;
use std::sync::LazyLock;

use spillway_brain::RefusalClass;

const TEXT: &str = include_str!("codes.txt");

static TABLE: LazyLock<HashMap<&str, RefusalClass>> =
    LazyLock::new(|| entries(TEXT).filter_map(|entry| Some((entry.code, entry.class?))).collect());

/// One code of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    section: &'a str,
    code: &'a str,
    /// None where the text names a class that does not exist.
    class: Option<RefusalClass>,
}

/// The class of a code that the table has; `Client.` and `Server.` before it count as part of no code.
pub(super) fn class_of(code: &str) -> Option<RefusalClass> {
    let code = code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    TABLE.get(code).copied()
}

fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(move |line| {
        if let Some(title) = line.strip_prefix('[') {
            section = title.trim_end_matches(']');
            return Vec::new();
        }
        let (class, codes) = line.split_once(':').unwrap_or(("", line));
        codes.split_whitespace().map(|code| Entry { section, code, class: class_named(class) }).collect()
    })
}

fn class_named(name: &str) -> Option<RefusalClass> {
    Some(match name {
        "retry" => RefusalClass::Retry,
        "capacity" => RefusalClass::Capacity,
        "quota" => RefusalClass::Quota,
        "permission" => RefusalClass::Permission,
        "configuration" => RefusalClass::Configuration,
        "token_used" => RefusalClass::TokenUsed,
        "token_ended" => RefusalClass::TokenEnded,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The documentation's sections, with how many codes each lists, and ours.
    const SECTIONS: [(&str, usize); 4] = [
        ("Common client error codes", 28),
        ("Client error codes for specific actions", 376),
        ("Server error codes", 13),
        ("Not in AWS's lists: what EC2, other services' front ends and SDKs are known to answer", 22),
    ];

    /// Names that say what they are. The others are judged one by one, and stand in the table's head where that
    /// surprises.
    fn class_by_name(code: &str) -> Option<&'static [RefusalClass]> {
        use RefusalClass::{Capacity, Configuration, Quota, Retry};
        let is = |ends: &[&str]| ends.iter().any(|end| code.ends_with(end));
        match code {
            // EC2 has not heard of a new instance everywhere at once.
            "InvalidInstanceID.NotFound" => Some(&[Retry]),
            // A rate, in spite of its name; the other is a server's.
            "RequestLimitExceeded" | "BandwidthLimitExceeded" => Some(&[Retry]),
            _ if code.contains("Throttl") => Some(&[Retry]),
            _ if is(&["LimitExceeded", "LimitExceededException", "CountExceeded"]) => Some(&[Quota, Configuration]),
            _ if code.starts_with("Insufficient") => Some(&[Capacity]),
            _ if is(&["NotFound", "Malformed", "NotFoundException", "MalformedException", "Duplicate", "InUse"]) => {
                Some(&[Configuration])
            }
            _ if code.starts_with("InvalidParameter") => Some(&[Configuration]),
            _ => None,
        }
    }

    #[test]
    fn every_documented_code_has_its_class() {
        let all: Vec<Entry<'_>> = entries(TEXT).collect();
        let codes: BTreeSet<&str> = all.iter().map(|entry| entry.code).collect();
        assert_eq!(codes.len(), all.len(), "a code stands twice in the table");
        for (section, count) in SECTIONS {
            assert_eq!(all.iter().filter(|entry| entry.section == section).count(), count, "{section}");
        }
        assert_eq!(all.len(), SECTIONS.iter().map(|(_, count)| count).sum::<usize>(), "codes outside of a section");
        for Entry { code, class, .. } in all {
            let class = class.unwrap_or_else(|| panic!("{code} has no class, or one that does not exist"));
            assert_ne!(class, RefusalClass::Unknown, "{code}");
            if let Some(allowed) = class_by_name(code) {
                assert!(allowed.contains(&class), "{code} is {class:?}, but its name says {allowed:?}");
            }
            for spelt in [code.to_owned(), format!("Client.{code}"), format!("Server.{code}")] {
                assert_eq!(class_of(&spelt), Some(class), "{spelt}");
            }
        }
    }

    /// A server's error is nothing that the operator has done.
    #[test]
    fn server_errors_are_retried_or_lack_of_capacity() {
        for Entry { code, class, section } in entries(TEXT).filter(|entry| entry.section == "Server error codes") {
            assert!(matches!(class, Some(RefusalClass::Retry | RefusalClass::Capacity)), "{section}: {code}");
        }
    }
}
