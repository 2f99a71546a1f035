//! The file of a trace.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use spillway_replay::Job;

use super::BadUsage;

/// Larger ones are no trace: some ten million jobs.
const MOST_BYTES: u64 = 512 << 20;

pub(super) fn read(path: &Path) -> Result<Vec<Job>, BadUsage> {
    let name = path.display();
    let bad = |problem: String| BadUsage(format!("--trace {name}: {problem}"));
    let file = File::open(path).map_err(|error| bad(format!("it cannot be read: {error}")))?;
    let is_gzip = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let mut text = String::new();
    let reader: Box<dyn Read> =
        if is_gzip { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(BufReader::new(file)) };
    let bytes = reader.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| match is_gzip {
        true => bad(format!("it is no gzipped text: {error}")),
        false => bad(format!("it is no text: {error}. Only a file that ends in .gz is unpacked")),
    })?;
    if bytes as u64 == MOST_BYTES {
        return Err(bad(format!("it has more than {} MiB", MOST_BYTES >> 20)));
    }
    spillway_replay::parse(&text).map_err(|problem| bad(problem.to_string()))
}
