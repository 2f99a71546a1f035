//! What is typed, read by a thread of its own: reading a terminal blocks.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use spillway_console::top::Key;
use tokio::sync::mpsc::{Receiver, channel};

/// How long the end may have to wait for the thread.
const POLL: Duration = Duration::from_millis(100);
/// Keys that wait: who types faster than the screen is drawn waits too.
const WAITING: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Quit,
    /// A shell gets the terminal until it wants this to go on.
    Stop,
    Key(Key),
    /// Nothing is done, but for drawing anew: the terminal may have another size.
    Other,
}

#[derive(Debug)]
pub(super) struct Keys {
    /// None where there is no terminal to read from, or it has gone.
    pressed: Option<Receiver<Pressed>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Takes the keys of the terminal that the screen is on.
    pub(super) fn begin(screen: &mut crate::terminal::Screen) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        if !screen.take_keys() {
            return Self { pressed: None, stop, thread: None };
        }
        let (sender, pressed) = channel(WAITING);
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                match event::poll(POLL).and_then(|is_there| if is_there { event::read().map(Some) } else { Ok(None) }) {
                    Ok(Some(event)) => {
                        if sender.blocking_send(meant(&event)).is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(_) => return,
                }
            }
        });
        Self { pressed: Some(pressed), stop, thread: Some(thread) }
    }

    pub(super) fn are_read(&self) -> bool {
        self.pressed.is_some()
    }

    /// The next one; never where none can come.
    pub(super) async fn pressed(&mut self) -> Pressed {
        if let Some(receiver) = &mut self.pressed {
            if let Some(pressed) = receiver.recv().await {
                return pressed;
            }
            self.pressed = None;
        }
        pending().await
    }
}

impl Drop for Keys {
    /// Before the terminal is given back: what is typed after that is the shell's.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that waits for room ends by this.
        self.pressed = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn meant(event: &Event) -> Pressed {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return Pressed::Other };
    if *kind == KeyEventKind::Release {
        return Pressed::Other;
    }
    let is_control = modifiers.contains(KeyModifiers::CONTROL);
    match code {
        KeyCode::Char('c' | 'd') if is_control => Pressed::Quit,
        KeyCode::Char('z') if is_control => Pressed::Stop,
        _ if is_control => Pressed::Other,
        KeyCode::Char('q' | 'Q') => Pressed::Quit,
        KeyCode::Char('p' | 'P') => Pressed::Key(Key::NextPool),
        KeyCode::Char('?' | 'h') => Pressed::Key(Key::Help),
        KeyCode::Up | KeyCode::Char('k') => Pressed::Key(Key::Up),
        KeyCode::Down | KeyCode::Char('j') => Pressed::Key(Key::Down),
        KeyCode::PageUp => Pressed::Key(Key::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Pressed::Key(Key::PageDown),
        _ => Pressed::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_c_quits_control_z_stops_and_no_other_control_key_does_anything() {
        let of = |code, modifiers| meant(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL), Pressed::Quit);
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::NONE), Pressed::Other);
        assert_eq!(of(KeyCode::Char('z'), KeyModifiers::CONTROL), Pressed::Stop);
        assert_eq!(of(KeyCode::Char('z'), KeyModifiers::NONE), Pressed::Other);
        assert_eq!(of(KeyCode::Char('q'), KeyModifiers::NONE), Pressed::Quit);
        assert_eq!(of(KeyCode::Char('p'), KeyModifiers::CONTROL), Pressed::Other);
        assert_eq!(of(KeyCode::PageDown, KeyModifiers::NONE), Pressed::Key(Key::PageDown));
        assert_eq!(meant(&Event::Resize(80, 24)), Pressed::Other);
    }
}
