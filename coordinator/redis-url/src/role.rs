//! A server's role as it told it on one connection, by which a fail-over shows that no error tells of.

/// What one connection's server was when it was opened. A new connection begins with a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    was_master: Option<bool>,
}

impl Role {
    /// Judges by an answer to `INFO replication`; one that does not name a role (a user who may not ask) is no
    /// objection.
    ///
    /// # Errors
    ///
    /// Why the connection is to be dropped, in words: a server that was the master and is a replica now has another
    /// master, to which a new connection may lead, and a replica without its master shows what may be long past.
    /// Neither refuses a read.
    pub fn check(&mut self, info: &str) -> Result<(), &'static str> {
        let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        let Some(is_master) = field("role").map(|role| role == "master") else { return Ok(()) };
        let was_master = *self.was_master.get_or_insert(is_master);
        if was_master && !is_master {
            Err("it was the master and is a replica now")
        } else if field("master_link_status") == Some("down") {
            Err("it is a replica whose link to its master is down: what it shows may be out of date")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n";
    const REPLICA: &str = "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n";
    const ORPHAN: &str = "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\n";

    #[test]
    fn a_master_that_became_a_replica_and_a_replica_without_its_master_are_left() {
        for (infos, is_left) in [
            (&[MASTER, MASTER][..], false),
            // The URL names a replica, for good.
            (&[REPLICA, REPLICA], false),
            (&[REPLICA, MASTER], false),
            (&["", REPLICA], false),
            (&["NOPERM", ""], false),
            (&[MASTER, REPLICA], true),
            (&[MASTER, "", REPLICA], true),
            (&[MASTER, ORPHAN], true),
            (&[ORPHAN], true),
        ] {
            let mut role = Role::default();
            let answers: Vec<_> = infos.iter().map(|info| role.check(info)).collect();
            assert_eq!(answers.last().is_some_and(Result::is_err), is_left, "{infos:?}");
        }
    }
}
