//! Makes the files that `embed.rs` embeds, in OUT_DIR and never in the source tree.
//!
//! - `SPILLWAY_WEB_DIST=DIRECTORY`: what `node pack.js DIRECTORY` has made, for packagers; nothing is downloaded.
//! - With npm: uPlot by the lock file, and the page as one script.
//! - With neither the page has tables in place of charts, and the build says so.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

const DIST: &str = "SPILLWAY_WEB_DIST";
const RUNBOOK: &str = "../deploy/operations.md";

fn main() {
    for input in ["src", "package.json", "package-lock.json", "pack.js", RUNBOOK] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed={DIST}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let files = match env::var_os(DIST).filter(|it| !it.is_empty()) {
        Some(directory) => PathBuf::from(directory),
        None => packed(&out.join("web")).unwrap_or_else(|why| {
            println!("cargo::warning=the dashboard has tables in place of charts: {why}. Install Node with npm, or set {DIST}");
            // There is no such file: the next build tries again.
            println!("cargo::rerun-if-changed=tries-again");
            PathBuf::from("src")
        }),
    };
    let mut listed = String::from("&[\n");
    let mut found: Vec<PathBuf> = fs::read_dir(&files)
        .unwrap_or_else(|error| panic!("{DIST}: {}: {error}", files.display()))
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort();
    let compressed = out.join("compressed");
    fs::create_dir_all(&compressed).expect("a directory in OUT_DIR");
    for file in found.iter().filter(|file| file.is_file()) {
        let (Some(name), Ok(content)) = (file.file_name().and_then(|name| name.to_str()), fs::read(file)) else {
            continue;
        };
        add(&mut listed, name, &content, &compressed);
    }
    let markdown = fs::read_to_string(RUNBOOK).unwrap_or_else(|error| panic!("{RUNBOOK}: {error}"));
    add(&mut listed, "runbook.html", runbook(&markdown).as_bytes(), &compressed);
    listed.push(']');
    fs::write(out.join("assets.rs"), listed).expect("assets.rs in OUT_DIR");
}

/// Adds one file to the list: its name, its bytes, and the same compressed.
fn add(listed: &mut String, name: &str, content: &[u8], directory: &Path) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("memory");
    let (plain, small) = (directory.join(name), directory.join(format!("{name}.gz")));
    fs::write(&plain, content).expect("a file in OUT_DIR");
    fs::write(&small, encoder.finish().expect("memory")).expect("a file in OUT_DIR");
    let _ = writeln!(
        listed,
        "    Asset {{ name: {name:?}, plain: include_bytes!({:?}), gzip: include_bytes!({:?}) }},",
        plain.display().to_string(),
        small.display().to_string()
    );
}

/// The page with uPlot: npm installs by the lock file, without scripts, and pack.js puts it together.
fn packed(place: &Path) -> Result<PathBuf, String> {
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place.join("src")).map_err(|error| failed("OUT_DIR", &error))?;
    for name in ["package.json", "package-lock.json", "pack.js"] {
        fs::copy(name, place.join(name)).map_err(|error| failed(name, &error))?;
    }
    for entry in fs::read_dir("src").map_err(|error| failed("src", &error))?.flatten() {
        fs::copy(entry.path(), place.join("src").join(entry.file_name())).map_err(|error| failed("src", &error))?;
    }
    let run = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).current_dir(place).output();
        let out = out.map_err(|error| failed(program, &error))?;
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned();
        if out.status.success() { Ok(()) } else { Err(failed(program, &last)) }
    };
    run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    let dist = place.join("dist");
    run("node", &["pack.js", "dist"])?;
    Ok(dist)
}

/// `operations.md` as a page whose headings can be linked to, by the names that GitHub gives them.
fn runbook(markdown: &str) -> String {
    let mut options = Options::empty();
    options.insert(Options::ENABLE_TABLES);
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    let mut at = 0;
    while at < events.len() {
        if let Event::Start(Tag::Heading { .. }) = &events[at] {
            let end = events[at..].iter().position(|it| matches!(it, Event::End(TagEnd::Heading(_)))).unwrap_or(0);
            let title: String = events[at..at + end]
                .iter()
                .filter_map(|it| match it {
                    Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                    _ => None,
                })
                .collect();
            if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                *id = Some(CowStr::from(anchor(&title)));
            }
        }
        at += 1;
    }
    let mut body = String::new();
    html::push_html(&mut body, events.into_iter());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>Spillway: runbook</title>\n<link rel=\"stylesheet\" \
         href=\"/assets/style.css\">\n</head>\n<body class=\"runbook\">\n<main>\n<p><a href=\"/\">Back to the dashboard</a></p>\n{body}\
         </main>\n</body>\n</html>\n"
    )
}

/// As GitHub makes it of a heading.
fn anchor(title: &str) -> String {
    let small = title.trim().to_lowercase();
    small
        .chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'))
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}
