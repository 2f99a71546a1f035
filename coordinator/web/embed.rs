//! The dashboard's files, as the build has made them. Whoever serves them knows nothing of how they were made.

/// A file: as it is, and compressed.
#[derive(Debug)]
pub struct Asset {
    pub name: &'static str,
    pub plain: &'static [u8],
    pub gzip: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The page itself.
pub const PAGE: &str = "index.html";
/// `coordinator/deploy/operations.md` as a page.
pub const RUNBOOK: &str = "runbook.html";

/// uPlot's licence; there where uPlot is.
pub const CHARTS_LICENSE: &str = "uPlot-LICENSE.txt";

/// A file by its name.
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    /// By the end of its name.
    pub fn content_type(&self) -> &'static str {
        match self.name.rsplit_once('.').map(|(_, end)| end) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_what_it_names_are_there_and_small() {
        let page = std::str::from_utf8(asset(PAGE).expect("a page").plain).expect("text");
        let named = page.match_indices("\"/assets/").map(|(at, prefix)| {
            let rest = &page[at + prefix.len()..];
            &rest[..rest.find('"').expect("an end")]
        });
        let named: Vec<&str> = named.collect();
        assert!(named.len() >= 2, "{page}");
        assert!(named.iter().all(|name| asset(name).is_some()), "{named:?}");
        // All of it together, as a browser gets it.
        let wire: usize = ASSETS.iter().filter(|it| it.name != RUNBOOK).map(|it| it.gzip.len()).sum();
        assert!(wire <= 60_000, "{wire} bytes");
    }

    #[test]
    fn the_runbook_has_anchors() {
        let page = std::str::from_utf8(asset(RUNBOOK).expect("a runbook").plain).expect("text");
        assert!(page.contains("id=\"when-it-does-not-scale\""), "{}", &page[..500]);
    }
}
