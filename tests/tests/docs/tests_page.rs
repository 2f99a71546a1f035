//! The table of `tests/README.md` has a row for each end-to-end module, and for nothing else.

use std::fs;

use spillway_tests::binaries::workspace;

use super::pages;

#[test]
fn each_end_to_end_module_has_one_row() {
    let main = workspace().join("tests/tests/e2e/main.rs");
    let text = fs::read_to_string(&main).unwrap_or_else(|error| panic!("{}: {error}", main.display()));
    let mut modules: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let page = pages::page("tests/README.md");
    let table = page.text.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
    let mut rows: Vec<String> = table.map_while(row).collect();
    modules.sort_unstable();
    rows.sort_unstable();
    assert!(rows.len() > 20, "only {rows:?}");
    assert_eq!(rows, modules, "the rows of tests/README.md, and the modules of tests/tests/e2e/main.rs");
}
