//! Whether the file's keys exist, and whether each value is of the kind that its key takes: in our words, before serde
//! sees it.

use toml::{Table, Value};

use super::keys::{self, Kind};

/// What is wrong at a path such as `pool[0].interval`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    Unknown { path: String },
    Bad { path: String, detail: String },
}

/// The first value that does not fit.
pub(super) fn misfit(table: &Table) -> Option<Misfit> {
    in_table(table, "")
}

fn in_table(table: &Table, path: &str) -> Option<Misfit> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    table.iter().find_map(|(name, value)| in_value(value, below(name)))
}

fn in_value(value: &Value, path: String) -> Option<Misfit> {
    let key = keys::without_indexes(&path);
    if key == "pool" {
        return in_pools(value, path);
    }
    match keys::kind_of(&key) {
        Some(kind) => in_setting(value, kind, path),
        None if keys::sections().any(|section| section == key) => match value {
            Value::Table(table) => in_table(table, &path),
            _ => Some(Misfit::Bad { path, detail: format!("is {}, and must be a section: write [{key}]", a(value)) }),
        },
        None => Some(Misfit::Unknown { path }),
    }
}

fn in_pools(value: &Value, path: String) -> Option<Misfit> {
    let bad = |path: String, detail: &str| Some(Misfit::Bad { path, detail: detail.to_owned() });
    match value {
        Value::Array(pools) => pools.iter().enumerate().find_map(|(index, pool)| match pool {
            Value::Table(table) => in_table(table, &format!("{path}[{index}]")),
            _ => bad(format!("{path}[{index}]"), "is not a section: write [[pool]] on a line of its own"),
        }),
        Value::Table(_) => {
            bad(path, "is written as one section, and there can be several pools: write [[pool]] instead of [pool]")
        }
        _ => bad(path, "is not a section: write [[pool]] on a line of its own"),
    }
}

fn in_setting(value: &Value, kind: Kind, path: String) -> Option<Misfit> {
    let detail = match kind {
        Kind::Text => text(value),
        Kind::Span => span(value),
        Kind::Number => number(value),
        Kind::Fraction => fraction(value),
        Kind::Flag => flag(value),
        Kind::List => list(value),
        Kind::Toml if path.ends_with(".tags") => return tags(value, path),
        Kind::Toml if path.starts_with("prices.") => return prices(value, path),
        Kind::Toml if path.ends_with(".slots") => slots(value),
        Kind::Toml if path.ends_with(".floor") => return floor(value, path),
        Kind::Toml => return steps(value, path),
    };
    detail.map(|detail| Misfit::Bad { path, detail })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(_) => None,
        Value::Array(_) | Value::Table(_) => Some(format!("is {}, and must be a text: write it in quotes", a(value))),
        other => Some(format!("{other} is not in quotes: write \"{other}\"")),
    }
}

fn span(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => spillway_settings::duration(text).err(),
        Value::Integer(n) => {
            Some(format!("{n} has no unit: write \"{n}s\" for seconds, \"{n}m\" for minutes, with the quotes"))
        }
        other => Some(format!("is {}, and must be a duration: write \"90s\", \"5m\" or \"2h\"", a(other))),
    }
}

fn number(value: &Value) -> Option<String> {
    match value {
        Value::Integer(n) if *n < 0 => Some(format!("{n} is below 0: write a whole number")),
        Value::Integer(n) if *n > i64::from(u32::MAX) => Some(format!("{n} is too large: write a smaller number")),
        Value::Integer(_) => None,
        Value::String(text) if text.trim().parse::<u32>().is_ok() => {
            Some(format!("\"{text}\" is in quotes: write {} without them", text.trim()))
        }
        other => Some(format!("is {}, and must be a whole number: write it without quotes", a(other))),
    }
}

fn fraction(value: &Value) -> Option<String> {
    match value {
        Value::Float(_) | Value::Integer(_) => None,
        Value::String(text) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("\"{text}\" is in quotes: write {} without them", text.trim()))
        }
        other => Some(format!("is {}, and must be a number: write 0.95, for example", a(other))),
    }
}

/// More jobs than one instance runs at a time.
const MOST_SLOTS: i64 = 10_000;

