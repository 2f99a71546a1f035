use super::*;

fn instance(id: &str, phase: &str) -> v1::Instance {
    v1::Instance { id: id.to_owned(), phase: phase.to_owned(), connected: true, ..v1::Instance::default() }
}

fn with_notes(notes: &[&str]) -> v1::Pool {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    v1::Pool { plan: Some(v1::PlanRecord { notes, ..v1::PlanRecord::default() }), ..v1::Pool::default() }
}

fn found(pool: &v1::Pool) -> Vec<(Level, String, String)> {
    let all = attention(pool, SystemTime::UNIX_EPOCH).into_iter();
    all.map(|finding| (finding.level, finding.sentence(), finding.todo)).collect()
}

#[test]
fn a_pool_that_is_well_needs_nobody() {
    let mut pool = with_notes(&["no jobs ready to run", "at the cap: 2 of max_instances 2 are running or starting"]);
    pool.instances = vec![instance("i-1", "ready"), instance("i-2", "gone")];
    assert_eq!(found(&pool), []);
    assert!(!is_notable(&pool.instances[0]) && !tells_any(&pool));
}

fn tells_any(pool: &v1::Pool) -> bool {
    pool.plan.iter().flat_map(|plan| &plan.notes).any(|note| is_told(note, pool))
}

#[test]
fn the_worst_comes_first_and_instances_of_one_kind_are_one_finding() {
    let stale = (1..=5).map(|n| v1::Instance { stale: true, ..instance(&format!("i-{n}"), "ready") });
    let mut pool = v1::Pool { instances: stale.collect(), ..v1::Pool::default() };
    pool.instances[0].terminate_problem = "UnauthorizedOperation".to_owned();
    let all = found(&pool);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0].0, Level::Problem);
    assert_eq!(all[0].1, "EC2 refuses to terminate i-1, and it is billed on: UnauthorizedOperation");
    assert!(all[0].2.contains("ec2:TerminateInstances"), "{all:?}");
    assert_eq!((all[1].0, all[1].1.as_str()), (Level::Warning, "no heartbeat from i-1, i-2, i-3 and 2 more"));
    assert!(is_notable(&pool.instances[3]));
    pool.instances[1].terminate_problem = "UnauthorizedOperation".to_owned();
    assert!(found(&pool)[0].1.starts_with("EC2 refuses to terminate i-1, i-2, and they are billed on"));
}

/// The plan's note knows EC2's codes one by one; it is not said a second time.
#[test]
fn launches_that_are_stopped_are_told_once_with_the_remedy_of_the_note() {
    let note = "EC2 refused a launch (wrong configuration: NoImageYet: /s/image): launching is stopped, and tried again in 9 \
                min. Run `spillway bake`; `spillway resume` tries at once";
    let mut pool = with_notes(&[note, "no jobs ready to run"]);
    assert_eq!(found(&pool), [], "it may be over");
    pool.launches_blocked = vec![v1::LaunchesBlocked {
        class: "configuration".to_owned(),
        code: "NoImageYet".to_owned(),
        needs_a_person: true,
        ..v1::LaunchesBlocked::default()
    }];
    let all = found(&pool);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].1.starts_with("launching is stopped: EC2 answered NoImageYet (configuration)"), "{all:?}");
    assert_eq!(all[0].2, "Run `spillway bake`; then `spillway resume`, which tries at once");
    assert!(is_told(note, &pool) && !is_told("no jobs ready to run", &pool));
    pool.plan = None;
    assert!(found(&pool)[0].2.starts_with("fix the launch template"), "by its class: {:?}", found(&pool));
    pool.launches_blocked[0].needs_a_person = false;
    assert_eq!(found(&pool), [], "it comes back by itself");
}

#[test]
fn each_kind_says_what_to_do() {
    let cases: Vec<(v1::Pool, Level, &str, &str)> = vec![
        (
            v1::Pool { observation_problem: "connection refused".to_owned(), ..v1::Pool::default() },
            Level::Problem,
            "connection refused",
            "`spillway queues`",
        ),
        (
            v1::Pool { observation_problem: "ledger: Redis does not answer".to_owned(), ..v1::Pool::default() },
            Level::Problem,
            "ledger: Redis does not answer",
            "`spillway doctor`",
        ),
        (
            v1::Pool { listing_problem: "AuthFailure".to_owned(), ..v1::Pool::default() },
            Level::Problem,
            "EC2: AuthFailure",
            "`spillway doctor`",
        ),
        (
            with_notes(&[
                "3 boots failed in a row: no launch for the next 10 min, then one instance is tried. `spillway status --all` \
                 says why each failed",
            ]),
            Level::Problem,
            "3 boots failed in a row: no launch for the next 10 min, then one instance is tried",
            "then `spillway resume`",
        ),
        (
            with_notes(&[
                "i-9 has the pool's tag but no launch token: it counts toward max_instances and is never touched",
            ]),
            Level::Warning,
            "i-9 has the pool's tag",
            "remove its tag",
        ),
        (
            v1::Pool {
                held: true,
                hold_reason: "a look".to_owned(),
                backlog: Some(v1::Backlog { demand: 4, ..v1::Backlog::default() }),
                ..v1::Pool::default()
            },
            Level::Warning,
            "the pool is held (a look) with 4 jobs ready to run",
            "`spillway resume`",
        ),
        (
            v1::Pool {
                instances: vec![v1::Instance { hand_back: "given-up".to_owned(), ..instance("i-1", "gone") }],
                ..v1::Pool::default()
            },
            Level::Problem,
            "jobs of i-1 could not be handed back",
            "permissions",
        ),
    ];
    for (pool, level, sentence, todo) in cases {
        let all = found(&pool);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].0, level);
        assert!(all[0].1.starts_with(sentence) && all[0].2.contains(todo), "{all:?}");
    }
}

