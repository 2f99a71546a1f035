//! The licences of the crates that are linked into a program, from their sources, as `cargo metadata` names them. Of a
//! crate that may be used under Apache-2.0, which is Spillway's own, that one is chosen: its text is Debian's to keep
//! (`/usr/share/common-licenses`), and only the crate's NOTICE is due. Of every other one the texts are printed, a text
//! that several crates share once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Deserialize;

const OURS: &str = "Apache-2.0";
/// The crate whose program has the page in it.
const COORDINATOR: &str = "spillway-cli";

/// Of `cargo metadata`, what matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    authors: Vec<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    /// None: a crate of this repository's.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// None: neither for the build alone nor for tests.
    kind: Option<String>,
}

/// Prints the notices of the program that `package` makes.
pub fn print(package: &str, target: &str) -> anyhow::Result<()> {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", target])
        .output()
        .context("cannot run cargo")?;
    if !out.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let metadata = serde_json::from_slice(&out.stdout).context("cargo metadata")?;
    print!("{}", text(&linked(&metadata, package)?)?);
    // No crate: the dashboard's charts.
    if let Some(license) = spillway_web::asset(spillway_web::CHARTS_LICENSE).filter(|_| package == COORDINATOR) {
        let license = String::from_utf8_lossy(license.plain);
        print!("\n{}\nuPlot, in the dashboard's page: MIT:\n\n{}\n", "-".repeat(80), license.trim());
    }
    Ok(())
}

/// The crates of others that end up in the program, by name and version.
fn linked<'a>(metadata: &'a Metadata, package: &str) -> anyhow::Result<Vec<&'a Package>> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|it| (&*it.id, it)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|it| (&*it.id, it)).collect();
    let first = metadata.packages.iter().find(|it| it.source.is_none() && it.name == package);
    let mut ahead = vec![&*first.with_context(|| format!("there is no crate {package} here"))?.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = ahead.pop() {
        let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else { bail!("{id} is not in the graph") };
        // A macro runs while others are compiled; so does what it is made of.
        let is_macro = package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"));
        if is_macro || !seen.insert(id) {
            continue;
        }
        let plain = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|it| it.kind.is_none());
        ahead.extend(node.deps.iter().filter(plain).map(|dependency| &*dependency.pkg));
    }
    let mut linked: Vec<&Package> =
        seen.into_iter().map(|id| packages[id]).filter(|package| package.source.is_some()).collect();
    linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(linked)
}

/// One line for each crate, then the texts.
fn text(crates: &[&Package]) -> anyhow::Result<String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates {
        let name = format!("{} {}", package.name, package.version);
        let license = package.license.clone().unwrap_or_else(|| "its own, below".to_owned());
        let ours = may_be_ours(&license);
        list += &if ours && license != OURS {
            format!("{name}: {OURS}, of {license}\n")
        } else {
            format!("{name}: {license}\n")
        };
        let files = files(package, ours)?;
        if files.is_empty() && !ours {
            let by = if package.authors.is_empty() { "its authors".to_owned() } else { package.authors.join(", ") };
            let at = package.repository.as_deref().unwrap_or("crates.io");
            list += &format!("    (its sources hold no text of the licence; by {by}; {at})\n");
        }
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            texts.entry(text.trim().replace("\r\n", "\n")).or_default().push(name.clone());
        }
    }
    let mut whole = format!(
        "The crates of others that are linked into this program, each with its licence. The text of {OURS} is in\n\
         /usr/share/common-licenses/{OURS}; the other texts and all notices follow.\n\n{list}"
    );
    for (text, names) in texts {
        whole += &format!("\n{}\n{}:\n\n{text}\n", "-".repeat(80), names.join(", "));
    }
    Ok(whole)
}

/// Whether the expression lets one choose Apache-2.0 alone: of a choice one side is enough, of a conjunction all are
/// due.
fn may_be_ours(license: &str) -> bool {
    // crates.io's older way to write OR.
    let license = license.replace('/', " OR ");
    !license.contains(['(', ')']) && license.split(" OR ").any(|one| one.trim() == OURS)
}

