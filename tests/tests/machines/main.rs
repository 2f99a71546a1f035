//! What a new user does by README.md, on booted machines: Spillway is installed on the plan's primary, `init` writes
//! its settings, the stack is deployed with them, `bake` makes the image. Then what happens later: floods,
//! interruptions, restarts, a reboot, upgrades, and a primary that is a new one.
//!
//! A program of its own, so that nothing else competes for the processors that its machines boot on. Root's alone, with
//! the tree that `tests/setup` makes; otherwise it prints `NOT RUN`, and `.ci/run` says so at its end.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use spillway_emulator::{InstanceState, Lifecycle};
use spillway_tests::machines::{Account, Machine, TIMEOUT, install, plan, tree};
use spillway_tests::wait;
use tokio::time::Instant;

/// Steps and how long each took, for the reader of the test's output.
struct Steps {
    since: Instant,
    list: String,
}

impl Steps {
    fn done(&mut self, what: &str) {
        let _ = writeln!(self.list, "{:>7.1} s  {what}", self.since.elapsed().as_secs_f64());
        println!("{:>7.1} s  {what}", self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }
}

/// An operator at the primary's shell.
struct Operator<'a> {
    account: &'a Account,
    primary: &'a Machine<'a>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plans_set_up_works_off_floods_and_survives_what_machines_do() {
    let Some(tree) = tree() else {
        println!("NOT RUN: booted machines need root, and the tree that tests/setup makes as root");
        return;
    };
    let account = Account::start(&tree).await;
    let mut steps = Steps { since: Instant::now(), list: String::new() };
    let primary = plan::primary(&account).await;
    steps.done("the primary is booted; Redis, repository and worker are set up");
    let began = Instant::now();
    install::programs(&primary).await;
    install::init(&primary).await;
    steps.done("both packages are installed, and spillway init has written the settings");
    install::stack(&account, &primary).await;
    steps.done("the stack is deployed with the parameters that init wrote");
    install::start(&account, &primary).await;
    steps.done("the coordinator's unit is active, and doctor misses an image and nothing else");
    plan::secrets(&primary).await;
    let image = plan::bake(&account, &primary).await;
    plan::has_no_secret(&account, &image);
    let active = primary.run("systemctl is-active redis-server spillway && ps -C bun -o user=").await;
    assert_eq!(active.lines().collect::<Vec<_>>(), ["active", "active", "ubuntu"], "it is copied as it runs");
    steps.done("spillway bake: a copy of it is prepared, made the workers' image, and tried");
    assert_eq!(install::failing(&account, &primary).await, [""; 0], "after it");
    println!("{:>7.1} s  in all, from the packages to an image", began.elapsed().as_secs_f64());
    let operator = Operator { account: &account, primary: &primary };
    operator.works_off_a_flood(&mut steps).await;
    operator.survives_an_interruption(&mut steps).await;
    operator.is_restarted_by_systemd(&mut steps).await;
    operator.reboots(&mut steps).await;
    operator.upgrades(&mut steps).await;
    operator.is_a_new_primary(&mut steps).await;
    account.stop().await;
}

impl Operator<'_> {
    async fn diagnosis(&self) -> String {
        let asked = "spillway status; spillway explain --limit 12; journalctl --no-pager -n 40 -u spillway; \
                     journalctl --no-pager -n 20 -u pm2-ubuntu; systemctl --failed --no-pager";
        let out = self.primary.try_run(asked).await;
        let mut text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        for record in self.account.emulator.instances() {
            text += &self.account.machine(&record.id).console();
        }
        text
    }

    async fn until<T>(&self, what: &str, poll: impl AsyncFnMut() -> Option<T>) -> T {
        wait::until_within(TIMEOUT, what, async || self.diagnosis().await, poll).await
    }

    /// `spillway status --json`: the only pool. None while it does not answer.
    async fn pool(&self) -> Option<Value> {
        let out = self.primary.try_run("spillway status --json").await?;
        let status: Value = serde_json::from_slice(&out.stdout).ok()?;
        Some(status["pools"][0].clone()).filter(Value::is_object)
    }

    /// Ids of the instances in one phase.
    async fn in_phase(&self, phase: &str) -> Vec<String> {
        let pool = self.pool().await.unwrap_or_default();
        let instances = pool["instances"].as_array().cloned().unwrap_or_default();
        let found = instances.iter().filter(|instance| instance["phase"] == phase);
        found.filter_map(|instance| instance["id"].as_str().map(str::to_owned)).collect()
    }

