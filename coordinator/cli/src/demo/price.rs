//! What the demo's instances would have cost on EC2: an estimate from a dated table.

use std::collections::BTreeMap;

use spillway_emulator::InstanceRecord;

/// When the prices were looked up.
const AS_OF: &str = "November 2026";
const REGION: &str = "us-east-1";

/// Why EC2 bills nothing for an instance.
const NOT_BILLED: &str = "what EC2 interrupts in its first hour is not billed";

/// US dollars an hour, Linux.
struct Price {
    instance_type: &'static str,
    on_demand: f64,
    /// Spot prices move: between these, usually.
    spot: [f64; 2],
}

const PRICES: [Price; 1] = [Price { instance_type: "c6i.xlarge", on_demand: 0.17, spot: [0.05, 0.08] }];

/// One sentence; None where nothing was launched, or a price is not in the table.
pub(super) fn estimate(records: &[InstanceRecord]) -> Option<String> {
    let billed: Vec<_> = records.iter().map(|it| (it.instance_type.as_str(), it.billed_seconds)).collect();
    sentence(&billed)
}

/// Of types and billed seconds: EC2 bills by the second, and 60 of them at least; nothing of what it interrupts in its
/// first hour.
fn sentence(billed: &[(&str, u64)]) -> Option<String> {
    if billed.is_empty() {
        return None;
    }
    let (mut on_demand, mut spot, mut by_type) = (0.0, [0.0; 2], BTreeMap::<&str, (usize, u64)>::new());
    for &(name, seconds) in billed {
        let price = PRICES.iter().find(|price| price.instance_type == name)?;
        let hours = seconds as f64 / 3600.0;
        on_demand += hours * price.on_demand;
        for (sum, price) in spot.iter_mut().zip(price.spot) {
            *sum += hours * price;
        }
        let (count, total) = by_type.entry(name).or_default();
        (*count, *total) = (*count + 1, *total + seconds);
    }
    let types: Vec<String> =
        by_type.iter().map(|(name, (count, seconds))| format!("{count} × {name}, {seconds} s billed")).collect();
    let free = billed.iter().filter(|(_, seconds)| *seconds == 0).count();
    let rule = match free {
        0 => "at least 60 s each".to_owned(),
        free if free == billed.len() => NOT_BILLED.to_owned(),
        1 => format!("at least 60 s each, but for 1: {NOT_BILLED}"),
        free => format!("at least 60 s each, but for {free}: {NOT_BILLED}"),
    };
    Some(format!(
        "cost on EC2, an estimate: ${:.4} to ${:.4} on spot, ${on_demand:.4} on demand ({}, {rule}; prices in {REGION}, \
         {AS_OF})",
        spot[0],
        spot[1],
        types.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_what_is_billed_and_says_that_it_is_an_estimate() {
        let said = sentence(&[("c6i.xlarge", 3600), ("c6i.xlarge", 1800)]).expect("a sentence");
        assert!(said.contains("an estimate: $0.0750 to $0.1200 on spot, $0.2550 on demand"), "{said}");
        assert!(said.contains("2 × c6i.xlarge, 5400 s billed, at least 60 s each; prices"), "{said}");
        assert!(said.contains(AS_OF), "{said}");
        assert_eq!(sentence(&[]), None);
        assert_eq!(sentence(&[("c6i.xlarge", 60), ("m1.ancient", 60)]), None);
    }

    #[test]
    fn what_is_not_billed_is_not_said_to_be_billed_a_minute() {
        let said = |billed: &[u64]| {
            let billed: Vec<_> = billed.iter().map(|seconds| ("c6i.xlarge", *seconds)).collect();
            sentence(&billed).expect("a sentence")
        };
        let none = said(&[0]);
        assert!(
            none.contains("1 × c6i.xlarge, 0 s billed, what EC2 interrupts in its first hour is not billed"),
            "{none}"
        );
        assert!(!none.contains("60 s"), "{none}");
        let one = said(&[0, 75]);
        assert!(one.contains("75 s billed, at least 60 s each, but for 1: what EC2 interrupts"), "{one}");
        assert!(said(&[0, 75, 0]).contains("but for 2: what EC2"));
    }
}