/// Files at the top of a crate's sources: all licences, or the notices alone.
fn files(package: &Package, notices_only: bool) -> anyhow::Result<Vec<PathBuf>> {
    let top = package.manifest_path.parent().unwrap_or(Path::new("/"));
    let names: &[&str] =
        if notices_only { &["NOTICE"] } else { &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "UNLICENSE", "NOTICE"] };
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(top).with_context(|| format!("{}", top.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && names.iter().any(|it| name.starts_with(it)) {
            found.insert(path);
        }
    }
    if let Some(file) = package.license_file.as_ref().filter(|_| !notices_only) {
        found.insert(top.join(file));
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apache_is_chosen_where_it_is_enough() {
        for license in ["Apache-2.0", "MIT OR Apache-2.0", "MIT/Apache-2.0", "Zlib OR Apache-2.0 OR MIT"] {
            assert!(may_be_ours(license), "{license}");
        }
        for license in
            ["MIT", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(!may_be_ours(license), "{license}");
        }
    }

    fn metadata() -> Metadata {
        let package = |name: &str, source: &str, kind: &str| {
            format!(
                r#"{{"id":"{name}","name":"{name}","version":"1.0.0","license":"MIT","license_file":null,"authors":[],"repository":null,"source":{source},
                     "manifest_path":"/nowhere/Cargo.toml","targets":[{{"kind":["{kind}"]}}]}}"#
            )
        };
        let dependency = |name: &str, kind: &str| format!(r#"{{"pkg":"{name}","dep_kinds":[{{"kind":{kind}}}]}}"#);
        let node = |id: &str, deps: &[String]| format!(r#"{{"id":"{id}","deps":[{}]}}"#, deps.join(","));
        let packages = [
            package("program", "null", "bin"),
            package("linked", r#""registry""#, "lib"),
            package("below", r#""registry""#, "lib"),
            package("macro", r#""registry""#, "proc-macro"),
            package("of-the-macro", r#""registry""#, "lib"),
            package("for-tests", r#""registry""#, "lib"),
            package("for-the-build", r#""registry""#, "lib"),
        ];
        let nodes = [
            node(
                "program",
                &[
                    dependency("linked", "null"),
                    dependency("macro", "null"),
                    dependency("for-tests", r#""dev""#),
                    dependency("for-the-build", r#""build""#),
                ],
            ),
            node("linked", &[dependency("below", "null")]),
            node("below", &[]),
            node("macro", &[dependency("of-the-macro", "null")]),
            node("of-the-macro", &[]),
            node("for-tests", &[]),
            node("for-the-build", &[]),
        ];
        let json = format!(r#"{{"packages":[{}],"resolve":{{"nodes":[{}]}}}}"#, packages.join(","), nodes.join(","));
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    #[test]
    fn what_is_linked_is_named_and_what_only_helps_to_build_is_not() {
        let metadata = metadata();
        let names: Vec<&str> = linked(&metadata, "program").expect("crates").iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["below", "linked"]);
        assert!(linked(&metadata, "nobody").is_err());
    }

    #[test]
    fn a_text_that_several_crates_share_is_printed_once_and_a_choice_of_apache_needs_its_notice_alone() {
        let top = tempfile::tempdir().expect("a directory");
        let package = |name: &str, license: &str, files: &[(&str, &str)]| {
            let place = top.path().join(name);
            fs::create_dir(&place).expect("a directory");
            for (file, text) in files {
                fs::write(place.join(file), text).expect("a file");
            }
            Package {
                id: name.to_owned(),
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                license: Some(license.to_owned()),
                license_file: None,
                authors: vec!["Somebody".to_owned()],
                repository: None,
                manifest_path: place.join("Cargo.toml"),
                source: Some("registry".to_owned()),
                targets: Vec::new(),
            }
        };
        let crates = [
            package("a", "MIT", &[("LICENSE", "Permission\n")]),
            package("b", "MIT", &[("license.md", "Permission\r\n")]),
            package("c", "MIT OR Apache-2.0", &[("LICENSE-MIT", "not due"), ("NOTICE", "made by them")]),
            package("d", "ISC", &[]),
        ];
        let whole = text(&crates.iter().collect::<Vec<_>>()).expect("the notices");
        assert_eq!(whole.matches("Permission").count(), 1, "{whole}");
        assert!(whole.contains("\na 1.0.0, b 1.0.0:\n"), "{whole}");
        assert!(
            whole.contains("c 1.0.0: Apache-2.0, of MIT OR Apache-2.0") && whole.contains("made by them"),
            "{whole}"
        );
        assert!(
            !whole.contains("not due")
                && whole.contains("d 1.0.0: ISC\n    (its sources hold no text of the licence; by Somebody;"),
            "{whole}"
        );
    }
}
