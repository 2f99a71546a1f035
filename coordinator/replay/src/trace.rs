//! Arrivals: when each job became ready to run, and how long it took.

use thiserror::Error;

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// When it was ready to run, in milliseconds from the beginning of the trace.
    pub arrival: u64,
    /// How long it takes once it runs, in milliseconds.
    pub duration: u64,
}

/// What is wrong with a trace.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WrongTrace {
    #[error("it is empty: write a line arrival_s,duration_s and one line for each job")]
    Empty,
    #[error("line 1: the columns are \"{found}\", and must be arrival_s,duration_s")]
    Columns { found: String },
    #[error("line {line}: \"{text}\" is not two numbers of seconds, as in 12.5,60")]
    Line { line: usize, text: String },
    #[error("line {line}: {what} {text} is {problem}")]
    Number { line: usize, what: &'static str, text: String, problem: &'static str },
    #[error("it has no job")]
    NoJob,
}

/// A century: no trace is longer, and sums of so many milliseconds do not overflow.
const MOST_SECONDS: f64 = 3.2e9;

/// Reads CSV with the columns `arrival_s,duration_s`, in any order of arrivals.
pub fn parse(text: &str) -> Result<Vec<Job>, WrongTrace> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let (_, header) = lines.next().ok_or(WrongTrace::Empty)?;
    // Some programs begin a file with a byte order mark.
    let header = header.trim_start_matches('\u{feff}');
    if header.split(',').map(str::trim).ne(["arrival_s", "duration_s"]) {
        return Err(WrongTrace::Columns { found: header.chars().take(80).collect() });
    }
    let mut jobs = Vec::new();
    for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
        let wrong = || WrongTrace::Line { line, text: text.chars().take(80).collect() };
        let (arrival, duration) = text.split_once(',').ok_or_else(wrong)?;
        let seconds = |what: &'static str, text: &str| {
            let text = text.trim();
            let number: f64 = text.parse().map_err(|_| wrong())?;
            let problem = match number {
                _ if !number.is_finite() => "not a number of seconds",
                _ if number < 0.0 => "negative",
                _ if number > MOST_SECONDS => "more than a century",
                _ => return Ok((number * 1000.0).round() as u64),
            };
            Err(WrongTrace::Number { line, what, text: text.to_owned(), problem })
        };
        jobs.push(Job { arrival: seconds("arrival_s", arrival)?, duration: seconds("duration_s", duration)? });
    }
    if jobs.is_empty() {
        return Err(WrongTrace::NoJob);
    }
    // Those of one moment stay in the order of the file.
    jobs.sort_by_key(|job| job.arrival);
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_in_the_order_of_their_arrival() {
        let jobs = parse("arrival_s,duration_s\r\n5,0.25\n\n0.5,60\n").expect("a trace");
        assert_eq!(jobs, [Job { arrival: 500, duration: 60_000 }, Job { arrival: 5_000, duration: 250 }]);
        assert_eq!(parse("\u{feff}arrival_s, duration_s\n1,2").expect("a trace").len(), 1);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, said) in [
            ("", "it is empty: write a line arrival_s,duration_s and one line for each job"),
            ("arrival_s,duration_s\n", "it has no job"),
            ("1,2\n", "line 1: the columns are \"1,2\", and must be arrival_s,duration_s"),
            ("arrival_s,duration_s\n1,2\n3\n", "line 3: \"3\" is not two numbers of seconds, as in 12.5,60"),
            ("arrival_s,duration_s\n1,2,3\n", "line 2: \"1,2,3\" is not two numbers of seconds, as in 12.5,60"),
            ("arrival_s,duration_s\n1,-2\n", "line 2: duration_s -2 is negative"),
            ("arrival_s,duration_s\nNaN,2\n", "line 2: arrival_s NaN is not a number of seconds"),
            ("arrival_s,duration_s\n1e99,2\n", "line 2: arrival_s 1e99 is more than a century"),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), said);
        }
    }
}
