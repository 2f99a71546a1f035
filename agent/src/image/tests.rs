//! Each place, each way to write a credential, and what is none.

mod removal;

use super::*;
use crate::config::Source;

const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz";
const ID: &str = "AKIAZZZZZZZZZZZZZZZ7";

struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        for (name, text) in [("app/package.json", "{}"), ("etc/environment", "PATH=/bin"), ("home/.profile", "")] {
            machine.write(name, text);
        }
        files.iter().for_each(|(name, text)| machine.write(name, text));
        machine
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn places(&self) -> Places {
        let path = |name: &str| self.0.path().join(name);
        Places {
            config: path("agent.toml"),
            environment: Vec::new(),
            directory: path("app"),
            env_file: None,
            home: Ok(path("home")),
            machine: path("etc"),
        }
    }

    /// `file:line name`, separated by blanks.
    fn found(&self, places: &Places, allowed: &[&str]) -> String {
        let allowed: Vec<String> = allowed.iter().map(|it| (*it).to_owned()).collect();
        let Report { found, not_searched } = check(places, &allowed).expect("everything can be read");
        assert_eq!(not_searched, []);
        let short = |it: &Finding| {
            let file = it.file.strip_prefix(self.0.path()).unwrap_or(&it.file).display().to_string();
            format!("{file}:{} {}", it.line.unwrap_or(0), it.name)
        };
        found.iter().map(short).collect::<Vec<_>>().join(" ")
    }
}

fn in_files(files: &[(&str, &str)]) -> String {
    let machine = Machine::new(files);
    machine.found(&machine.places(), &[])
}

#[test]
fn every_file_that_bun_reads_is_looked_at_and_the_line_is_named() {
    for file in [".env", ".env.local", ".env.production", ".env.production.local", "apps/worker/.env.test"] {
        let file = format!("app/{file}");
        let text = format!("# c\nAWS_REGION=us-east-1\n\n  AWS_SECRET_ACCESS_KEY={KEY}\n");
        assert_eq!(in_files(&[(&file, &text)]), format!("{file}:4 AWS_SECRET_ACCESS_KEY"));
    }
    assert_eq!(in_files(&[("app/node_modules/x/.env", &format!("AWS_SECRET_ACCESS_KEY={KEY}"))]), "");
}

