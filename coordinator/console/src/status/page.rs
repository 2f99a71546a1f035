//! The room that there is on a terminal or a page of text, and how parts share it. Knows nothing of what they say.

use spillway_words::counted;

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

    /// The parts below each other in at most so many rows, and the rows that they take. What no row of a part says is
    /// left out is said at the end of the first line.
    pub(super) fn lay_out(&self, parts: Vec<Part>, rows: Option<usize>) -> (Vec<Line>, usize) {
        let Some(rows) = rows else {
            let all = parts.into_iter().flat_map(|part| part.items).flatten();
            let set: Vec<(Line, usize)> = all.flat_map(|row| self.set(row, None)).collect();
            let used = set.iter().map(|(_, cost)| cost).sum();
            return (set.into_iter().map(|(line, _)| line).collect(), used);
        };
        let most = (self.needed(&parts, None) > rows).then_some(SHORT);
        let mut lines = Vec::new();
        let mut unsaid = LeftOut::new();
        for (part, share) in parts.iter().zip(self.shares(&parts, rows, most)) {
            let (shown, left_out) = self.cut(part, most, share);
            lines.extend(shown);
            for (count, noun) in left_out.into_iter().filter(|(count, _)| *count > 0) {
                match unsaid.iter_mut().find(|(_, it)| *it == noun) {
                    Some((all, _)) => *all += count,
                    None => unsaid.push((count, noun)),
                }
            }
        }
        unsaid.sort_by_key(|(_, noun)| *noun != "finding");
        if let Some((first, _)) = lines.first_mut().filter(|_| !unsaid.is_empty()) {
            *first = self.noted(std::mem::take(first), &unsaid);
        }
        let used = lines.iter().map(|(_, cost)| cost).sum();
        (lines.into_iter().map(|(line, _)| line).collect(), used)
    }

    /// The rows of each part: what comes before all else, then the least of each, then in their order what is left.
    fn shares(&self, parts: &[Part], rows: usize, most: Option<usize>) -> Vec<usize> {
        let needs: Vec<usize> = parts.iter().map(|part| self.need(part, most)).collect();
        let first = |part: &Part| part.items.iter().take(part.first).map(|item| cost(&self.set_item(item, most))).sum();
        let firsts_of = |is_urgent: bool, rows: usize| {
            let needs = parts.iter().map(|part| if part.is_urgent == is_urgent { first(part) } else { 0 });
            shares(rows, &needs.map(|first| (first, first)).collect::<Vec<_>>())
        };
        let urgent = firsts_of(true, rows);
        let usual = firsts_of(false, rows - urgent.iter().sum::<usize>());
        let firsts: Vec<usize> = urgent.iter().zip(usual).map(|(urgent, usual)| urgent + usual).collect();
        let others = parts.iter().zip(&needs).zip(&firsts);
        let others = others.map(|((part, need), first)| (need - first, part.least.saturating_sub(*first)));
        let others = shares(rows - firsts.iter().sum::<usize>(), &others.collect::<Vec<_>>());
        firsts.iter().zip(others).map(|(first, other)| first + other).collect()
    }

    /// A line with what is left out below it, without another row.
    fn noted(&self, line: Line, left_out: &[(usize, &str)]) -> Line {
        let counts: Vec<String> = left_out.iter().map(|(count, noun)| counted(*count as u64, noun)).collect();
        let all: usize = left_out.iter().map(|(count, _)| count).sum();
        let notes = [format!("  … {} more: spillway status --all", counts.join(", ")), format!("  … {all} more")];
        let fits = |note: &&String| line.width() + note.chars().count() <= self.width;
        let note = notes.iter().find(fits).unwrap_or(&notes[1]).clone();
        let room = self.width.saturating_sub(note.chars().count());
        line.cut(room).with(Style::Dim, note).cut(self.width)
    }

    /// Rows that all of it takes.
    pub(super) fn needed(&self, parts: &[Part], most: Option<usize>) -> usize {
        parts.iter().map(|part| self.need(part, most)).sum()
    }

    pub(super) fn need(&self, part: &Part, most: Option<usize>) -> usize {
        part.items.iter().map(|item| cost(&self.set_item(item, most))).sum()
    }

    /// As many of its items as there is room for, and what is left out without a row that says so.
    fn cut(&self, part: &Part, most: Option<usize>, rows: usize) -> (Vec<(Line, usize)>, LeftOut) {
        let count = part.items.len();
        let all: Vec<Vec<(Line, usize)>> = part.items.iter().map(|item| self.set_item(item, most)).collect();
        if all.iter().map(|item| cost(item)).sum::<usize>() <= rows {
            return (all.into_iter().flatten().collect(), Vec::new());
        }
        if rows == 0 {
            return (Vec::new(), vec![(count, part.noun)]);
        }
        let (mut shown, mut used, mut left_out) = (Vec::new(), 0, 0);
        for item in all {
            if left_out == 0 && used + cost(&item) < rows {
                used += cost(&item);
                shown.extend(item);
            } else {
                left_out += 1;
            }
        }
        if shown.is_empty() {
            // The beginning of each of its sentences says more than how many items there are.
            let first = self.set_item(&part.items[0], Some(1));
            let of_it = first.len();
            match cost(&first) {
                cost if cost <= rows && (cost == rows || count == 1) => return (first, vec![(count - 1, part.noun)]),
                cost if cost <= rows => (shown, left_out) = (first, count - 1),
                _ if rows > 1 => {}
                _ => {
                    let begun = first.into_iter().take(1).collect();
                    return (begun, vec![(count - 1, part.noun), (of_it - 1, "line")]);
                }
            }
        }
        let nouns = if left_out == 1 { part.noun.to_owned() } else { format!("{}s", part.noun) };
        let note = Line::new(Style::Dim, format!("  … {left_out} more {nouns}: spillway status --all"));
        shown.push((note.cut(self.width), 1));
        (shown, Vec::new())
    }

    fn set_item(&self, item: &[Row], most: Option<usize>) -> Vec<(Line, usize)> {
        item.iter().flat_map(|row| self.set(row.clone(), most)).collect()
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
        let lines = match most {
            Some(most) => line.wrap_in(width, hang, most),
            None => line.wrap(width, hang),
        };
        lines.into_iter().map(|line| (line, 1)).collect()
    }
}

/// How many of what.
type LeftOut = Vec<(usize, &'static str)>;

/// Rows that it takes.
fn cost(lines: &[(Line, usize)]) -> usize {
    lines.iter().map(|(_, cost)| cost).sum()
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
    /// Items that come before the least of any other part.
    first: usize,
    /// They come before those of parts that are not, wherever they stand.
    is_urgent: bool,
    /// Rows that it gets before others get more than theirs.
    least: usize,
    items: Vec<Vec<Row>>,
}

impl Part {
    pub(super) fn new(noun: &'static str, least: usize, items: Vec<Vec<Row>>) -> Self {
        Self { noun, first: 0, is_urgent: false, least, items }
    }

    /// With items that come before the least of any other part.
    pub(super) fn first(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// These come before those of parts that are not urgent, wherever they stand.
    pub(super) fn urgent(self) -> Self {
        Self { is_urgent: true, ..self }
    }

    pub(super) fn least(&self) -> usize {
        self.least
    }
}
