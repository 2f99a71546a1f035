use spillway_brain::{InstanceId, RefusalClass};

use super::*;

const MINUTE: u64 = 60_000;
const TARGET: Duration = Duration::from_secs(600);

/// What one look at a leader's pool finds.
fn found(pool: &v1::Pool, notes: &[Note], alerts: &[AlertKind]) -> Vec<Finding> {
    let alerts = alerts.iter().map(|alert| (*alert, "")).collect();
    let seen = Seen { pool, notes, alerts: &alerts, held_since: None, leads: true, target: TARGET };
    Watcher::default().look(&seen, Timestamp(100 * MINUTE))
}

fn kinds(found: &[Finding]) -> Vec<Kind> {
    found.iter().map(|it| it.kind).collect()
}

fn instance(id: &str) -> v1::Instance {
    v1::Instance { id: id.to_owned(), phase: "ready".to_owned(), ..v1::Instance::default() }
}

fn with(instance: v1::Instance) -> v1::Pool {
    v1::Pool { instances: vec![instance], ..v1::Pool::default() }
}

fn blocked(class: &str) -> v1::LaunchesBlocked {
    v1::LaunchesBlocked {
        class: class.to_owned(),
        code: "Code".to_owned(),
        message: "its words".to_owned(),
        needs_a_person: true,
        ..v1::LaunchesBlocked::default()
    }
}

fn at(ms: u64) -> Option<prost_types::Timestamp> {
    Some(times::from_epoch(Duration::from_millis(ms)))
}

fn id() -> InstanceId {
    InstanceId("i-1".to_owned())
}

#[test]
fn each_kind_is_found_in_a_status_that_shows_it_and_in_no_other() {
    let beat = v1::Heartbeat { unprotected: vec!["PM2 kills it after 2 s".to_owned()], ..v1::Heartbeat::default() };
    let slow = v1::StepMedian {
        name: "install".to_owned(),
        took: Some(times::duration(Duration::from_secs(70))),
        installs: true,
        boots: 3,
    };
    let old = v1::LaunchImage { id: "ami-1".to_owned(), made_at: at(1), at: None };
    let pool = v1::Pool::default;
    let text = str::to_owned;
    let cases: Vec<(Kind, v1::Pool, Vec<Note>, &str)> = vec![
        (
            Kind::QueuesUnknown,
            v1::Pool { observation_problem: text("Redis: refused"), ..pool() },
            vec![],
            "Redis: refused.",
        ),
        (Kind::InstancesUnknown, v1::Pool { listing_problem: text("no role"), ..pool() }, vec![], "No role."),
        (
            Kind::LaunchesStopped,
            v1::Pool { launches_blocked: vec![blocked("quota")], ..pool() },
            vec![],
            "EC2 refused the last launch (quota: Code: its words).",
        ),
        (
            Kind::BreakerOpen,
            pool(),
            vec![Note::BreakerOpen { failures: 3, left: TARGET, never_ran: None }],
            "3 boots failed in a row: no launch for the next 10 min, then one instance is tried",
        ),
        (
            Kind::BreakerOpen,
            pool(),
            vec![Note::EarlyEnds { ends: 3, left: Some(TARGET) }],
            "in a row ended without notice",
        ),
        (
            Kind::TerminationRefused,
            with(v1::Instance { terminate_problem: text("NotPermitted: x"), ..instance("i-1") }),
            vec![],
            "NotPermitted: x.",
        ),
        (Kind::HandBackFails, with(v1::Instance { hand_back: text("given-up"), ..instance("i-1") }), vec![], ""),
        (
            Kind::Unprotected,
            with(v1::Instance { heartbeat: Some(beat), ..instance("i-1") }),
            vec![],
            "PM2 kills it after 2 s.",
        ),
        (Kind::AgentSilent, with(v1::Instance { stale: true, ..instance("i-1") }), vec![], ""),
        (Kind::Strangers, pool(), vec![Note::NotOurs { id: id() }], "no launch token"),
        (
            Kind::Strangers,
            pool(),
            vec![Note::Stranger { id: id(), installation: Some(text("theirs")), ours: text("ours") }],
            "another installation's",
        ),
        (Kind::TagsChanged, pool(), vec![Note::TagsChanged { id: id(), tags: text("Name") }], "changed the tags"),
        (Kind::Unlisted, pool(), vec![Note::Unlisted { id: id() }], "does not list i-1"),
        (Kind::ImageStale, v1::Pool { launch_image: Some(old), ..pool() }, vec![], ""),
        (Kind::SlowBoot, v1::Pool { step_medians: vec![slow], ..pool() }, vec![], ""),
        (Kind::OtherImage, with(v1::Instance { other_image: Some(true), ..instance("i-1") }), vec![], "i-1"),
    ];
    // Long after 1970, so that an image can be old.
    let now = Timestamp(40 * 86_400_000);
    for (kind, pool, notes, detail) in &cases {
        let none = BTreeMap::new();
        let seen = Seen { pool, notes, alerts: &none, held_since: None, leads: true, target: TARGET };
        let found = Watcher::default().look(&seen, now);
        assert_eq!(kinds(&found), [*kind]);
        assert!(found[0].detail.contains(detail), "{kind:?}: {}", found[0].detail);
        assert!(found[0].since.is_some() && !found[0].title.is_empty());
    }
    assert_eq!(kinds(&found(&pool(), &[Note::NothingWaits, Note::BreakerTries], &[])), []);
    let gone = v1::Instance { phase: text("gone"), terminate_problem: text("x"), stale: true, ..instance("i-1") };
    assert_eq!(kinds(&found(&with(gone), &[], &[])), []);
    let waits = v1::LaunchesBlocked { needs_a_person: false, ..blocked("capacity") };
    assert_eq!(kinds(&found(&v1::Pool { launches_blocked: vec![waits], ..pool() }, &[], &[])), []);
}