#[test]
fn a_credential_is_found_however_it_is_written() {
    for (text, found) in [
        ("AWS_ACCESS_KEY_ID=x", "1 AWS_ACCESS_KEY_ID"),
        ("export AWS_SECRET_ACCESS_KEY='x'", "1 AWS_SECRET_ACCESS_KEY"),
        ("AWS_SESSION_TOKEN: \"x\"", "1 AWS_SESSION_TOKEN"),
        ("A='1\n2'\nAWS_SECRET_ACCESS_KEY = `x\ny`", "3 AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY=${S}\nS=x", "1 AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY=x\nAWS_SECRET_ACCESS_KEY=", "1 AWS_SECRET_ACCESS_KEY"),
        ("\u{feff}STAGING_AWS_SECRET_KEY=x\r\nA=1", "1 STAGING_AWS_SECRET_KEY"),
        ("#AWS_SECRET_ACCESS_KEY=x", "1 AWS_SECRET_ACCESS_KEY"),
        ("S3_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "1 S3_ACCESS_KEY_ID"),
        ("# the old one was AKIAIOSFODNN7EXAMPLE", "1 an access key id"),
        ("AWS_BEARER_TOKEN_BEDROCK=x", "1 AWS_BEARER_TOKEN_BEDROCK"),
        ("SPILLWAY_GRPC_JOIN_TOKEN=x", "1 SPILLWAY_GRPC_JOIN_TOKEN"),
        ("SPILLWAY_LEDGER_URL=redis://:x@h", "1 SPILLWAY_LEDGER_URL"),
    ] {
        assert_eq!(in_files(&[("app/.env", text)]), format!("app/.env:{found}"), "{text:?}");
    }
}

#[test]
fn what_is_no_credential_is_none() {
    for text in [
        "REDIS_URL=redis://:sesame@10.0.0.5\nAWS_REGION=us-east-1\nEC2_LAUNCH_TEMPLATE_ID=lt-1\nAWS_PROFILE=x",
        "AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=''\nAWS_SESSION_TOKEN=<token>\nAWS_SECRET_KEY=your-key",
        "AWS_SECRET_NAME=prod/db\nAWS_SECRETS_MANAGER=on\nS3_SECRET_ACCESS_KEY=of-another-provider\nSPILLWAY_LEDGER_URL=redis://h",
        "AWS_SECRET_ACCESS_KEY=${NOWHERE}\nARN=arn:aws:iam::1:role/AKIA\nX=XAKIAIOSFODNN7EXAMPLE",
    ] {
        assert_eq!(in_files(&[("app/.env", text)]), "", "{text}");
    }
    let example =
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n";
    assert_eq!(in_files(&[("app/.env.example", example), ("app/README.md", example)]), "");
    assert_eq!(
        in_files(&[("app/.env.example", &format!("AWS_ACCESS_KEY_ID={ID}"))]),
        "app/.env.example:1 AWS_ACCESS_KEY_ID"
    );
}

#[test]
fn other_files_that_set_variables_are_looked_at() {
    for (file, text, found) in [
        ("app/ecosystem.config.js", format!("env: {{\n  AWS_SECRET_ACCESS_KEY: '{KEY}' }}"), "2 AWS_SECRET_ACCESS_KEY"),
        (
            "app/ecosystem.json",
            format!("{{\"env\": {{\"AWS_SECRET_ACCESS_KEY\": \"{KEY}\"}}}}"),
            "1 AWS_SECRET_ACCESS_KEY",
        ),
        ("app/start.js", format!("process.env['AWS_SECRET_ACCESS_KEY'] = \"{KEY}\""), "1 AWS_SECRET_ACCESS_KEY"),
        ("home/.bashrc", "export AWS_SECRET_ACCESS_KEY=x".to_owned(), "1 AWS_SECRET_ACCESS_KEY"),
        ("home/.aws/credentials", "[default]\naws_secret_access_key = x".to_owned(), "2 aws_secret_access_key"),
        ("home/.aws/config", format!("[profile a]\naws_access_key_id={ID}"), "2 aws_access_key_id"),
        ("etc/environment", "AWS_SECRET_ACCESS_KEY=\"x\"".to_owned(), "1 AWS_SECRET_ACCESS_KEY"),
        ("etc/profile.d/aws.sh", "export AWS_SESSION_TOKEN=x".to_owned(), "1 AWS_SESSION_TOKEN"),
        (
            "etc/systemd/system/app.service.d/a.conf",
            "[Service]\nEnvironment=AWS_SECRET_ACCESS_KEY=x".to_owned(),
            "2 AWS_SECRET_ACCESS_KEY",
        ),
    ] {
        assert_eq!(in_files(&[(file, &text)]), format!("{file}:{found}"));
    }
    for text in [
        "env: { AWS_SECRET_ACCESS_KEY: process.env.AWS_SECRET_ACCESS_KEY, AWS_REGION: 'us-east-1' }",
        "const { AWS_SECRET_ACCESS_KEY: secret } = process.env; const AWS_SECRET_ACCESS_KEY = read();",
        "export AWS_SECRET_ACCESS_KEY=\"$(cat key)\"; AWS_SESSION_TOKEN=$T é = AWS_SESSION_TOKEN",
    ] {
        assert_eq!(in_files(&[("app/ecosystem.config.js", text), ("home/.bashrc", text)]), "", "{text}");
    }
    let removed = "etc/systemd/system/spillway.service.d/token.conf";
    assert_eq!(in_files(&[(removed, "[Service]\nEnvironment=SPILLWAY_GRPC_JOIN_TOKEN=x")]), "");
}

#[test]
fn files_that_the_settings_name_are_looked_at_and_what_is_allowed_is_left_out() {
    let machine = Machine::new(&[
        (
            "shared/app.env",
            "AWS_SHARED_CREDENTIALS_FILE=/nonexistent\nAWS_SECRET_ACCESS_KEY=x\nS3_ID=AKIAIOSFODNN7EXAMPLE",
        ),
        ("keys", "[default]\naws_session_token = x"),
    ]);
    let mut places = machine.places();
    places.env_file = Some(machine.0.path().join("shared/app.env"));
    let keys = machine.0.path().join("keys").display().to_string();
    places.environment = vec![
        ("AWS_CONFIG_FILE".to_owned(), keys.clone(), None),
        ("AWS_SESSION_TOKEN".to_owned(), "x".to_owned(), Some(7)),
    ];
    assert_eq!(
        machine.found(&places, &[]),
        "agent.toml:7 AWS_SESSION_TOKEN keys:2 aws_session_token shared/app.env:2 AWS_SECRET_ACCESS_KEY shared/app.env:3 S3_ID"
    );
    assert_eq!(machine.found(&places, &["AWS_SECRET_ACCESS_KEY", &keys, "S3_ID"]), "agent.toml:7 AWS_SESSION_TOKEN");
    fs::remove_dir_all(machine.0.path().join("app")).expect("the directory");
    let error = check(&places, &[]).expect_err("nothing can be said of it").to_string();
    assert!(error.contains("app holds is unknown"), "{error}");
}

#[test]
fn a_boot_steps_own_variables_are_looked_at() {
    for (step, found) in [
        ("\"AWS_SECRET_ACCESS_KEY=x pm2 start\"", "agent.toml:2 AWS_SECRET_ACCESS_KEY"),
        ("\"AWS_SECRET_ACCESS_KEY=\\\"x\\\" pm2 start\"", "agent.toml:2 AWS_SECRET_ACCESS_KEY"),
        ("\"pm2 start -- --id AKIAZZZZZZZZZZZZZZZ7\"", "agent.toml:2 run"),
        ("\"AWS_SECRET_ACCESS_KEY=$KEY pm2 start\"", ""),
    ] {
        let text = format!("[boot]\nsteps = [{{ run = {step} }}]\n");
        assert_eq!(in_files(&[("agent.toml", &text)]), found, "{text}");
    }
    assert_eq!(in_files(&[("agent.toml", include_str!("../../../ami/agent.toml"))]), "", "the example has none");
}

#[test]
fn ecosystem_and_configuration_files_are_looked_at_at_any_depth() {
    let text = format!("AWS_SECRET_ACCESS_KEY: '{KEY}'");
    for name in ["ecosystem.config.js", "ecosystem.json", "worker.config.cjs", "a/b/ecosystem.config.mjs"] {
        let file = format!("app/deploy/{name}");
        assert_eq!(in_files(&[(&file, &text)]), format!("{file}:1 AWS_SECRET_ACCESS_KEY"));
    }
    for file in ["app/node_modules/x/ecosystem.config.js", "app/.git/ecosystem.config.js", "app/src/index.js"] {
        assert_eq!(in_files(&[(file, &text)]), "", "{file}");
    }
}

#[test]
fn a_place_that_is_not_searched_is_named_with_the_reason() {
    let machine =
        Machine::new(&[("shared/.env", "A=1"), ("etc/systemd/system/app.service", "[Service]"), ("app/config/a", "")]);
    let path = |name: &str| machine.0.path().join(name);
    let link = |to: &str, from: &str| std::os::unix::fs::symlink(path(to), path(from)).expect("a link");
    fs::create_dir_all(path("etc/profile.d")).expect("a directory");
    link("shared", "app/shared");
    link("shared", "etc/profile.d/more");
    // What is searched in its own place is not named.
    link("app/config", "app/current");
    link("etc/systemd/system/app.service", "etc/systemd/system/alias.service");
    let large = fs::File::create(path("app/.env.old")).expect("a file");
    large.set_len(LARGEST + 1).expect("a size");
    let mut places = machine.places();
    places.env_file = Some(path("nowhere.env"));
    let Report { found, not_searched } = check(&places, &[]).expect("everything can be read");
    let short: Vec<String> = not_searched
        .iter()
        .map(|it| it.to_string().replace(&format!("{}/", path("").display()).replace("//", "/"), ""))
        .collect();
    let expected = [
        "app/.env.old: not searched: it is larger than 1 MiB",
        "app/shared: not searched: it is a link to the directory shared",
        "etc/profile.d/more: not searched: it is a link to the directory shared",
        "nowhere.env: not searched: env_file names it, and it is not there",
    ];
    assert_eq!((found, short), (vec![], expected.map(str::to_owned).to_vec()));
}

#[test]
fn a_linked_file_of_the_machine_is_searched_once() {
    let text = "[Service]\nEnvironment=AWS_SECRET_ACCESS_KEY=x";
    let machine =
        Machine::new(&[("lib/app.sh", text), ("etc/systemd/system/app.service", text), ("etc/profile.d/a.sh", "")]);
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(machine.0.path().join(to), machine.0.path().join(from)).expect("a link");
    };
    link("lib/app.sh", "etc/profile.d/app.sh");
    link("etc/systemd/system/app.service", "etc/systemd/system/alias.service");
    let found = "etc/profile.d/app.sh:2 AWS_SECRET_ACCESS_KEY etc/systemd/system/app.service:2 AWS_SECRET_ACCESS_KEY";
    assert_eq!(machine.found(&machine.places(), &[]), found);
}

