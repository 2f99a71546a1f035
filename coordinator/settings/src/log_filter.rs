//! What the log shows: a level, or a filter of levels by target.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const USUAL: &str = "info";

/// Checks a level such as `debug`, or a filter such as `warn,spillway_brain=debug`, and returns the filter to use. A
/// filter that names targets only leaves everything else at `info`: a program whose errors nobody sees is never what is
/// meant by it.
///
/// # Errors
/// What is wrong, and what to write. A word that is no level would be taken for a target, and silence everything else.
pub fn log_filter(text: &str) -> Result<String, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    for directive in &directives {
        let level = directive.rsplit_once('=').map_or(*directive, |(_, level)| level);
        // A span's filter (`[tick]=debug`) has an `=` too, or is for all levels.
        if !is_level(level) && !directive.ends_with(']') {
            return Err(format!(
                "\"{level}\" is not a log level: write error, warn, info, debug, trace or off, or a filter such as \
                 info,spillway_brain=debug"
            ));
        }
    }
    if directives.iter().any(|directive| is_level(directive)) {
        return Ok(directives.join(","));
    }
    Ok(std::iter::once(USUAL).chain(directives).collect::<Vec<_>>().join(","))
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) || matches!(text, "0" | "1" | "2" | "3" | "4" | "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_filter_is_taken_and_nothing_silences_the_errors_by_mistake() {
        for (text, filter) in [
            ("debug", "debug"),
            ("WARN", "WARN"),
            ("off", "off"),
            ("", "info"),
            (" info , hyper=warn ", "info,hyper=warn"),
            ("hyper=debug", "info,hyper=debug"),
            ("[tick]=debug", "info,[tick]=debug"),
        ] {
            assert_eq!(log_filter(text).as_deref(), Ok(filter), "{text}");
        }
        for text in ["loud", "infos", "spillway=loud", "spillway_brain", "info,loud", "info debug"] {
            let error = log_filter(text).expect_err(text);
            assert!(error.contains("is not a log level: write error, warn, info"), "{text}: {error}");
        }
    }
}
