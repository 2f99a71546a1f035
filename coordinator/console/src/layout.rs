//! What screens are laid out with: the terminal's size, labels and titles, two lists side by side, and how parts share
//! the rows that there are.

use crate::style::{Line, Style};

/// Where what stands behind a label begins.
pub const INDENT: usize = 10;
/// Graphs are no wider, however wide the terminal is.
pub const GRAPH_WIDTH: usize = 120;
/// From so many columns on two lists stand side by side.
pub const WIDE: u16 = 110;

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

pub fn label(text: &str) -> Line {
    Line::new(Style::Bold, format!("{text:<INDENT$}"))
}

pub fn indented(line: Line) -> Line {
    Line::new(Style::Plain, " ".repeat(INDENT)).and(line)
}

pub fn titled(title: &str, lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    std::iter::once(Line::new(Style::Bold, title)).chain(lines).collect()
}

/// Two lists; the right one begins at column `left_width`.
pub fn beside(left: &[Line], right: &[Line], left_width: usize) -> Vec<Line> {
    let at = |lines: &[Line], row: usize| lines.get(row).cloned().unwrap_or_default();
    let cut = left_width.saturating_sub(2);
    let rows = 0..left.len().max(right.len());
    rows.map(|row| at(left, row).cut(cut).fit(left_width).and(at(right, row))).collect()
}

/// How parts share so many rows: of what each needs first its least, then in their order what is left.
pub fn shares(rows: usize, needs_and_leasts: &[(usize, usize)]) -> Vec<usize> {
    let mut free = rows;
    let mut shares = Vec::new();
    for (need, least) in needs_and_leasts {
        let share = *need.min(least).min(&free);
        shares.push(share);
        free -= share;
    }
    for (share, (need, _)) in shares.iter_mut().zip(needs_and_leasts) {
        let more = free.min(need - *share);
        *share += more;
        free -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::Colors;

    #[test]
    fn each_part_gets_its_least_before_any_gets_more() {
        assert_eq!(shares(10, &[(8, 2), (5, 3), (2, 2)]), [5, 3, 2]);
        assert_eq!(shares(4, &[(8, 2), (5, 3), (2, 2)]), [2, 2, 0], "the first ones where there is not even that");
        assert_eq!(shares(100, &[(8, 2), (0, 3)]), [8, 0]);
        assert_eq!(shares(3, &[]), [0; 0]);
    }

    #[test]
    fn two_lists_stand_side_by_side_whatever_their_length() {
        let lines = |texts: &[&str]| texts.iter().map(|text| Line::from(*text)).collect::<Vec<_>>();
        let shown = beside(&lines(&["a", "abcdefgh"]), &lines(&["1", "2", "3"]), 6);
        let shown: Vec<String> = shown.iter().map(|line| line.render(Colors::Off)).collect();
        assert_eq!(shown, ["a     1", "abc…  2", "      3"]);
    }
}
