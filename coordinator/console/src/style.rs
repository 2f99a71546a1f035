//! Text with colours: lines of spans that are cut and padded by what is seen, and written with colours or without.

use std::io::IsTerminal as _;

use spillway_words::shown::visible_line;

/// How a span looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Magenta,
    Cyan,
}

impl Style {
    /// The colour of a phase, as `spillway.v1` spells it.
    pub fn of_phase(phase: &str) -> Self {
        match phase {
            "launching" | "booting" => Self::Yellow,
            "ready" => Self::Green,
            "draining" => Self::Magenta,
            _ => Self::Dim,
        }
    }

    /// The parameter of SGR (ECMA-48).
    fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Bold => Some(1),
            Self::Dim => Some(2),
            Self::Red => Some(31),
            Self::Green => Some(32),
            Self::Yellow => Some(33),
            Self::Magenta => Some(35),
            Self::Cyan => Some(36),
        }
    }
}

/// Whether colours are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    On,
    Off,
}

impl Colors {
    /// On where stdout is a terminal that has them, and `NO_COLOR` is empty or not set (no-color.org).
    pub fn of_stdout() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb { Self::On } else { Self::Off }
    }
}

/// One line. Every character is taken to be one cell wide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Style, String)>);

impl Line {
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self::default().with(style, text)
    }

    /// The same with more at its end. Texts of others reach it, so that control characters become pictures here: the
    /// terminal obeys what `render` writes and nothing else.
    #[must_use]
    pub fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, visible_line(&text.into().replace('\t', " "))));
        self
    }

    /// Another line at its end.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// At most so wide; what is cut ends in `…`.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut line = Self::default();
        let mut last = Style::Plain;
        for (style, text) in self.0 {
            let part: String = text.chars().take(left).collect();
            left -= part.chars().count();
            // Somebody may have cut it there before.
            let part = if left == 0 { part.trim_end_matches('…') } else { &part };
            last = style;
            line = line.with(style, part);
            if left == 0 {
                break;
            }
        }
        if width > 0 { line.with(last, "…") } else { line }
    }

    /// In lines of at most `width`, broken between words; all but the first begin with `indent` blanks.
    pub fn wrap(self, width: usize, indent: usize) -> Vec<Self> {
        let width = width.max(1);
        let indent = indent.min(width / 2);
        let cells: Vec<(Style, char)> =
            self.0.iter().flat_map(|(style, text)| text.chars().map(|c| (*style, c))).collect();
        let (mut lines, mut rest, mut begin) = (Vec::new(), &cells[..], 0);
        loop {
            let room = width - begin;
            let blanks = Self::new(Style::Plain, " ".repeat(begin));
            if rest.len() <= room {
                lines.push(blanks.and(Self::of_cells(rest)));
                return lines;
            }
            let is_blank = |at: &usize| rest[*at].1 == ' ' && rest[..*at].iter().any(|(_, c)| *c != ' ');
            let at = (1..=room).rev().find(is_blank).unwrap_or(room);
            lines.push(blanks.and(Self::of_cells(&rest[..at])));
            rest = &rest[at..];
            rest = &rest[rest.iter().take_while(|(_, c)| *c == ' ').count()..];
            begin = indent;
            if rest.is_empty() {
                return lines;
            }
        }
    }

    /// In at most so many lines; what is cut ends in `…`.
    pub fn wrap_in(self, width: usize, indent: usize, most: usize) -> Vec<Self> {
        let mut lines = self.wrap(width, indent);
        if lines.len() > most {
            lines.truncate(most);
            let last = lines.pop().map(|last| last.trailing_off(width));
            lines.extend(last);
        }
        lines
    }

    /// With the mark of what is cut at its end, once.
    fn trailing_off(self, width: usize) -> Self {
        let is_marked = self.0.last().is_some_and(|(_, text)| text.ends_with('…'));
        // What is too wide with it is cut, and ends in it just so.
        if is_marked { self } else { self.with(Style::Plain, "…").cut(width) }
    }

    fn of_cells(cells: &[(Style, char)]) -> Self {
        let spans = cells.chunk_by(|(one, _), (other, _)| one == other);
        Self(spans.map(|span| (span[0].0, span.iter().map(|(_, c)| c).collect())).collect())
    }

    /// Exactly so wide.
    #[must_use]
    pub fn fit(self, width: usize) -> Self {
        let line = self.cut(width);
        let missing = width - line.width();
        line.with(Style::Plain, " ".repeat(missing))
    }

    /// As it is written to a terminal.
    pub fn render(&self, colors: Colors) -> String {
        let code = |style: Style| if colors == Colors::On { style.code() } else { None };
        self.0
            .iter()
            .map(|(style, text)| match code(*style) {
                Some(code) if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
                _ => text.clone(),
            })
            .collect()
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new(Style::Plain, text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new(Style::Plain, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_ends_in_an_ellipsis_and_is_never_too_wide() {
        let line = || Line::new(Style::Bold, "12345").with(Style::Green, "67890");
        for width in 0..15 {
            let cut = line().cut(width);
            assert_eq!(cut.width(), width.min(10), "{cut:?}");
            assert_eq!(cut.render(Colors::Off).ends_with('…'), (1..10).contains(&width), "{cut:?}");
            assert_eq!(line().fit(width).width(), width);
        }
        assert_eq!(line().cut(7).render(Colors::Off), "123456…");
        assert_eq!(line().cut(5).render(Colors::Off), "1234…");
    }

    #[test]
    fn a_sentence_is_broken_between_words_and_keeps_its_colours() {
        let line = || Line::new(Style::Bold, "PROBLEM  ").with(Style::Red, "cannot read the queues of it");
        let wrapped = |width| line().wrap(width, 9).iter().map(|it| it.render(Colors::Off)).collect::<Vec<_>>();
        assert_eq!(wrapped(40), ["PROBLEM  cannot read the queues of it"]);
        assert_eq!(wrapped(24), ["PROBLEM  cannot read the", "         queues of it"]);
        assert_eq!(line().wrap(24, 9)[1].render(Colors::On), "         \x1b[31mqueues of it\x1b[0m");
        for width in 0..40 {
            assert!(line().wrap(width, 9).iter().all(|it| it.width() <= width.max(1)), "{width}");
        }
        assert_eq!(Line::default().wrap(10, 4), [Line::default().with(Style::Plain, "")]);
        assert_eq!(Line::from("0123456789").wrap(4, 9).len(), 4, "a word that is too long is broken anywhere");
    }

    #[test]
    fn what_is_left_of_a_sentence_ends_in_one_ellipsis() {
        let wrapped = |text: &str, width, most| {
            let lines = Line::from(text).wrap_in(width, 2, most);
            lines.iter().map(|it| it.render(Colors::Off)).collect::<Vec<_>>()
        };
        assert_eq!(wrapped("one two three", 20, 1), ["one two three"]);
        assert_eq!(wrapped("one two three four", 8, 2), ["one two", "  three…"]);
        assert_eq!(wrapped("one two33 three", 9, 1), ["one two3…"], "there is no room for another character");
        assert_eq!(wrapped("one two… three", 9, 1), ["one two…"]);
        assert_eq!(Line::from("one… three").cut(5).render(Colors::Off), "one…");
    }

    #[test]
    fn a_text_of_others_moves_no_cursor() {
        let line = Line::new(Style::Red, "a\x1b[2Jb\tc\n");
        assert_eq!((line.render(Colors::Off), line.width()), ("a␛[2Jb c␊".to_owned(), 9));
    }

    #[test]
    fn colours_are_written_only_where_they_are_on() {
        let line = Line::new(Style::Plain, "a ").with(Style::Green, "READY");
        assert_eq!(line.render(Colors::On), "a \x1b[32mREADY\x1b[0m");
        assert_eq!(line.render(Colors::Off), "a READY");
    }
}