    async fn until_ready(&self, count: usize) -> Vec<String> {
        self.until(&format!("{count} instances are ready"), async || {
            Some(self.in_phase("ready").await).filter(|ready| ready.len() >= count)
        })
        .await
    }

    /// A number of Redis'.
    async fn count(&self, command: &str) -> u64 {
        let said = self.primary.run(&format!("redis-cli --no-auth-warning -a {} {command}", plan::PASSWORD)).await;
        said.trim().parse().unwrap_or_else(|_| panic!("{command}: {said}"))
    }

    async fn completed(&self) -> u64 {
        self.count("ZCARD bull:video-processing:completed").await
    }

    async fn add(&self, jobs: u32, seconds: u32) {
        self.primary.run_as_user(&format!("cd /opt/scalereach && bun add-jobs.js {jobs} {seconds}")).await;
    }

    async fn until_completed(&self, jobs: u64) {
        let what = format!("{jobs} jobs are completed");
        self.until(&what, async || (self.completed().await == jobs).then_some(())).await;
        assert_eq!(self.count("ZCARD bull:video-processing:failed").await, 0);
    }

    async fn until_zero(&self) {
        self.until("no instance is left", async || {
            let all = self.account.emulator.instances();
            let mut spot = all.iter().filter(|it| it.lifecycle == Lifecycle::Spot);
            spot.all(|it| it.state == InstanceState::Terminated).then_some(())
        })
        .await;
    }

    /// Spot instances that were ever launched.
    fn launched(&self) -> usize {
        self.account.emulator.instances().iter().filter(|it| it.lifecycle == Lifecycle::Spot).count()
    }

    async fn works_off_a_flood(&self, steps: &mut Steps) {
        self.add(40, 3).await;
        let first = self.until_ready(1).await;
        steps.done("40 jobs are added, and an instance is booted by cloud-init and ready");
        let user = self.account.machine(&first[0]).run("ps -C bun -o user= | sort -u").await;
        assert_eq!(user.trim(), "ubuntu", "PM2 and bun run as the plan's user");
        self.until_completed(40).await;
        steps.done("the flood is worked off");
        let by_instances = self.count("HLEN spillway-demo:runs").await;
        assert_eq!(by_instances, 40, "each job was counted once by its worker");
        self.until_zero().await;
        steps.done("no instance is left");
    }

    async fn survives_an_interruption(&self, steps: &mut Steps) {
        self.add(20, 4).await;
        let ready = self.until_ready(1).await;
        self.account.emulator.interrupt(&ready[0], Duration::from_secs(20)).expect("an interruption");
        self.until_completed(60).await;
        let reason = self.until("EC2 has ended it", async || self.account.record(&ready[0]).state_reason).await;
        assert_eq!(reason.code, "Server.SpotInstanceTermination");
        assert_eq!(self.count("HLEN spillway-demo:runs").await, 60);
        self.until_zero().await;
        steps.done("20 more jobs, an interruption with 20 s of notice, and no instance is left");
    }

    /// The coordinator's process; none while it does not run.
    async fn coordinator(&self) -> (String, String) {
        let shown = self.primary.run("systemctl show spillway -p MainPID -p NRestarts --value").await;
        let mut lines = shown.lines();
        (lines.next().unwrap_or_default().to_owned(), lines.next().unwrap_or_default().to_owned())
    }

    async fn until_restarted(&self, how: &str, before: &str) {
        self.until(&format!("systemd restarts the coordinator after {how}"), async || {
            let (pid, _) = self.coordinator().await;
            (pid != before && pid != "0" && self.pool().await.is_some()).then_some(())
        })
        .await;
    }

    async fn is_restarted_by_systemd(&self, steps: &mut Steps) {
        self.add(20, 4).await;
        self.until_ready(2).await;
        let launched = self.launched();
        let (pid, restarts) = self.coordinator().await;
        assert_eq!(restarts, "0", "it was never restarted until now");
        self.primary.run(&format!("kill -9 {pid}")).await;
        self.until_restarted("kill -9", &pid).await;
        steps.done("kill -9 of the coordinator under 20 jobs, and it answers again");
        let (pid, _) = self.coordinator().await;
        self.primary.run(&format!("kill -STOP {pid}")).await;
        self.until_restarted("a hang", &pid).await;
        let journal = self.primary.run("journalctl --no-pager -u spillway").await;
        assert!(journal.contains("Watchdog timeout"), "{journal}");
        steps.done("a hang of the coordinator, the watchdog, and it answers again");
        self.until_completed(80).await;
        self.until_zero().await;
        assert_eq!(self.launched(), launched, "a restart launches nothing that it knows of already");
        steps.done("the jobs are worked off, and no instance is left");
    }

