//! What bun itself reads from the same files: bun must be installed.

use std::process::Command;

use super::*;

/// Files, most of them as people have them, and a variable of the environment that both see.
const FILES: &[&str] = &[
    "A=1\nexport B=2\n  C = 3  \nD=\nE=1 # note\nF=pass#word\n",
    "A=\"1 # not\" # note\nB='it \"is\" $so\\n'\nC=`back 'n' \"forth\"`\nD=\"two\\nlines\"\nE=\"a\\\"b\"\nF=\"one\ntwo\"\n",
    "# c\n\nB=2\nA=x=y=z\nA=1\r\nC=3\r\nA=new",
    "\u{feff}A=1\nB=2",
    "REDIS_PASSWORD=sesame\nREDIS_HOST=10.0.0.5\nREDIS_URL=redis://:${REDIS_PASSWORD}@${REDIS_HOST}:6379\n",
    "REDIS_URL=redis://:${REDIS_PASSWORD}@${REDIS_HOST}:6379\nREDIS_PASSWORD=sesame\nREDIS_HOST=10.0.0.5\n",
    "KEY=\"-----BEGIN KEY-----\nMIIE\nx\n-----END KEY-----\"\nREDIS_URL=redis://h:1\n",
    "KEY=-----BEGIN KEY-----\nMIIEow==\nx\n-----END KEY-----\nREDIS_URL=redis://h:1\n",
    "KEY='-----BEGIN KEY-----\n-----END KEY-----'\nREDIS_URL=redis://h:1\n",
    "TODO rotate\nREDIS_URL=redis://h:1\nnonsense\n=1\n==\nüml=1\nA B=2\n",
    "A: 1\nB:2\nC : 3\nexport D: 4\nexport=5\nexport export=6\n",
    "A=\"open\nB=2\nC=3\n",
    "A=\"x\" y\nB='x' # c\nC=\"x\"# c\nD=\"x\"y\"\nE='a'\\''b'\n",
    "A=${B:-dflt}\nB=\nC=${NO:-dflt}\nD=${NO}\nE=$NO.x\nF=$C-$C\nG=\\$C\nH=\"\\${C}\"\nI=${C\nJ=$\nK=$$\nL=a${C}b${D}c\n",
    "A='$B'\nB=\"$OUTER\"\nC=`${OUTER}`\nOUTER=inner\nD=${OUTER}\n",
    "A=1\n\n  # x\n\tB\t=\t2\t\nC=a b  c \nD=\"  a  \"\nE=' a '\n",
    "A=redis://u:p%40ss@h:6379/1?x=y&z=1\nB=http://h/#frag\nC=\"http://h/#frag\"\nD=a;b\nE=a,b\n",
    "A=\"a\\tb\\\\c\\$d\"\nB='a\\tb'\nC=a\\nb\nD=\"\\\"\nE=2\n",
    "A-B=1\nA.B=2\n1A=3\n_=4\nA=\n\nB=5\nC=\n#x\n",
    "A\n=1\nB =\n2\nC=3",
    "A",
    "",
    "A=\u{a0}x\u{a0}\nB=é\nC=\"日本\"\n",
    "A=1\rB=2\rC=\"x\ry\"\n",
    "C=1\nA=${NO:-a${C}b}\nB=${NO:-{}}\nD=${A${C}}\nE=${NO:-$C}\nF=x${NO:-a${C}b\nG=${A B} $C\nH=${NO:-x\\}y}\n",
    "A=$B\nB=$C\nC=1\nD=${B}\nE=${E}\nF=${:-d}\nG=${}\nH=a\\$C\\\\$C\n",
];

fn by_bun(file: &str) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("given.env"), file).expect("the file");
    let script = "console.log(JSON.stringify(process.env))";
    let out = Command::new("bun")
        .args(["--env-file=given.env", "-e", script])
        .current_dir(directory.path())
        .env_clear()
        .envs([("PATH", std::env::var("PATH").unwrap_or_default())])
        .envs([("OUTER", "outer"), ("HOME", "/nonexistent")])
        .output()
        .expect("bun: run tests/setup");
    assert!(out.status.success(), "{file:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("its environment")
}

/// As `by_bun`, but for variables that bun sets itself.
fn differs(file: &str) -> Option<String> {
    let outer: BTreeMap<String, String> = [("OUTER".to_owned(), "outer".to_owned())].into();
    let ours = parse(file.as_bytes(), &outer);
    let theirs = by_bun(file);
    let of_bun = |name: &String| ["PATH", "HOME", "OUTER"].contains(&name.as_str()) || name.starts_with("BUN_");
    let same = |name: &String| ours.get(name) == theirs.get(name);
    let wrong = ours.keys().chain(theirs.keys()).find(|name| !of_bun(name) && !same(name))?;
    Some(format!("{file:?}: {wrong} is {:?}, bun reads {:?}", ours.get(wrong), theirs.get(wrong)))
}

#[test]
fn every_file_is_read_as_bun_reads_it() {
    let wrong: Vec<String> = FILES.iter().filter_map(|file| differs(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The pieces of such files in an order that nobody thought of.
#[test]
fn files_of_random_pieces_are_read_as_bun_reads_them() {
    const PIECES: &[&str] = &[
        "A", "B", "=", "\n", "\"", "'", "`", "$", "{", "}", "${A}", ":-", "\\", "#", " ", "\t", "export ", ": ", "x",
        "\r", "${B:-x}", "\\n", "A=", "\nB=", "_",
    ];
    let mut random = 7_u64;
    let mut draw = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % n as u64).expect("small")
    };
    let mut wrong = Vec::new();
    for _ in 0..100 {
        let length = 1 + draw(14);
        let file: String = (0..length).map(|_| PIECES[draw(PIECES.len())]).collect();
        wrong.extend(differs(&file));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "[A-C=\"'`#\\\\ ${}:\\-\n\r\tnxé]{0,60}") {
        let _ = parse(text.as_bytes(), &BTreeMap::new());
    }
}

#[test]
fn an_assignment_says_which_lines_it_takes_and_what_it_refers_to() {
    let text = "\u{feff}A=1 # c\n  export B='x\ny' # c\r\nC=\r\nD: \"z\"\rE=$F${G:-h}\\$I";
    let found = assignments(text.as_bytes());
    let taken: Vec<&str> = found.iter().map(|it| &text[it.span.clone()]).collect();
    assert_eq!(taken, ["A=1 # c\n", "  export B='x\ny' # c\r\n", "C=\r\n", "D: \"z\"\r", "E=$F${G:-h}\\$I"]);
    assert_eq!(found[4].references(), [b"F", b"G"]);
    assert_eq!(found[0].references(), Vec::<&[u8]>::new());
}