fn slots(value: &Value) -> Option<String> {
    const WRITE: &str = "write slots = \"measured\", or how many jobs an instance runs at a time, such as slots = 4";
    match value {
        Value::String(text) if text == "measured" => None,
        Value::Integer(n) if (1..=MOST_SLOTS).contains(n) => None,
        Value::Integer(n) => Some(format!("{n} is not between 1 and {MOST_SLOTS}: {WRITE}")),
        Value::String(text) => Some(format!("\"{text}\" is no number of jobs: {WRITE}")),
        other => Some(format!("is {}, and must be a whole number: {WRITE}", a(other))),
    }
}

fn flag(value: &Value) -> Option<String> {
    match value {
        Value::Boolean(_) => None,
        other => Some(format!("is {}, and must be true or false: write it without quotes", a(other))),
    }
}

fn list(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            let other = items.iter().find(|item| !item.is_str())?;
            Some(format!("has {} in its list: write each in quotes, [\"one\", \"two\"]", a(other)))
        }
        Value::String(text) => {
            let items: Vec<String> = text.split(',').map(|item| format!("\"{}\"", item.trim())).collect();
            Some(format!("is a text, and must be a list: write [{}]", items.join(", ")))
        }
        other => Some(format!("is {}, and must be a list: write [\"one\", \"two\"]", a(other))),
    }
}

fn tags(value: &Value, path: String) -> Option<Misfit> {
    let write = "write tags = { team = \"video\" }";
    let Value::Table(table) = value else {
        return Some(Misfit::Bad { path, detail: format!("is {}, and must be a table of texts: {write}", a(value)) });
    };
    let (name, value) = table.iter().find(|(_, value)| !value.is_str())?;
    let detail = format!("is {}, and must be a text: {write}", a(value));
    Some(Misfit::Bad { path: format!("{path}.{name}"), detail })
}

/// More than any instance costs.
const MOST_DOLLARS: f64 = 1000.0;

fn prices(value: &Value, path: String) -> Option<Misfit> {
    let write =
        format!("write {} = {{ \"c6i.xlarge\" = 0.17 }}, in dollars an hour", path.trim_start_matches("prices."));
    let Value::Table(table) = value else {
        return Some(Misfit::Bad { path, detail: format!("is {}, and must be a table of prices: {write}", a(value)) });
    };
    table.iter().find_map(|(name, value)| {
        let price = match value {
            Value::Float(price) => Some(*price),
            Value::Integer(price) => i32::try_from(*price).ok().map(f64::from),
            _ => None,
        };
        let detail = match price {
            _ if !is_type(name) => format!("is not an instance type, such as \"c6i.xlarge\", in quotes: {write}"),
            None => format!("is {}, and must be a number: {write}", a(value)),
            Some(price) if (0.0..=MOST_DOLLARS).contains(&price) => return None,
            Some(price) => format!("{price} is no price between 0 and {MOST_DOLLARS}: {write}"),
        };
        Some(Misfit::Bad { path: format!("{path}.{name}"), detail })
    })
}

/// `c6i.xlarge`, `u-6tb1.112xlarge`.
fn is_type(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
    };
    name.split_once('.').is_some_and(|(family, size)| is_part(family) && is_part(size))
}

fn steps(value: &Value, path: String) -> Option<Misfit> {
    const WRITE: &str = "write steps = [{ jobs = 5, for = \"5m\", instances = 1 }]";
    tables(value, path, (&["jobs", "for", "instances"], "a step", WRITE))
}

fn floor(value: &Value, path: String) -> Option<Misfit> {
    const WRITE: &str =
        "write floor = [{ cron = \"0 8 * * MON-FRI\", for = \"10h\", timezone = \"Europe/Berlin\", instances = 1 }]";
    tables(value, path, (&["cron", "for", "instances"], "a schedule", WRITE))
}

/// A list of tables, each with these keys.
fn tables(value: &Value, path: String, (keys, one, write): (&[&str], &str, &str)) -> Option<Misfit> {
    let bad = |path: String, what: &str| Some(Misfit::Bad { path, detail: format!("{what}: {write}") });
    let Value::Array(items) = value else { return bad(path, &format!("is {}, and must be a list", a(value))) };
    items.iter().enumerate().find_map(|(index, item)| {
        let path = format!("{path}[{index}]");
        let Value::Table(table) = item else { return bad(path, &format!("is {}, and must be {one}", a(item))) };
        let missing = keys.iter().find(|key| !table.contains_key(**key));
        in_table(table, &path).or_else(|| missing.and_then(|key| bad(path, &format!("has no \"{key}\""))))
    })
}

/// The kind of a value, with its article.
fn a(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