    async fn reboots(&self, steps: &mut Steps) {
        self.add(30, 4).await;
        self.until_ready(1).await;
        let before = self.primary.record().machine_pid;
        let _ = self.primary.try_run("systemctl reboot").await;
        self.until("the primary boots again", async || {
            let now = self.primary.record().machine_pid;
            (now.is_some() && now != before).then_some(())
        })
        .await;
        self.primary.until_up().await;
        steps.done("a reboot of the primary with an instance at work, until all of its units are up");
        self.until_completed(110).await;
        self.until_zero().await;
        steps.done("the jobs of before are worked off, and no instance is left");
    }

    /// Newer packages under jobs: of the coordinator, then of an instance's agent. The worker stays.
    async fn upgrades(&self, steps: &mut Steps) {
        let (Some(spillway), Some(agent)) =
            (install::package("spillway", "new"), install::package("spillway-agent", "new"))
        else {
            println!("NOT RUN: upgrades of the packages, without SPILLWAY_PACKAGES (.ci/run makes some)");
            return;
        };
        self.add(20, 4).await;
        let ready = self.until_ready(1).await;
        let (pid, _) = self.coordinator().await;
        self.primary.install_package(&spillway).await;
        self.until_restarted("an upgrade", &pid).await;
        steps.done("20 jobs, and an upgrade of the coordinator, which answers again");

        let instance = self.account.machine(&ready[0]);
        let worker = instance.run("ps -C bun -o pid=,lstart=").await;
        let agent_pid = instance.run("systemctl show spillway-agent -p MainPID --value").await;
        instance.install_package(&agent).await;
        let now = instance.run("systemctl show spillway-agent -p MainPID --value").await;
        assert!(now != agent_pid && now.trim() != "0", "the agent is another process: {agent_pid}{now}");
        assert_eq!(instance.run("ps -C bun -o pid=,lstart=").await, worker, "the worker is the one of before");
        self.until("its agent is heard again", async || self.in_phase("ready").await.contains(&ready[0]).then_some(()))
            .await;
        self.until_completed(130).await;
        assert_eq!(self.count("HLEN spillway-demo:runs").await, 130, "each job ran once");
        steps.done("an upgrade of an instance's agent under its worker, and the jobs are worked off");
        self.until_zero().await;
        steps.done("no instance is left");
    }

    /// A primary that was lost and set up anew by a copy of its disk that was made earlier: with Redis as it was then,
    /// and with an empty one. Jobs of since then are gone; the instances are not.
    async fn is_a_new_primary(&self, steps: &mut Steps) {
        let redis = "/var/lib/redis/dump.rdb";
        let redis_cli = format!("redis-cli --no-auth-warning -a {}", plan::PASSWORD);
        self.primary.run(&format!("{redis_cli} SAVE && cp -p {redis} /root/backup.rdb")).await;
        let restored = format!("cp -p /root/backup.rdb {redis}");
        for (what, becomes) in
            [("Redis as it was before the flood", &*restored), ("an empty Redis", "rm -f /var/lib/redis/dump.rdb")]
        {
            self.add(30, 4).await;
            let ready = self.until_ready(1).await;
            let launched = self.launched();
            self.primary.run("systemctl stop spillway && systemctl kill -s KILL redis-server").await;
            self.primary.run(&format!("systemctl stop redis-server && {becomes}")).await;
            self.primary.run("systemctl start redis-server").await;
            // The application goes on, and what it adds is work for both instances until the coordinator is back: one
            // that is not desired any more is drained, and never ready again.
            self.add(40, 4).await;
            self.primary.run("systemctl start spillway").await;
            self.until("its instances are ready again", async || {
                let now = self.in_phase("ready").await;
                ready.iter().all(|id| now.contains(id)).then_some(())
            })
            .await;
            steps.done(&format!("a new primary with {what} finds its instances again"));
            self.until_zero().await;
            assert_eq!(self.launched(), launched, "with {what} nothing was launched that it had already");
            steps.done("no instance is left");
        }
    }
}
