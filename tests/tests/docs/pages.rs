//! The repository's pages: where they are, and their parts as Markdown has them. Owns the reading; judges nothing.

use std::fs;
use std::path::{Path, PathBuf};

use spillway_tests::binaries::workspace;

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 3] = ["target", "node_modules", ".git"];

/// One page, by its path from the top of the repository.
pub struct Page {
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// What it is marked as; empty where it is not.
    pub language: String,
    /// Its first line in the page.
    pub line: usize,
    pub text: String,
}

/// All pages, in the order of their paths.
pub fn all() -> Vec<Page> {
    let mut found = Vec::new();
    collect(workspace(), "md", &mut found);
    found.sort();
    let page = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page { path: path.strip_prefix(workspace()).expect("below it").to_owned(), text }
    };
    let pages: Vec<Page> = found.into_iter().map(page).collect();
    assert!(pages.iter().any(|page| page.path == Path::new("README.md")), "no README");
    pages
}

/// The page at this path.
pub fn page(path: &str) -> Page {
    all().into_iter().find(|page| page.path == Path::new(path)).unwrap_or_else(|| panic!("no page {path}"))
}

/// Files below `directory` whose name ends so.
pub fn collect(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            collect(&entry.path(), extension, found);
        } else if kind.is_file() && entry.path().extension().is_some_and(|it| it == extension) {
            found.push(entry.path());
        }
    }
}

impl Page {
    /// Where something is, for a failure.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Block { language: language.to_owned(), line: index + 2, text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path.display());
        blocks
    }

    /// Lines outside of blocks, each with its number.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut prose = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push((index + 1, line));
            }
        }
        prose
    }

    /// `code` in the prose, each with its line's number.
    pub fn spans(&self) -> Vec<(usize, String)> {
        let spans = |(line, text): (usize, &str)| -> Vec<(usize, String)> {
            text.split('`').skip(1).step_by(2).map(|span| (line, span.to_owned())).collect()
        };
        self.prose().into_iter().flat_map(spans).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let heading = |line: &str| {
            let text = line.trim_start_matches('#');
            (text.len() < line.len() && text.starts_with(' ')).then(|| anchor(text.trim()))
        };
        self.prose().into_iter().filter_map(|(_, line)| heading(line)).collect()
    }
}

/// Lower case, spaces to hyphens; everything but letters, digits, hyphens and underscores goes.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
