//! `spillway bake` at the emulator, whose instances are processes here: builder and canary only say their verdict. What
//! they do on machines is shown by the test of the machines.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use spillway_emulator::{Delay, Emulator, FailLaunch, InstanceState, Lose, Refuse};
use spillway_stage::ec2;
use spillway_tests::coordinator::{Coordinator, Environment, spillway};
use spillway_tests::moto::all;
use spillway_tests::process::{Process, output, text};
use spillway_tests::stack::{self, PLAIN};
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{binaries, jobs, other_client, ports, wait};
use tempfile::TempDir;

/// An account with the stack, and a primary that may be copied.
struct World {
    emulator: Emulator,
    environment: Environment,
    primary: String,
    builder_group: String,
    directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = directory();
        let init: Vec<std::ffi::OsString> = vec![binaries::spillway().into(), "instance-init".into()];
        let mut options = ec2::options(directory.path(), init).expect("options");
        (options.pending, options.shutting_down) = (Duration::from_millis(50), Duration::from_millis(50));
        let emulator = spillway_emulator::start(options).await.expect("the emulator");
        let mut environment: Environment = ec2::client_environment(&emulator).into_iter().collect();
        environment.insert("AWS_REGION".to_owned(), "us-east-1".to_owned());
        let user_data = "#!/bin/bash\ncoordinator=https://10.0.0.5:7443\nca=''\n";
        let builder_group = stack::make(&emulator, user_data).await;
        let form = [
            ("Action", "RunInstances"),
            ("ImageId", "ami-0e00000000000000b"),
            ("InstanceType", "t3.large"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ];
        let primary = all(&stack::call(&emulator, &form).await, "instanceId").remove(0);
        stack::may_be_copied(&emulator, &primary).await;
        wait::until(
            "the primary runs",
            async || String::new(),
            async || {
                let records = emulator.instances();
                records.iter().all(|it| it.state == InstanceState::Running).then_some(())
            },
        )
        .await;
        Self { emulator, environment, primary, builder_group, directory }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = spillway(&self.environment);
        command.arg("bake").args(more).current_dir("/");
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        output(&mut self.command(more))
    }

    /// A bake that succeeds: its image.
    fn bake(&self, more: &[&str]) -> String {
        let out = self.run(&[&["--json"], more].concat());
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        assert!(out.status.success() && said["ok"] == true, "{out:?}");
        said["image"].as_str().expect("an image").to_owned()
    }

    /// One that fails: what it says.
    fn fails(&self, more: &[&str]) -> String {
        let out = self.run(more);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        text(&out.stderr)
    }

    /// One image with its snapshot, and nothing else of a bake's.
    async fn has_only(&self, image: &str) {
        let baked = stack::baked(&self.emulator).await;
        assert_eq!((baked.images.len(), baked.snapshots.len(), baked.instances.len()), (1, 1, 0), "{baked:?}");
        assert_eq!(baked.images, [image], "{baked:?}");
        assert_eq!(stack::launched_from(&self.emulator).await, image);
    }

    async fn has_nothing(&self) {
        let baked = stack::baked(&self.emulator).await;
        assert_eq!((baked.images.len(), baked.snapshots.len(), baked.instances.len()), (0, 0, 0), "{baked:?}");
        assert_eq!(stack::launched_from(&self.emulator).await, PLAIN);
    }

