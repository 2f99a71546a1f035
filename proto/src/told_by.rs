//! `WorkerProof.by`, which the wire has as a string.

/// How a worker's connections or jobs were told to be an instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldBy {
    /// They carry its name.
    Name,
    /// They come from its address.
    Address,
    /// By the word of the worker's own processes alone.
    Shim,
}

impl ToldBy {
    /// The wire's string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Shim => "shim",
        }
    }

    /// What the wire's string says; `None` where it is empty, or of a version to come.
    pub fn from_wire(text: &str) -> Option<Self> {
        [Self::Name, Self::Address, Self::Shim].into_iter().find(|by| by.as_str() == text)
    }
}
