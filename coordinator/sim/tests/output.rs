//! What `spillway-sim` prints may go unread (`spillway-sim … | head -1`): it ends quietly, with the exit status that it
//! has where its output is read.

use std::io::pipe;
use std::process::Command;

#[test]
fn it_ends_quietly_where_nobody_reads_what_it_prints() {
    let short = ["--days", "0.02"];
    let with = |arguments: &[&'static str]| [arguments, &short].concat();
    let all = [
        vec!["--help"],
        vec!["mutants", "--help"],
        with(&["--seed", "7"]),
        with(&["--seeds", "0..2"]),
        with(&["--seeds", "0..2", "--json"]),
    ];
    for arguments in all {
        let make = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_spillway-sim"));
            command.args(&arguments).env_remove("SEED");
            command
        };
        let read = make().output().expect("spillway-sim");
        assert!(read.stdout.contains(&b'\n'), "{arguments:?}: {}", String::from_utf8_lossy(&read.stderr));
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let unread = make().stdout(writer).output().expect("spillway-sim");
        let said = String::from_utf8_lossy(&unread.stderr).into_owned();
        assert_eq!(unread.status, read.status, "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}
