//! The application that the instances pull: a BullMQ worker under bun and PM2.

/// Name and content of each file.
pub(super) const FILES: [(&str, &str); 6] = [
    ("package.json", include_str!("app/package.json")),
    ("bun.lock", include_str!("app/bun.lock")),
    ("connection.js", include_str!("app/connection.js")),
    ("worker.js", include_str!("app/worker.js")),
    ("ecosystem.config.js", include_str!("app/ecosystem.config.js")),
    ("add-jobs.js", include_str!("app/add-jobs.js")),
];