#[test]
fn the_users_home_is_the_one_of_the_machine_that_is_searched() {
    let machine = Machine::new(&[
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nhalf:line\nworker:x:4711:1::/home/worker:/bin/sh\n"),
        ("home/worker/.aws/credentials", "aws_secret_access_key = x"),
    ]);
    let root = machine.0.path();
    let places = |user: &str| {
        let config = root.join("agent.toml");
        let text = format!("[boot]\nuser = \"{user}\"\ndirectory = \"{}/app\"\n", root.display());
        let source = Source::parse(config.display().to_string(), &text, []).expect("a configuration");
        Places::of(&config, &source, Some(root))
    };
    let found = machine.found(&places("worker").expect("it exists"), &[]);
    assert_eq!(found, "home/worker/.aws/credentials:1 aws_secret_access_key");
    let error = places("wroker").expect_err("nobody is called that").to_string();
    assert!(error.contains("agent.toml:2: boot.user names the user wroker, who does not exist: create"), "{error}");
    let on_this_machine = Source::parse("a".to_owned(), "boot.user = \"no-such-user\"\nboot.directory = \"/\"", []);
    let error = Places::of(Path::new("a"), &on_this_machine.expect("a configuration"), None).expect_err("the same");
    assert!(error.to_string().contains("who does not exist"), "{error}");
}

#[test]
fn the_page_names_what_is_read_of_the_machine() {
    let page = include_str!("../../../ami/README.md");
    for name in OF_THE_MACHINE {
        assert!(page.contains(&format!("`/etc/{name}`")), "/etc/{name} is not in ami/README.md");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "[AKISW_=:\"'`$ {}\n\ré0-9]{0,60}") {
        let _ = (secrets::in_text(text.as_bytes(), false), secrets::in_environment(text.as_bytes(), true));
    }
}
