//! Numbers as small graphs of one line.

use crate::style::{Line, Style};

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A value of zero: as small as it is, it is seen to be none.
const ZERO: char = '·';

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
