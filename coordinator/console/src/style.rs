//! Text with colours: lines of spans that are cut and padded by what is seen, and written with colours or without.

use std::io::IsTerminal as _;

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

    /// The same with more at its end.
    #[must_use]
    pub fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
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
            last = style;
            line = line.with(style, part);
            if left == 0 {
                break;
            }
        }
        if width > 0 { line.with(last, "…") } else { line }
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
    fn colours_are_written_only_where_they_are_on() {
        let line = Line::new(Style::Plain, "a ").with(Style::Green, "READY");
        assert_eq!(line.render(Colors::On), "a \x1b[32mREADY\x1b[0m");
        assert_eq!(line.render(Colors::Off), "a READY");
    }
}
