//! The documentation says what is: links lead somewhere, commands run, quoted sentences are the program's, the README's
//! two commands are what CI runs, operators read the glossary's words, the image's script fails on what must not be in
//! one. Settings are held to the code beside it (`config/tests/settings_page.rs` of coordinator and agent).

mod alerts;
mod authority;
mod ci;
mod commands;
mod glossary;
mod image;
mod links;
mod pages;
mod running;
mod sentences;
mod shell;
mod tests_page;
mod width;