#[test]
fn whatever_a_person_was_told_of_is_found_once() {
    let expected = BTreeSet::from([
        Kind::QueuesUnknown,
        Kind::InstancesUnknown,
        Kind::LaunchesStopped,
        Kind::BreakerOpen,
        Kind::TerminationRefused,
        Kind::DrainOverdue,
        Kind::HandBackFails,
        Kind::QueueGone,
        Kind::NothingTaken,
        Kind::SuspectJob,
        Kind::TwoAgents,
        Kind::Strangers,
        Kind::TagsChanged,
        Kind::Unlisted,
    ]);
    let all = kinds(&found(&v1::Pool::default(), &[], &AlertKind::ALL));
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(all.len(), expected.len(), "one of each kind: {all:?}");
    // What the status tells more of is not told again.
    let pool = v1::Pool { launches_blocked: vec![blocked("permission")], ..v1::Pool::default() };
    let both = found(&pool, &[], &[AlertKind::NotPermitted]);
    assert_eq!(kinds(&both), [Kind::LaunchesStopped]);
    assert!(both[0].remedy.contains("IAM policy"), "{}", both[0].remedy);
}

#[test]
fn what_was_said_of_an_alert_is_its_findings_detail() {
    let said = |pool: &v1::Pool, all: &[(AlertKind, &str)]| {
        let alerts = all.iter().copied().collect();
        let seen = Seen { pool, notes: &[], alerts: &alerts, held_since: None, leads: true, target: TARGET };
        let found = Watcher::default().look(&seen, Timestamp(100 * MINUTE));
        found.into_iter().map(|it| (it.title, it.detail)).collect::<Vec<_>>()
    };
    let pool = v1::Pool::default();
    let gone = said(&pool, &[(AlertKind::QueueGone, "queue \"video\" was there")]);
    assert_eq!(gone, [("A queue is gone from Redis".to_owned(), "Queue \"video\" was there.".to_owned())]);
    let both = said(&pool, &[(AlertKind::HandBackFails, "cannot hand back"), (AlertKind::JobsLeft, "2 jobs of i-1")]);
    assert_eq!(both[0].1, "Cannot hand back. 2 jobs of i-1.");
    let late = |id: &str, minute: u64| v1::Instance {
        phase: "draining".to_owned(),
        phase_deadline: Some(times::from_epoch(Duration::from_millis(minute * MINUTE))),
        ..instance(id)
    };
    let pool = v1::Pool { instances: vec![late("i-1", 99), late("i-2", 101)], ..pool };
    let overdue = said(&pool, &[(AlertKind::DrainOverdue, "drain 1 min past its deadline")]);
    let expected = ("A drain did not end in time: i-1".to_owned(), "Drain 1 min past its deadline.".to_owned());
    assert_eq!(overdue, [expected]);
}

#[test]
fn every_class_of_refusal_that_needs_a_person_has_a_remedy() {
    for class in RefusalClass::ALL.into_iter().filter(|class| class.needs_a_person()) {
        let pool = v1::Pool { launches_blocked: vec![blocked(class.as_str())], ..v1::Pool::default() };
        let remedy = &found(&pool, &[], &[])[0].remedy;
        assert!(remedy.ends_with("; then `spillway resume`, which tries at once."), "{remedy}");
    }
}

fn waiting(demand: u64) -> v1::Pool {
    let backlog = Some(v1::Backlog { demand, ..v1::Backlog::default() });
    v1::Pool { backlog, max_instances: 2, ..v1::Pool::default() }
}

/// Looks each ten seconds from a minute on at a pool whose demand is told by the minute; whether it is found.
fn grows(watcher: &mut Watcher, notes: &[Note], (from, to): (u64, u64), demand: impl Fn(u64) -> u64) -> bool {
    let mut is_found = false;
    for now in (from * MINUTE..to * MINUTE).step_by(10_000) {
        let (pool, none) = (waiting(demand(now / MINUTE)), BTreeMap::new());
        let seen = Seen { pool: &pool, notes, alerts: &none, held_since: None, leads: true, target: TARGET };
        is_found = kinds(&watcher.look(&seen, Timestamp(now))).contains(&Kind::CapReached);
    }
    is_found
}

