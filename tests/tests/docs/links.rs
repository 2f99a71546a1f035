//! Every link and every path that a page names is in the repository, without a network.

use std::path::{Component, Path, PathBuf};

use spillway_tests::binaries::workspace;

use super::pages::{self, Page};

/// The top level's folders: a span of code that begins with one of them is a path.
const FOLDERS: [&str; 8] = ["coordinator/", "agent/", "proto/", "ami/", "packaging/", "tests/", ".github/", ".ci/"];

#[test]
fn every_link_leads_to_a_page_and_a_heading_of_it() {
    let pages = pages::all();
    let mut count = 0;
    for page in &pages {
        for (line, target) in links(page) {
            if target.starts_with("http://") || target.starts_with("https://") {
                continue;
            }
            count += 1;
            let (path, anchor) = target.split_once('#').map_or((target.as_str(), None), |(path, it)| (path, Some(it)));
            let beside = page.path.parent().expect("a folder");
            let path = if path.is_empty() { page.path.clone() } else { plain(&beside.join(path)) };
            assert!(workspace().join(&path).exists(), "{}: {target} leads nowhere", page.at(line));
            let Some(anchor) = anchor else { continue };
            let to = pages.iter().find(|it| it.path == path).unwrap_or_else(|| panic!("{target} is no page"));
            assert!(
                to.anchors().iter().any(|it| it == anchor),
                "{}: {} has no heading #{anchor}: {:?}",
                page.at(line),
                path.display(),
                to.anchors()
            );
        }
    }
    assert!(count > 40, "only {count} links were found");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let pages = pages::all();
    let mut reached = vec![PathBuf::from("README.md")];
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let Some(page) = pages.iter().find(|page| page.path == path) else { continue };
        for (_, target) in links(page) {
            let target = plain(&path.parent().expect("a folder").join(target.split('#').next().unwrap_or_default()));
            if !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    for page in &pages {
        assert!(reached.contains(&page.path), "no link from the README leads to {}", page.path.display());
    }
}

#[test]
fn every_section_of_the_old_readme_is_found_from_the_new_one() {
    let readme = pages::page("README.md");
    assert!(readme.text.lines().count() <= 150, "the README has {} lines", readme.text.lines().count());
    let linked: Vec<String> = links(&readme).into_iter().map(|(_, target)| target).collect();
    for section in [
        "agent/README.md#what-your-worker-needs",
        "coordinator/deploy/README.md#install-on-a-primary",
        "coordinator/deploy/settings.md#settings",
        "coordinator/ARCHITECTURE.md#how-it-decides",
        "coordinator/README.md#commands",
        "coordinator/README.md#health",
        "coordinator/deploy/operations.md#when-it-does-not-scale",
        "coordinator/ARCHITECTURE.md#architecture",
        "tests/FIGURES.md#figures",
    ] {
        assert!(linked.iter().any(|it| it == section), "the README does not link to {section}");
    }
}

#[test]
fn every_path_that_a_page_names_is_there() {
    let mut count = 0;
    for page in pages::all() {
        for (line, span) in page.spans() {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder));
            if !is_path || span.contains([' ', '*', '{', '…', '<']) {
                continue;
            }
            count += 1;
            assert!(workspace().join(&span).exists(), "{}: there is no {span}", page.at(line));
        }
    }
    assert!(count > 40, "only {count} paths were found");
}

#[test]
fn the_code_map_has_every_crate_and_each_its_licence_text() {
    let page = pages::page("coordinator/ARCHITECTURE.md");
    let map = page.text.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a code map");
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace's manifest");
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("its members");
    for member in members.split('"').skip(1).step_by(2) {
        assert!(map.contains(&format!("| `{member}` |")), "the code map does not have {member}");
        assert!(workspace().join(member).join("LICENSE").is_file(), "{member} has no licence text");
    }
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let mut files = Vec::new();
    pages::collect(workspace(), "rs", &mut files);
    let source: String = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    // A scenario is a text file of its name.
    let mut scenarios = Vec::new();
    pages::collect(&workspace().join("coordinator/brain/tests"), "txt", &mut scenarios);
    // `name…` is the beginning of one.
    let named = |name: &str| match name.strip_suffix('…') {
        Some(beginning) => {
            let is_file =
                |path: &PathBuf| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(beginning));
            source.contains(&format!("fn {beginning}")) || scenarios.iter().any(is_file)
        }
        None => {
            source.contains(&format!("fn {name}("))
                || scenarios.iter().any(|path| path.file_stem().is_some_and(|it| it == name))
        }
    };
    let mut count = 0;
    let page = pages::page("tests/README.md");
    for (line, span) in page.spans() {
        let name = span.rsplit("::").next().unwrap_or_default();
        let is_name = name.matches('_').count() > 1 && name.chars().all(|c| c.is_ascii_lowercase() || "_…".contains(c));
        if is_name {
            count += 1;
            assert!(named(name), "{}: there is no test {name}", page.at(line));
        }
    }
    assert!(count > 20, "only {count} names were found");
}

#[test]
fn what_proves_an_invariant_is_there() {
    let page = pages::page("coordinator/ARCHITECTURE.md");
    let section = page.text.split("## Invariants").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("them");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")).collect();
    assert_eq!(rows.len(), 12);
    // The simulator, a folder of tests, or a file in one of them.
    let folders =
        ["tests/tests/e2e", "coordinator/brain/tests", "agent/machine/tests/machine"].map(|it| workspace().join(it));
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let proofs: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "{row}");
        for name in proofs {
            let is_test = folders.iter().any(|folder| folder.join(name).with_extension("rs").is_file());
            assert!(name == "sim" || is_test || workspace().join(name).exists(), "there is no {name}: {row}");
        }
    }
}

/// `[text](target)`, each target with its line.
fn links(page: &Page) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in page.prose() {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or_else(|| panic!("{}: a link ends not", page.at(line)));
            found.push((line, target.to_owned()));
            rest = after;
        }
    }
    found
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            _ => plain.push(part),
        }
    }
    plain
}
