//! What a program prints, to a reader that may go away: `spillway status | head -1`.
//!
//! `println!` panics then. What is printed here is dropped instead, and the program goes on to its own exit status: a
//! check that failed has failed whoever read how much of it. What would go on for long looks at [`is_unread`] and ends.
//! SIGPIPE stays ignored, as Rust has it: its default would end a program for a peer that closes a connection, too.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_UNREAD: AtomicBool = AtomicBool::new(false);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// As `print!`.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => { $crate::print(::std::format_args!($($text)*)) };
}

/// As `println!`.
#[macro_export]
macro_rules! outln {
    () => { $crate::print(::std::format_args!("\n")) };
    ($($text:tt)*) => { $crate::print(::std::format_args!("{}\n", ::std::format_args!($($text)*))) };
}

/// As `eprintln!`; what nobody reads is dropped.
#[macro_export]
macro_rules! errln {
    ($($text:tt)*) => { $crate::print_error(::std::format_args!("{}\n", ::std::format_args!($($text)*))) };
}

/// Writes to standard output.
pub fn print(text: Arguments<'_>) {
    if is_unread() {
        return;
    }
    if let Err(error) = std::io::stdout().write_fmt(text) {
        failed(&error);
    }
}

/// Sends what is not a whole line yet.
pub fn flush() {
    if let Err(error) = std::io::stdout().flush() {
        failed(&error);
    }
}

/// Writes to standard error.
pub fn print_error(text: Arguments<'_>) {
    // There is nowhere to tell it.
    let _ = std::io::stderr().write_fmt(text);
}

/// Nothing that is printed from now on reaches anybody.
pub fn is_unread() -> bool {
    IS_UNREAD.load(Ordering::Relaxed)
}

/// The exit status of a program that has come to `status`: a failure where what it printed was not written and somebody
/// waits for it, such as a file on a full disk.
pub fn ended(status: ExitCode) -> ExitCode {
    flush();
    if HAS_FAILED.load(Ordering::Relaxed) { ExitCode::FAILURE } else { status }
}

fn failed(error: &Error) {
    if !IS_UNREAD.swap(true, Ordering::Relaxed) && error.kind() != ErrorKind::BrokenPipe {
        HAS_FAILED.store(true, Ordering::Relaxed);
        print_error(format_args!("cannot write to standard output: {error}\n"));
    }
}
