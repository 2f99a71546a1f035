//! The application that the instances pull: a BullMQ worker under bun and PM2, as a git repository.

use std::path::Path;

use anyhow::Context as _;

/// Name and content of each file.
pub(super) const FILES: [(&str, &str); 6] = [
    ("package.json", include_str!("app/package.json")),
    ("bun.lock", include_str!("app/bun.lock")),
    ("connection.js", include_str!("app/connection.js")),
    ("worker.js", include_str!("app/worker.js")),
    ("ecosystem.config.js", include_str!("app/ecosystem.config.js")),
    ("add-jobs.js", include_str!("app/add-jobs.js")),
];

pub(super) fn write(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, content) in FILES {
        std::fs::write(directory.join(name), content).with_context(|| format!("cannot write {name}"))?;
    }
    std::fs::write(directory.join(".gitignore"), "node_modules\n.env\n")?;
    Ok(())
}
