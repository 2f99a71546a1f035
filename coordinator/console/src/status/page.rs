//! The room that there is on a terminal or a page of text, and how parts share it. Knows nothing of what they say.

use crate::layout::shares;
use crate::style::{Line, Style};

/// Where the terminal does not tell, and for what is none.
const USUAL: (usize, usize) = (80, 24);
/// The shell's prompt comes below.
const PROMPT: usize = 1;
/// Rows of a sentence where not everything fits.
const SHORT: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub width: usize,
    /// None: as many as it takes.
    pub rows: Option<usize>,
    /// Lines are broken between words. Otherwise each is whole, for programs that look for it; a terminal that shows it
    /// breaks it into as many rows.
    breaks: bool,
}

impl Page {
    /// A screenful of a terminal with these columns and rows.
    pub fn of_terminal(columns: u16, rows: u16) -> Self {
        let rows = usize::from(rows).saturating_sub(PROMPT).max(PROMPT);
        Self { width: usize::from(columns).max(1), rows: Some(rows), breaks: true }
    }

    /// A screenful for what is no terminal, or passes it on to one.
    pub fn piped() -> Self {
        Self { width: USUAL.0, rows: Some(USUAL.1 - PROMPT), breaks: false }
    }

    /// The same without an end.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { rows: None, ..self }
    }

    /// The parts below each other in at most so many rows, which are taken from what is `left`.
    pub(super) fn lay_out(&self, parts: Vec<Part>, rows: Option<usize>, left: &mut Option<usize>) -> Vec<Line> {
        let Some(rows) = rows else {
            let all = parts.into_iter().flat_map(|part| part.items).flatten();
            return all.flat_map(|row| self.set(row, None)).map(|(line, _)| line).collect();
        };
        let most = (self.needed(&parts, None) > rows).then_some(SHORT);
        let needs: Vec<(usize, usize)> = parts.iter().map(|part| (self.need(part, most), part.least)).collect();
        let shares = shares(rows, &needs);
        let mut lines = Vec::new();
        let mut used = 0;
        for (part, share) in parts.into_iter().zip(shares) {
            for (line, cost) in self.cut(part, most, share) {
                used += cost;
                lines.push(line);
            }
        }
        *left = left.map(|left| left.saturating_sub(used));
        lines
    }

    /// Rows that all of it takes.
    pub(super) fn needed(&self, parts: &[Part], most: Option<usize>) -> usize {
        parts.iter().map(|part| self.need(part, most)).sum()
    }

    pub(super) fn need(&self, part: &Part, most: Option<usize>) -> usize {
        let rows = part.items.iter().flatten();
        rows.map(|row| self.set(row.clone(), most).iter().map(|(_, cost)| cost).sum::<usize>()).sum()
    }

    /// As many of its items as there is room for, and how many are left out.
    fn cut(&self, part: Part, most: Option<usize>, rows: usize) -> Vec<(Line, usize)> {
        let Part { noun, items, .. } = part;
        let items: Vec<Vec<(Line, usize)>> =
            items.into_iter().map(|item| item.into_iter().flat_map(|row| self.set(row, most)).collect()).collect();
        let cost = |item: &[(Line, usize)]| item.iter().map(|(_, cost)| cost).sum::<usize>();
        if items.iter().map(|item| cost(item)).sum::<usize>() <= rows {
            return items.into_iter().flatten().collect();
        }
        let Some(room) = rows.checked_sub(1) else { return Vec::new() };
        if room == 0 {
            // The first says more than how many there are.
            return items.into_iter().flatten().take(1).filter(|(_, cost)| *cost == 1).collect();
        }
        let (mut shown, mut used, mut left_out) = (Vec::new(), 0, 0);
        for item in items {
            if left_out == 0 && used + cost(&item) <= room {
                used += cost(&item);
                shown.extend(item);
            } else {
                left_out += 1;
            }
        }
        let nouns = if left_out == 1 { noun.to_owned() } else { format!("{noun}s") };
        shown.push((
            Line::new(Style::Dim, format!("  … {left_out} more {nouns}: spillway status --all")).cut(self.width),
            1,
        ));
        shown
    }

    /// The rows of one line, with what each takes of the room.
    fn set(&self, row: Row, most: Option<usize>) -> Vec<(Line, usize)> {
        let Row { line, hang } = row;
        let width = self.width;
        if !self.breaks {
            let line = most.map_or(line.clone(), |most| line.cut(most * width));
            let cost = line.width().div_ceil(width).max(1);
            return vec![(line, cost)];
        }
        let mut lines = line.wrap(width, hang);
        if let Some(most) = most.filter(|most| lines.len() > *most) {
            lines.truncate(most);
            let last = lines.pop().unwrap_or_default();
            let last_width = last.width().min(width - 1);
            lines.push(last.cut(last_width).with(Style::Plain, "…"));
        }
        lines.into_iter().map(|line| (line, 1)).collect()
    }
}

/// A line, and how far it is indented where it goes on.
#[derive(Clone, Debug)]
pub(super) struct Row {
    line: Line,
    hang: usize,
}

impl Row {
    pub(super) fn new(line: impl Into<Line>, hang: usize) -> Self {
        Self { line: line.into(), hang }
    }

    /// At most so wide.
    pub(super) fn cut(self, width: usize) -> Self {
        Self { line: self.line.cut(width), ..self }
    }
}

/// Items of one kind. An item's rows are shown together or not at all.
#[derive(Clone, Debug)]
pub(super) struct Part {
    noun: &'static str,
    /// Rows that it gets before others get more than theirs.
    least: usize,
    items: Vec<Vec<Row>>,
}

impl Part {
    pub(super) fn new(noun: &'static str, least: usize, items: Vec<Vec<Row>>) -> Self {
        Self { noun, least, items }
    }

    pub(super) fn least(&self) -> usize {
        self.least
    }
}
