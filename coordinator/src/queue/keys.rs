//! BullMQ's names in Redis: `<prefix>:<queue>:<part>`.

use base64::Engine as _;

/// One queue's keys.
#[derive(Clone, Debug)]
pub struct QueueKeys {
    pub prefix: String,
    pub queue: String,
}

impl QueueKeys {
    pub fn new(prefix: &str, queue: &str) -> Self {
        QueueKeys { prefix: prefix.to_owned(), queue: queue.to_owned() }
    }

    /// `wait`, `active`, … or a job's id.
    pub fn key(&self, part: &str) -> String {
        format!("{}:{}:{part}", self.prefix, self.queue)
    }

    /// The CLIENT SETNAME of this queue's worker connections, without the `:w:<name>` of a named Worker (5.3.0 and
    /// later).
    pub fn connection_name(&self) -> String {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&self.queue);
        format!("{}:{encoded}", self.prefix)
    }
}