    fn calls(&self, action: &str) -> usize {
        self.emulator.calls().calls.iter().filter(|call| call.action == action && call.code == "OK").count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_made_tried_and_taken_and_an_earlier_one_can_be_taken_again() {
    let world = World::start().await;
    let dry = world.run(&["--dry-run"]);
    let said = text(&dry.stdout);
    assert!(dry.status.success() && said.contains(&world.primary) && said.contains(&world.builder_group), "{dry:?}");
    world.has_nothing().await;

    let first = world.bake(&[]);
    world.has_only(&first).await;
    let out = world.run(&["--keep", "2"]);
    let said = text(&out.stderr);
    for step in ["1/6 copy", "2/6 builder", "3/6 image", "4/6 canary", "5/6 parameter", "6/6 clean-up"] {
        assert!(said.contains(step), "{said}");
    }
    let second = stack::launched_from(&world.emulator).await;
    assert!(out.status.success() && text(&out.stdout).contains(&second) && second != first, "{out:?}");
    assert_eq!(stack::baked(&world.emulator).await.images.len(), 2);

    let back = world.run(&["--rollback"]);
    assert!(back.status.success() && text(&back.stdout).contains(&first), "{back:?}");
    assert_eq!(stack::launched_from(&world.emulator).await, first);
    let further = world.fails(&["--rollback"]);
    assert!(further.contains("no earlier image of this installation's workers"), "not a plain server's: {further}");
    let never = world.fails(&["--rollback", "ami-0123456789abcdef0"]);
    assert!(never.contains("was never what launches took"), "{never}");

    // The primary's volumes are not deleted with it; those of builder and canary are.
    assert_eq!(world.emulator.volumes().iter().filter(|volume| volume.instance.is_none()).count(), 0);
    world.emulator.stop().await;
}

/// Each call after which it can end, by its name and how often it was made until then.
const STEPS: [(&str, usize); 11] = [
    ("CreateImage", 1),
    ("RunInstances", 1),
    ("GetConsoleOutput", 1),
    ("CreateImage", 2),
    ("RunInstances", 2),
    ("GetConsoleOutput", 2),
    ("PutParameter", 1),
    ("TerminateInstances", 1),
    ("TerminateInstances", 2),
    ("DeregisterImage", 1),
    ("DescribeSnapshots", 9),
];

#[test]
fn a_bake_that_is_killed_at_any_of_its_steps_is_gone_on_with_and_leaves_nothing() {
    let killed = STEPS.map(|(action, number)| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        std::thread::spawn(move || runtime.block_on(is_killed_after(action, number)))
    });
    for killed in killed {
        killed.join().expect("it is gone on with");
    }
}

async fn is_killed_after(action: &'static str, number: usize) {
    let world = World::start().await;
    let before = world.calls(action);
    // So that the end comes before the next one of these.
    for action in ["TerminateInstances", "DeregisterImage"] {
        let slow = Delay { action: action.to_owned(), milliseconds: 500, calls: 4 };
        world.emulator.delay(slow).expect("a fault");
    }
    let log = world.directory.path().join("bake.log");
    let mut first = Process::start("bake", &mut world.command(&[]), &log);
    wait::until(
        &format!("{action} is called {number} times"),
        async || std::fs::read_to_string(&log).unwrap_or_default(),
        async || (world.calls(action) >= before + number).then_some(()),
    )
    .await;
    first.signal(libc::SIGKILL);
    first.end_within(Duration::from_secs(5)).await;
    let image = world.bake(&["--keep", "1"]);
    world.has_only(&image).await;
    let copies = world.calls("CreateImage");
    let ended = action == "DeregisterImage";
    assert!(copies == 2 || ended && copies == 4, "{action} {number}: gone on with, not begun anew: {copies}");
    world.emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_make_nothing_twice() {
    for action in
        ["CreateImage", "RunInstances", "PutParameter", "TerminateInstances", "DeregisterImage", "DescribeImages"]
    {
        let world = World::start().await;
        world.emulator.lose(Lose { action: action.to_owned(), calls: 1 }).expect("a fault");
        let image = world.bake(&[]);
        world.has_only(&image).await;
        world.emulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bake_rests_on_is_looked_at_before_anything_is_made() {
    let world = World::start().await;
    let missing = world.fails(&["--installation", "other"]);
    assert!(missing.contains("there is no launch template other-worker"), "{missing}");
    stack::egress(&world.emulator, "AuthorizeSecurityGroupEgress", &world.builder_group, "10.0.0.0/8").await;
    let open = world.fails(&[]);
    assert!(open.contains("open to 10.0.0.0/8") && open.contains(&world.builder_group), "{open}");
    stack::egress(&world.emulator, "RevokeSecurityGroupEgress", &world.builder_group, "10.0.0.0/8").await;
    let form = [("Action", "CreateTags"), ("ResourceId.1", &*world.primary), ("Tag.1.Key", "spillway:bake-from")];
    stack::call(&world.emulator, &[&form[..], &[("Tag.1.Value", "other")]].concat()).await;
    let untagged = world.fails(&["--from", &world.primary]);
    assert!(untagged.contains("is not tagged as the machine that is copied for spillway"), "{untagged}");
    let nobody = world.fails(&[]);
    assert!(nobody.contains("no machine may be copied") && nobody.contains("create-tags"), "{nobody}");
    stack::may_be_copied(&world.emulator, &world.primary).await;
    world.emulator.refuse(refusal("CreateImage", "UnauthorizedOperation")).expect("a fault");
    let refused = world.fails(&["--dry-run"]);
    assert!(refused.contains("would not copy the primary") && refused.contains("UnauthorizedOperation"), "{refused}");
    let json = world.run(&["--installation", "other", "--json"]);
    let said: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((said["ok"].as_bool(), json.status.code()), (Some(false), Some(1)), "{said}");
    world.has_nothing().await;
    world.emulator.stop().await;
}

fn refusal(action: &str, code: &str) -> Refuse {
    Refuse { action: action.to_owned(), code: code.to_owned(), calls: 1, message: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_removed_or_kept_and_removed_later() {
    let world = World::start().await;
    let broken = || FailLaunch { code: "Client.InternalError".to_owned(), launches: 1, message: None };
    world.emulator.fail_launch(broken()).expect("a fault");
    let said = world.fails(&[]);
    assert!(said.contains("Client.InternalError") && said.contains("what was made for it is removed"), "{said}");
    world.has_nothing().await;

    world.emulator.fail_launch(broken()).expect("a fault");
    let said = world.fails(&["--keep-failed"]);
    assert!(said.contains("--discard removes it"), "{said}");
    assert_eq!(stack::baked(&world.emulator).await.images.len(), 1, "the copy");
    let failing = world.fails(&[]);
    assert!(failing.contains("going on with the bake") && failing.contains("terminated"), "{failing}");
    world.has_nothing().await;

    world.emulator.fail_launch(broken()).expect("a fault");
    world.fails(&["--keep-failed"]);
    let discarded = world.run(&["--discard"]);
    assert!(discarded.status.success() && text(&discarded.stdout).contains("removed the image"), "{discarded:?}");
    world.has_nothing().await;

    world.emulator.fail_launch(broken()).expect("a fault");
    world.fails(&["--keep-failed"]);
    let image = world.bake(&["--restart"]);
    world.has_only(&image).await;
    world.emulator.stop().await;
}

/// Two at once: EC2 has the copy's name once, so both go on with one bake, and launches take one image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bakes_at_once_come_to_one_image() {
    let world = World::start().await;
    let log = |name: &str| -> PathBuf { world.directory.path().join(name) };
    let mut both = ["one", "two"].map(|name| Process::start(name, &mut world.command(&[]), &log(name)));
    for process in &mut both {
        let status = process.end_within(Duration::from_secs(60)).await;
        assert!(status.success(), "{}", process.tail());
    }
    let image = stack::launched_from(&world.emulator).await;
    assert_ne!(image, PLAIN, "{}{}", both[0].tail(), both[1].tail());
    world.has_only(&image).await;
    assert_eq!(world.calls("CreateImage"), 2, "of one bake");
    world.emulator.stop().await;
}

/// A coordinator whose template names the stack's parameter launches nothing before the first bake, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_bake_nothing_is_launched_and_the_remedy_is_said() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    let mut environment = stage.environment.clone();
    environment.insert("SPILLWAY_INSTALLATION".to_owned(), stack::NAME.to_owned());
    environment.insert("EC2_LAUNCH_TEMPLATE_ID".to_owned(), "spillway-worker".to_owned());
    stack::make(stage.emulator(), "#!/bin/sh\n").await;
    let coordinator = Coordinator::start(stage.directory.path(), &environment, ports::free()).await;
    jobs::add(&stage.redis, 6, 1.0);
    wait::until(
        "it says that there is no image",
        async || coordinator.process.tail(),
        async || coordinator.explained("spillway bake").then_some(()),
    )
    .await;
    assert!(stage.emulator().instances().is_empty(), "{}", coordinator.process.tail());
    let text = text(&coordinator.command(&["status"]).stdout);
    assert!(text.contains(stack::PARAMETER) && text.contains(PLAIN) && text.contains("spillway bake"), "{text}");
}

/// The fleet goes first, where operators are answered; then what bakes have made, and launches have no image any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_taken_down_after_its_last_instance() {
    let mut stage = Stage::without_coordinator(Setup::default()).await;
    stack::make(stage.emulator(), "#!/bin/sh\n").await;
    let of_a_primary = [("spillway:bake-from", stack::NAME)];
    assert!(other_client::launch(&stage, &of_a_primary).await);
    stage.until("the primary runs", || stage.instances().iter().all(|it| it.state == InstanceState::Running)).await;
    stage.environment.insert("SPILLWAY_INSTALLATION".to_owned(), stack::NAME.to_owned());
    stage.start_coordinator().await;
    let mut environment: Environment = ec2::client_environment(stage.emulator()).into_iter().collect();
    environment.insert("AWS_REGION".to_owned(), "us-east-1".to_owned());
    environment.insert("SPILLWAY_SERVER".to_owned(), stage.coordinator().server());
    let run = |arguments: &[&str]| output(spillway(&environment).args(arguments).current_dir("/"));
    let baked = run(&["bake"]);
    assert!(baked.status.success(), "{baked:?}");
    jobs::add(&stage.redis, 6, 0.5);
    let ready = stage.until_ready(1).await;

    let early = run(&["uninstall", "--images-only"]);
    assert!(!early.status.success() && text(&early.stderr).contains(&ready[0]), "{early:?}");
    let dry = run(&["uninstall", "--dry-run"]);
    let said = text(&dry.stdout);
    assert!(dry.status.success() && said.contains(&ready[0]) && said.contains(stack::PARAMETER), "{dry:?}");
    let done = run(&["uninstall", "--json"]);
    let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert!(done.status.success() && said["ok"] == true && said["drained"][0] == ready[0], "{done:?}");
    assert_eq!(said["parameter"], stack::PARAMETER);
    let baked = stack::baked(stage.emulator()).await;
    assert_eq!((baked.images.len(), baked.snapshots.len(), baked.instances.len()), (0, 0, 0), "{baked:?}");
    let again = run(&["uninstall", "--images-only"]);
    assert!(again.status.success() && text(&again.stdout).contains("What stays"), "{again:?}");
}
