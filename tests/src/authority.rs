//! One CA for several coordinators, as an operator gives a standby the leader's.

use std::fs;
use std::path::Path;

use spillway_coordinator::clock;
use spillway_coordinator::tls::{Authority, CA_FILE, CA_KEY_FILE};
use spillway_stage::coordinator::ca_file;

/// Gives the coordinator that is to work in `directory` the CA of this file, which is made where it is not there yet.
pub fn share(ca: &Path, directory: &Path) {
    let (from, to) = (ca.parent().expect("a directory"), ca_file(directory));
    let to = to.parent().expect("a directory");
    Authority::open(from, clock::system_now()).unwrap_or_else(|error| panic!("{error}"));
    fs::create_dir_all(to).expect("a directory");
    for file in [CA_FILE, CA_KEY_FILE] {
        fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}
