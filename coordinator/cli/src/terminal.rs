//! The terminal that standard output may be: its size, and a screen of one's own on it that is always given back, also
//! by an error, a signal that is waited for, and a panic.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::{cursor, execute, queue, terminal};
use nix::unistd::{getppid, getsid};
use rustix::termios::{Winsize, tcgetwinsize};
use spillway_console::layout::Size;
use spillway_console::status::Page;
use spillway_console::style::{Colors, Line};

/// Where the terminal does not tell.
const USUAL: Size = Size { width: 80, height: 24 };

/// Somebody has a screen: a panic gives it back before it says what it is.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The room that standard output has.
pub(crate) fn page() -> Page {
    if !std::io::stdout().is_terminal() {
        return Page::piped();
    }
    let Size { width, height } = size();
    Page::of_terminal(width, height)
}

/// Of the terminal that is drawn on, whichever one the keys come from. Some say that they have no columns.
pub(crate) fn size() -> Size {
    match tcgetwinsize(std::io::stdout()) {
        Ok(Winsize { ws_col: width @ 1.., ws_row: height @ 1.., .. }) => Size { width, height },
        _ => USUAL,
    }
}

/// Whether a shell would let a stopped process go on. `ssh -t HOST spillway top` has none: it would stand still for
/// ever.
pub(crate) fn has_job_control() -> bool {
    // Not rustix: it aborts on the 0 that Linux answers where the session was begun outside this container.
    let session = |of| getsid(of).ok();
    let parent = getppid();
    parent.as_raw() != 0 && session(Some(parent)).is_some_and(|its| session(None) == Some(its))
}

/// The terminal's second screen, until it is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    colors: Colors,
    is_taken: bool,
}

impl Screen {
    /// Nothing is changed before the first `draw`.
    pub(crate) fn new() -> Self {
        Self { colors: Colors::of_stdout(), is_taken: false }
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken
    }

    pub(crate) fn colors(&self) -> Colors {
        self.colors
    }

    /// Keys are read one by one and not shown, where standard input is a terminal. Ctrl-C is a key from then on.
    pub(crate) fn take_keys(&mut self) -> bool {
        self.take();
        std::io::stdin().is_terminal() && terminal::enable_raw_mode().is_ok()
    }

    /// Draws what fits: `frame` is asked with the size that the terminal has now.
    ///
    /// # Errors
    /// Nobody has the terminal open any more.
    pub(crate) fn draw(&mut self, frame: impl FnOnce(Size) -> Vec<Line>) -> std::io::Result<()> {
        self.take();
        let size = size();
        // Behind a line that reaches the edge the cursor is still on its last cell, which this would clear.
        let clear = |line: &Line| if line.width() < usize::from(size.width) { "\x1b[K" } else { "" };
        let lines: Vec<String> = frame(size).iter().map(|line| line.render(self.colors) + clear(line)).collect();
        // Home first, and what is below cleared last: no flicker. No line break after the last: it would scroll.
        let text = format!("\x1b[H{}\x1b[J", lines.join("\r\n"));
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }

    /// Gives the terminal back as it was.
    pub(crate) fn close(&mut self) {
        if std::mem::take(&mut self.is_taken) {
            give_back();
        }
    }

    fn take(&mut self) {
        self.is_taken = true;
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        if IS_TAKEN.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut out = std::io::stdout();
        // What is wider than it looks must not push the lines below it down.
        let _ = queue!(out, terminal::EnterAlternateScreen, terminal::DisableLineWrap, cursor::Hide);
        let _ = out.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// Once: whoever comes second finds it given back.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = terminal::disable_raw_mode();
        let _ = execute!(std::io::stdout(), cursor::Show, terminal::EnableLineWrap, terminal::LeaveAlternateScreen);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "SPILLWAY_TEST_PANICS_ON_A_SCREEN";
    const NAME: &str = "terminal::tests::a_panic_gives_the_terminal_back_before_it_says_what_it_is";

    /// This test in a process of its own: a hook is the whole process'.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_what_it_is() {
        if std::env::var_os(CHILD).is_some() {
            let mut screen = Screen::new();
            screen.draw(|_| vec![Line::from("drawn")]).expect("a pipe");
            panic!("on purpose");
        }
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        // Both in one pipe: their order is what is asked.
        command.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = command.spawn().expect("it starts");
        drop(command);
        let said = std::io::read_to_string(&mut reader).expect("text");
        assert!(!child.wait().expect("its end").success(), "{said:?}");
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text:?} is not in {said:?}"));
        assert!(at("\x1b[?1049h") < at("drawn") && at("drawn") < at("\x1b[?25h"), "{said:?}");
        assert!(at("\x1b[?1049l") < at("on purpose"), "the message is on the screen that stays: {said:?}");
        assert_eq!(said.matches("\x1b[?1049l").count(), 1, "once: {said:?}");
    }
}