#[test]
fn the_cap_is_worth_a_word_once_the_backlog_has_grown_there_for_half_of_the_target() {
    let cap = [Note::AtCap { max_instances: 2, billing: 2, not_ours: 0 }];
    let mut watcher = Watcher::default();
    assert!(!grows(&mut watcher, &cap, (0, 5), |minute| minute), "not for long enough");
    assert!(grows(&mut watcher, &cap, (5, 7), |minute| minute));
    assert!(!grows(&mut watcher, &cap, (7, 20), |minute| 100 - minute), "it shrinks");
    assert!(!grows(&mut watcher, &[], (20, 40), |minute| minute), "not at the cap");
    assert!(!grows(&mut Watcher::default(), &cap, (0, 60), |_| 50), "it does not grow");
}

#[test]
fn a_pool_is_at_its_cap_where_all_are_ready_that_the_policy_may_want() {
    let of = |desired, phases: &[&str]| {
        let of = |phase: &&str| v1::Instance { phase: (*phase).to_owned(), ..instance("i") };
        let pool = v1::Pool { desired, instances: phases.iter().map(of).collect(), ..waiting(5) };
        let none = BTreeMap::new();
        let seen = Seen { pool: &pool, notes: &[], alerts: &none, held_since: None, leads: true, target: TARGET };
        at_cap(&seen)
    };
    assert_eq!(
        of(Some(2), &["ready", "ready"]).as_deref(),
        Some("All 2 instances that max_instances allows are ready.")
    );
    assert_eq!(of(Some(2), &["ready", "booting"]), None, "one is starting");
    assert_eq!(of(Some(1), &["ready", "ready"]), None, "no more is wanted");
    assert_eq!(of(None, &["ready", "ready"]), None);
}

#[test]
fn a_hold_is_worth_a_word_while_jobs_wait_and_after_an_hour() {
    let held = |pool: v1::Pool, minutes: u64| {
        let pool = v1::Pool { held: true, hold_reason: "a look, by root".to_owned(), ..pool };
        let (none, since) = (BTreeMap::new(), Some(Timestamp(MINUTE)));
        let seen = Seen { pool: &pool, notes: &[], alerts: &none, held_since: since, leads: true, target: TARGET };
        Watcher::default().look(&seen, Timestamp((minutes + 1) * MINUTE)).pop()
    };
    assert_eq!(held(waiting(0), 59), None);
    let early = held(waiting(3), 1).expect("jobs wait");
    assert_eq!((early.title.as_str(), early.since), ("Held while jobs wait", Some(Timestamp(MINUTE))));
    assert_eq!(early.detail, "A look, by root. 3 jobs ready to run meanwhile.");
    assert_eq!(held(waiting(0), 60).map(|it| it.title), Some("Held for 1 h".to_owned()));
}

#[test]
fn a_standby_tells_what_it_cannot_read_and_nothing_else() {
    let pool = v1::Pool {
        held: true,
        observation_problem: "Redis: refused".to_owned(),
        launches_blocked: vec![blocked("quota")],
        ..waiting(5)
    };
    let none = BTreeMap::new();
    let seen = Seen { pool: &pool, notes: &[], alerts: &none, held_since: None, leads: false, target: TARGET };
    assert_eq!(kinds(&Watcher::default().look(&seen, Timestamp(0))), [Kind::QueuesUnknown]);
}

#[test]
fn since_is_when_it_was_seen_first_and_anew_after_it_was_over() {
    let (mut watcher, none) = (Watcher::default(), BTreeMap::new());
    let bad = v1::Pool { listing_problem: "x".to_owned(), ..v1::Pool::default() };
    let mut since = |pool: &v1::Pool, now| {
        let seen = Seen { pool, notes: &[], alerts: &none, held_since: None, leads: true, target: TARGET };
        watcher.look(&seen, Timestamp(now)).first().and_then(|it| it.since)
    };
    assert_eq!(since(&bad, 5), Some(Timestamp(5)));
    assert_eq!(since(&bad, 9), Some(Timestamp(5)));
    assert_eq!(since(&v1::Pool::default(), 10), None);
    assert_eq!(since(&bad, 12), Some(Timestamp(12)));
}

#[test]
fn the_worst_comes_first() {
    let pool = v1::Pool {
        listing_problem: "x".to_owned(),
        instances: vec![
            v1::Instance { other_image: Some(true), ..instance("i-1") },
            v1::Instance { stale: true, ..instance("i-2") },
        ],
        ..v1::Pool::default()
    };
    assert_eq!(kinds(&found(&pool, &[], &[])), [Kind::InstancesUnknown, Kind::AgentSilent, Kind::OtherImage]);
}
