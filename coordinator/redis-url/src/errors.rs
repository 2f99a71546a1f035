//! What an error reply of Redis says about the connection that it came on.

use redis::RedisError;

/// The command itself was refused: this Redis would answer the same on any other connection. Every other error may
/// belong to the connection (READONLY and UNBLOCKED of a server that is no master any more, MASTERDOWN, NOREPLICAS,
/// LOADING, NOAUTH, and what is still to come): it is dropped, and the next one may lead to a server that answers.
pub fn is_about_the_command(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOPERM" | "WRONGTYPE" | "NOSCRIPT" | "EXECABORT" | "OOM"))
        || (error.code() == Some("ERR") && is_unknown_command(&error.to_string()))
}

/// `rename-command CLIENT ""`, or a Redis that does not have it.
fn is_unknown_command(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["unknown command", "unknown subcommand", "not supported", "not allowed"].iter().any(|part| text.contains(part))
}

#[cfg(test)]
mod tests {
    use redis::{FromRedisValue, parse_redis_value};

    use super::*;

    fn error(reply: &str) -> RedisError {
        let value = parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        match value.extract_error().and_then(|value| Ok(String::from_redis_value(value)?)) {
            Ok(_) => panic!("{reply} is no error"),
            Err(error) => error,
        }
    }

    #[test]
    fn only_what_any_connection_would_be_told_keeps_this_one() {
        for reply in [
            "NOPERM User x has no permissions to run the 'client|list' command",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR unknown command 'CLIENT', with args beginning with: 'LIST'",
            "ERR unknown subcommand 'LIST'. Try CLIENT HELP.",
            "OOM command not allowed when used memory > 'maxmemory'.",
        ] {
            assert!(is_about_the_command(&error(reply)), "{reply}");
        }
        for reply in [
            "READONLY You can't write against a read only replica.",
            "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
            "LOADING Redis is loading the dataset in memory",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            "UNKILLABLE Sorry the script already executed write commands",
            "NOAUTH Authentication required.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "BUSY Redis is busy running a script.",
            "CLUSTERDOWN Hash slot not served",
            "MOVED 3999 127.0.0.1:6381",
            "ERR max number of clients reached",
            "BRANDNEW something",
        ] {
            assert!(!is_about_the_command(&error(reply)), "{reply}");
        }
    }
}