#[test]
fn an_old_image_and_an_unprotected_worker_are_warnings() {
    let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let made_at = Some(spillway_proto::times::timestamp(at(0)));
    let image = v1::LaunchImage { id: "ami-1".to_owned(), made_at, at: None };
    let mut pool = v1::Pool { launch_image: Some(image), ..v1::Pool::default() };
    assert_eq!(attention(&pool, at(30)), []);
    assert!(attention(&pool, at(31))[0].title.ends_with("is 31 d old"));
    pool.launch_image = None;
    let beat = v1::Heartbeat { unprotected: vec!["kill_timeout is 1600 ms".to_owned()], ..v1::Heartbeat::default() };
    pool.instances = vec![v1::Instance { heartbeat: Some(beat), ..instance("i-1", "ready") }];
    assert_eq!(found(&pool)[0].1, "i-1 with an unprotected worker: kill_timeout is 1600 ms");
}

/// As any scale-in ends.
#[test]
fn an_instance_whose_agent_ends_because_it_is_terminated_is_not_silent() {
    let of = |phase: &str| {
        let heartbeat = Some(v1::Heartbeat::default());
        v1::Instance { stale: true, connected: false, heartbeat, ..instance("i-1", phase) }
    };
    for (phase, is_one) in
        [("booting", true), ("ready", true), ("draining", true), ("terminating", false), ("gone", false)]
    {
        let pool = v1::Pool { instances: vec![of(phase)], ..v1::Pool::default() };
        assert_eq!((found(&pool).len() == 1, is_notable(&of(phase))), (is_one, is_one), "{phase}");
    }
}

#[test]
fn each_kind_of_the_coordinators_list_is_told_and_once() {
    use spillway_attention::{Kind, Severity};

    for kind in Kind::ALL {
        let finding = v1::Finding {
            kind: kind.as_str().to_owned(),
            severity: kind.severity().as_str().to_owned(),
            title: "It is so".to_owned(),
            detail: "In full.".to_owned(),
            remedy: "Do this.".to_owned(),
            ..v1::Finding::default()
        };
        let pool = v1::Pool { attention: vec![finding.clone()], ..v1::Pool::default() };
        let fleet = v1::GetFleetResponse { attention: vec![finding], ..v1::GetFleetResponse::default() };
        let now = SystemTime::UNIX_EPOCH;
        let is_told =
            |found: &[Finding]| found.iter().any(|it| it.sentence() == "It is so: In full" && it.todo == "Do this");
        let is_hint = kind.severity() == Severity::Hint;
        assert_eq!(is_told(&attention(&pool, now)), !is_hint, "{kind:?}");
        assert_eq!(is_told(&of_installation(&fleet, now)), !is_hint && kind != Kind::Standby, "{kind:?}");
    }
    // What is said here with an instance's name is not said again.
    let finding = v1::Finding { kind: "termination_refused".into(), severity: "stop".into(), ..v1::Finding::default() };
    let refused = v1::Instance { terminate_problem: "no".into(), ..instance("i-1", "terminating") };
    let pool = v1::Pool { attention: vec![finding], instances: vec![refused], ..v1::Pool::default() };
    assert_eq!(found(&pool).len(), 1);
}

#[test]
fn jobs_that_cannot_be_handed_back_yet_are_a_warning_and_no_why() {
    let note =
        "the jobs of i-1 are not handed back yet, and this is retried: the Redis user of redis.url may not".to_owned();
    let plan = Some(v1::PlanRecord { notes: vec![note.clone()], ..v1::PlanRecord::default() });
    let pool = v1::Pool { plan, ..v1::Pool::default() };
    assert_eq!((found(&pool)[0].0, &found(&pool)[0].1), (Level::Warning, &note));
    assert!(is_told(&note, &pool));
}
