//! Numbers as small graphs: of one line, or a chart of several.

use crate::style::{Line, Style};

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A value of zero: as small as it is, it is seen to be none.
const ZERO: char = '·';
/// Where a chart has a threshold.
const MARK: char = '┄';

/// A sparkline of at most `width` cells: the whole history, of which each cell shows the highest value of its share.
pub fn sparkline(values: &[u64], width: usize) -> String {
    let highest = values.iter().copied().max().unwrap_or(0).max(1);
    let cells = width.min(values.len());
    let cell = |index: usize| {
        let (from, to) = (index * values.len() / cells, (index + 1) * values.len() / cells);
        values[from..to].iter().copied().max().unwrap_or(0)
    };
    let level = |value: u64| match value {
        0 => ZERO,
        _ => LEVELS[usize::try_from((value * LEVELS.len() as u64).div_ceil(highest)).unwrap_or(1).clamp(1, 8) - 1],
    };
    (0..cells).map(|index| level(cell(index))).collect()
}

/// Values over time, and where thresholds are among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chart {
    /// The highest row first.
    pub lines: Vec<Line>,
    /// Of each threshold that is in the picture the row from above.
    pub marks: Vec<(u64, usize)>,
}

/// A cell for each value, in so many rows. A value that is not known leaves its cell empty. Values that reach the
/// lowest threshold are coloured. A threshold far above the values would press them flat: it is not in the picture.
pub fn chart(values: &[Option<u64>], rows: usize, thresholds: &[u64]) -> Chart {
    let known = values.iter().flatten().copied().max().unwrap_or(0);
    let is_shown = |mark: &&u64| **mark <= known.saturating_mul(4).max(8);
    let shown: Vec<u64> = thresholds.iter().filter(is_shown).copied().collect();
    let highest = shown.iter().copied().max().unwrap_or(0).max(known).max(1);
    let eighths = |value: u64| {
        let all = u128::from(value) * (rows * LEVELS.len()) as u128;
        usize::try_from(all.div_ceil(u128::from(highest))).unwrap_or(usize::MAX)
    };
    let row_of = |value: u64| eighths(value).saturating_sub(1) / LEVELS.len();
    let lowest = thresholds.iter().min();
    let cell = |value: Option<u64>, row: usize| {
        let style = if lowest.is_none_or(|mark| value >= Some(*mark)) { Style::Yellow } else { Style::Plain };
        let filled = value.map_or(0, eighths).saturating_sub(row * LEVELS.len()).min(LEVELS.len());
        match (value, filled) {
            (_, 1..) => (style, LEVELS[filled - 1]),
            _ if shown.iter().any(|mark| row_of(*mark) == row) => (Style::Dim, MARK),
            (Some(0), 0) if row == 0 => (Style::Dim, ZERO),
            _ => (Style::Dim, ' '),
        }
    };
    let line = |row: usize| {
        let cells: Vec<(Style, char)> = values.iter().map(|value| cell(*value, row)).collect();
        let spans = cells.chunk_by(|(one, _), (other, _)| one == other);
        spans.fold(Line::default(), |line, span| line.with(span[0].0, span.iter().map(|(_, c)| c).collect::<String>()))
    };
    let marks = shown.iter().map(|mark| (*mark, rows.saturating_sub(1 + row_of(*mark)))).collect();
    Chart { lines: (0..rows).rev().map(line).collect(), marks }
}

/// A bar of exactly `width` cells: the parts in their order, each with its character, and the rest of the whole as
/// dots. What is not nothing is seen where there is room for it.
pub fn bar(parts: &[(u64, char, Style)], whole: u64, width: usize) -> Line {
    let (mut line, mut so_far, mut filled) = (Line::default(), 0, 0);
    for &(value, character, style) in parts {
        so_far += value;
        let end = usize::try_from(so_far * width as u64 / whole.max(1)).unwrap_or(width).min(width);
        let least = usize::from(value > 0 && filled < width);
        let cells = end.saturating_sub(filled).max(least);
        line = line.with(style, String::from(character).repeat(cells));
        filled += cells;
    }
    line.with(Style::Dim, "·".repeat(width.saturating_sub(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::Colors;

    #[test]
    fn a_sparkline_shows_all_of_it_in_the_room_there_is() {
        assert_eq!(sparkline(&[], 10), "");
        assert_eq!(sparkline(&[0, 1, 2, 4, 8], 10), "·▁▂▄█");
        assert_eq!(sparkline(&[40, 40, 20, 20, 0, 0], 3), "█▄·");
        assert_eq!(sparkline(&[0; 1000], 4), "····");
        assert_eq!(sparkline(&[7], 0), "");
    }

    #[test]
    fn a_chart_shows_values_against_thresholds_and_leaves_out_what_is_not_known() {
        let shown = |values: &[Option<u64>], rows, thresholds: &[u64]| {
            let Chart { lines, marks } = chart(values, rows, thresholds);
            (lines.iter().map(|line| line.render(Colors::Off)).collect::<Vec<_>>(), marks)
        };
        let values = [None, Some(0), Some(4), Some(8), Some(16)];
        assert_eq!(shown(&values, 2, &[]), (vec!["    █".to_owned(), " ·▄██".to_owned()], vec![]));
        assert_eq!(shown(&values, 2, &[12]), (vec!["┄┄┄┄█".to_owned(), " ·▄██".to_owned()], vec![(12, 0)]));
        assert_eq!(shown(&values, 2, &[12, 500]).1, [(12, 0)], "the other one would press all flat");
        assert_eq!(shown(&[Some(0); 3], 1, &[5]), (vec!["┄┄┄".to_owned()], vec![(5, 0)]));
        assert_eq!(shown(&[Some(u64::MAX), None], 3, &[0, u64::MAX]).0.len(), 3);
        assert_eq!(shown(&[], 0, &[5]), (vec![], vec![(5, 0)]));
        let colored = chart(&[Some(4), Some(8)], 1, &[5]).lines[0].render(Colors::On);
        assert_eq!(colored, "▄\u{1b}[33m█\u{1b}[0m", "what reaches the threshold is coloured");
    }

    #[test]
    fn a_bar_is_as_wide_as_it_must_be_whatever_it_shows() {
        let of = |done, active, whole, width| {
            bar(&[(done, '#', Style::Plain), (active, '+', Style::Plain)], whole, width).render(Colors::Off)
        };
        assert_eq!(of(0, 0, 40, 10), "··········");
        assert_eq!(of(20, 10, 40, 10), "#####++···");
        assert_eq!(of(39, 1, 40, 10), "#########+");
        assert_eq!(of(0, 1, 10_000, 10), "+·········");
        assert_eq!(of(40, 0, 40, 10), "##########");
        for (done, active, whole) in [(10_000, 3, 10), (1, 1, 1), (0, 0, 0)] {
            assert_eq!(of(done, active, whole, 7).chars().count(), 7);
        }
    }
}
