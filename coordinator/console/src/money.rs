//! What a pool costs, in words.

use spillway_proto::v1;

/// `$0.0712`, `$12.40`, `$1,204`: as many digits as matter.
pub fn dollars(amount: f64) -> String {
    match amount {
        0.0 => "$0".to_owned(),
        ..0.1 => format!("${amount:.4}"),
        ..1000.0 => format!("${amount:.2}"),
        _ => format!("${}", in_thousands(amount)),
    }
}

/// `1,204`.
fn in_thousands(amount: f64) -> String {
    let digits = format!("{amount:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line: the last hour, day and month, beside what else the month would have cost; or why it is unknown. None where
/// nothing ran in the month.
pub fn line(money: &v1::Money) -> Option<String> {
    let ran = money.month.as_ref().and_then(|month| month.instance_time.as_ref());
    ran.filter(|time| time.seconds > 0).map(|_| spent(money))
}

fn spent(money: &v1::Money) -> String {
    let known = |period: &Option<v1::MoneyPeriod>| period.as_ref().and_then(|it| it.dollars);
    let unknown = || format!("unknown: {}", money.why_unknown);
    let (Some(hour), Some(day), Some(month)) = (known(&money.hour), known(&money.day), known(&money.month)) else {
        return unknown();
    };
    let whole = money.month.as_ref();
    let beside = [(whole.and_then(|it| it.on_demand), "on demand"), (whole.and_then(|it| it.left_on), "left on")];
    let beside: Vec<String> =
        beside.iter().filter_map(|(sum, what)| sum.map(|sum| format!("{} {what}", dollars(sum)))).collect();
    let beside = if beside.is_empty() { String::new() } else { format!(" ({})", beside.join(", ")) };
    let sums = [(hour, "in the last hour"), (day, "in 24 h"), (month, "in 30 d")];
    let sums: Vec<String> = sums.iter().map(|(sum, what)| format!("{} {what}", dollars(*sum))).collect();
    let why = if money.why_unknown.is_empty() { String::new() } else { format!("; {}", money.why_unknown) };
    format!("{}{beside}{why}", sums.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_have_as_many_digits_as_matter() {
        let words = [0.0, 0.00214, 0.0999, 0.1, 12.4, 999.994, 1204.4, 1_234_567.0].map(dollars);
        assert_eq!(words, ["$0", "$0.0021", "$0.0999", "$0.10", "$12.40", "$999.99", "$1,204", "$1,234,567"]);
    }

    #[test]
    fn the_line_has_the_alternatives_and_unknown_is_said_to_be_unknown() {
        let period = |dollars| Some(v1::MoneyPeriod { dollars: Some(dollars), ..v1::MoneyPeriod::default() });
        let month = Some(v1::MoneyPeriod {
            dollars: Some(10.5),
            on_demand: Some(29.0),
            left_on: Some(244.8),
            instance_time: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..v1::MoneyPeriod::default()
        });
        let mut money = v1::Money { hour: period(0.0), day: period(0.0712), month, ..v1::Money::default() };
        let words = |money: &v1::Money| line(money).expect("something ran");
        assert_eq!(
            words(&money),
            "$0 in the last hour, $0.0712 in 24 h, $10.50 in 30 d ($29.00 on demand, $244.80 left on)"
        );
        money.why_unknown = "EC2's spot prices cannot be read: UnauthorizedOperation".to_owned();
        assert!(words(&money).ends_with("; EC2's spot prices cannot be read: UnauthorizedOperation"));
        money.day = Some(v1::MoneyPeriod::default());
        assert_eq!(words(&money), "unknown: EC2's spot prices cannot be read: UnauthorizedOperation");
        assert_eq!(line(&v1::Money::default()), None, "nothing ran");
    }
}
