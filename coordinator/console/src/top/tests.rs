//! Frames as text, and what every frame keeps to.

use std::time::Duration;

use spillway_proto::times::{duration, timestamp};

use super::*;
use crate::style::Colors;

const SMALL: Size = Size { width: 80, height: 24 };
const MEDIUM: Size = Size { width: 120, height: 40 };
const LARGE: Size = Size { width: 200, height: 60 };
const SIZES: [Size; 3] = [SMALL, MEDIUM, LARGE];

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_933_570 + seconds)
}

fn text(model: &Model, size: Size, now: SystemTime) -> String {
    frame(model, size, now).iter().map(|line| line.render(Colors::Off).trim_end().to_owned() + "\n").collect()
}

fn step(index: u32, name: &str, state: v1::StepState, began: u64) -> v1::BootStep {
    v1::BootStep {
        index,
        count: 4,
        name: name.to_owned(),
        state: state.into(),
        started_at: Some(timestamp(at(began))),
        took: (state == v1::StepState::Succeeded).then(|| duration(Duration::from_secs(2))),
        ..v1::BootStep::default()
    }
}

fn instance(id: &str, phase: &str, launched: u64, since: u64) -> v1::Instance {
    v1::Instance {
        id: id.to_owned(),
        phase: phase.to_owned(),
        launched_at: Some(timestamp(at(launched))),
        phase_since: Some(timestamp(at(since))),
        capacity_type: "spot".to_owned(),
        instance_type: "c7g.large".to_owned(),
        availability_zone: "us-east-1a".to_owned(),
        connected: true,
        heartbeat: Some(v1::Heartbeat { active_jobs: Some(2), ..v1::Heartbeat::default() }),
        ..v1::Instance::default()
    }
}

fn launch(at_second: u64, demand: u64, note: &str) -> v1::PlanRecord {
    let decision = v1::Decision {
        kind: "launch".to_owned(),
        instance: format!("spillway-130cd425504a-{at_second}"),
        reason: format!("{demand} jobs ready to run; 2 instances desired, 1 ready, 0 starting"),
    };
    v1::PlanRecord {
        pool: "video".to_owned(),
        at: Some(timestamp(at(at_second))),
        until: Some(timestamp(at(at_second + 30))),
        demand: Some(demand),
        decisions: vec![decision],
        notes: vec![note.to_owned()],
        ..v1::PlanRecord::default()
    }
}

/// Four instances, each in another phase, 900 s after the beginning.
fn pool() -> v1::Pool {
    let mut booting = instance("i-0aaaaaaaaaaaaaaa2", "booting", 860, 870);
    booting.boot_steps = vec![
        step(0, "pull", v1::StepState::Succeeded, 871),
        step(1, "install", v1::StepState::Succeeded, 873),
        step(2, "start", v1::StepState::Running, 888),
    ];
    booting.heartbeat = None;
    let mut launching = instance("", "launching", 898, 898);
    launching.token = "spillway-130cd425504a-9".to_owned();
    launching.heartbeat = None;
    let mut draining = instance("i-0aaaaaaaaaaaaaaa3", "draining", 300, 880);
    draining.boot_steps = vec![step(3, "save", v1::StepState::Succeeded, 360)];
    draining.phase_reason = "idle: no jobs ready to run for long enough; 2 instances desired".to_owned();
    let backlog = v1::Backlog {
        at: Some(timestamp(at(899))),
        demand: 31,
        active: 6,
        oldest_age: Some(duration(Duration::from_secs(74))),
        ..v1::Backlog::default()
    };
    let notes = vec![
        "31 jobs ready to run, 20 or more for 4 min: 4 instances desired in 1 min if so many still are".to_owned(),
        "1 instance starting, at most 1 min 26 s left".to_owned(),
    ];
    v1::Pool {
        name: "video".to_owned(),
        desired: Some(2),
        max_instances: 5,
        steps: [(5, 2), (20, 4)]
            .map(|(jobs, instances)| v1::PolicyStep { jobs, instances, ..Default::default() })
            .into(),
        backlog: Some(backlog),
        instances: vec![instance("i-0aaaaaaaaaaaaaaa1", "ready", 500, 600), booting, launching, draining],
        plan: Some(v1::PlanRecord {
            at: Some(timestamp(at(899))),
            until: Some(timestamp(at(899))),
            notes,
            ..v1::PlanRecord::default()
        }),
        ..v1::Pool::default()
    }
}

fn fleet(pools: Vec<v1::Pool>) -> v1::GetFleetResponse {
    v1::GetFleetResponse {
        at: Some(timestamp(at(900))),
        leader: true,
        coordinator_version: "0.1.0".to_owned(),
        pools,
        ..v1::GetFleetResponse::default()
    }
}

fn model(fleet: v1::GetFleetResponse) -> Model {
    let mut model = Model::new("127.0.0.1:7443", true);
    model.answered(fleet, at(900));
    model
}

/// With what the record has of the last quarter of an hour.
fn flooded() -> Model {
    let mut model = model(fleet(vec![pool()]));
    let below = "4 jobs ready to run: below the next step (5), so 0 instances desired as before";
    let first = "12 jobs ready to run, 5 or more for 2 min: 2 instances desired in 3 min if so many still are";
    let mut plans = vec![launch(860, 40, ""), launch(700, 28, first), launch(500, 12, first), launch(300, 4, below)];
    plans[3].decisions.clear();
    model.remember(&plans, at(0));
    model
}

#[test]
fn frames_of_a_flood() {
    insta::assert_snapshot!("small", text(&flooded(), SMALL, at(901)));
    insta::assert_snapshot!("medium", text(&flooded(), MEDIUM, at(901)));
    insta::assert_snapshot!("large", text(&flooded(), LARGE, at(901)));
}

/// Fifty instances, of which one is silent.
fn crowd() -> v1::Pool {
    let instances = (0..50).map(|n| v1::Instance {
        stale: n == 7,
        last_heartbeat_at: Some(timestamp(at(800))),
        ..instance(&format!("i-0bbbbbbbbbbbbb{n:03}"), "ready", 500, 600)
    });
    v1::Pool { instances: instances.collect(), ..pool() }
}

#[test]
fn frames_of_fifty_instances_of_none_and_of_a_standby_that_cannot_see_redis() {
    insta::assert_snapshot!("small-crowd", text(&model(fleet(vec![crowd()])), SMALL, at(901)));
    let none = v1::Pool { instances: Vec::new(), desired: Some(0), plan: None, ..pool() };
    insta::assert_snapshot!("small-none", text(&model(fleet(vec![none])), SMALL, at(901)));
    let observation_problem = "cannot reach Redis at 127.0.0.1:6379: connection refused".to_owned();
    let unseen = v1::Pool { observation_problem, backlog: None, plan: None, instances: Vec::new(), ..pool() };
    let standby = v1::GetFleetResponse { leader: false, ..fleet(vec![unseen]) };
    insta::assert_snapshot!("small-standby", text(&model(standby), SMALL, at(901)));
}

#[test]
fn of_fifty_instances_a_screen_shows_some_and_scrolls_to_all() {
    for size in SIZES {
        let mut model = model(fleet(vec![crowd()]));
        let ids = |model: &Model| -> Vec<String> {
            let text = text(model, size, at(901));
            text.lines().filter(|line| line.starts_with("  i-0b")).map(|line| line[2..21].to_owned()).collect()
        };
        let page = ids(&model).len();
        assert!((4..=50).contains(&page), "{}", text(&model, size, at(901)));
        assert!(text(&model, size, at(901)).contains("no heartbeat from i-0bbbbbbbbbbbbb007"), "it is named");
        if page < 50 {
            assert!(text(&model, size, at(901)).contains(&format!("(1 to {page} of 50)")));
        }
        let mut seen: Vec<String> = ids(&model);
        for _ in 0..60 {
            model.press(Key::Down, size, at(901));
            seen.extend(ids(&model));
        }
        assert_eq!(ids(&model).len(), page, "the last page is full");
        assert_eq!(ids(&model).last().map(String::as_str), Some("i-0bbbbbbbbbbbbb049"));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 50);
        model.press(Key::PageUp, size, at(901));
        (0..60).for_each(|_| model.press(Key::Up, size, at(901)));
        assert_eq!(ids(&model)[0], "i-0bbbbbbbbbbbbb000");
        model.press(Key::PageDown, size, at(901));
        let second = ids(&model)[0].clone();
        assert_eq!(second, format!("i-0bbbbbbbbbbbbb{:03}", page.min(50 - page)));
    }
}

#[test]
fn the_first_line_says_what_one_is_looking_at_and_whether_it_is_the_present() {
    let first = |model: &Model, now| text(model, SMALL, now).lines().next().unwrap_or_default().to_owned();
    let mut model = flooded();
    assert_eq!(first(&model, at(903)), "spillway top  coordinator 0.1.0 at 127.0.0.1:7443, leader, answered 3 s ago");
    assert!(first(&model, at(960)).starts_with("spillway top  STALE for 1 min: 127.0.0.1:7443 does not answer"));
    model.cut_off("connection refused by the host");
    let cut = first(&model, at(912));
    assert_eq!(cut, "spillway top  STALE for 12 s: reconnecting to 127.0.0.1:7443: connection refuse…");
    assert!(text(&model, SMALL, at(912)).contains("i-0aaaaaaaaaaaaaaa1"), "what was known last is there");
    model.answered(v1::GetFleetResponse { leader: false, ..fleet(vec![pool()]) }, at(920));
    let standby = "spillway top  coordinator 0.1.0 at 127.0.0.1:7443, STANDBY: it decides nothing,";
    assert!(first(&model, at(920)).starts_with(&standby[..79]), "{}", first(&model, at(920)));
    let nothing = Model::new("127.0.0.1:7443", true);
    assert_eq!(first(&nothing, at(0)), "spillway top  asking 127.0.0.1:7443");
}

/// Whatever this machine's clock shows, ages are by the coordinator's.
#[test]
fn a_clock_that_is_set_otherwise_here_makes_nothing_older() {
    let mut model = Model::new("127.0.0.1:7443", true);
    model.answered(fleet(vec![pool()]), at(90_000));
    let shown = text(&model, SMALL, at(90_001));
    assert!(shown.contains("read 2 s ago") && shown.contains("READY       2 jobs   5 min 1 s"), "{shown}");
}

#[test]
fn where_redis_cannot_be_seen_it_says_so_and_what_to_do() {
    let problem = "cannot reach Redis at 127.0.0.1:6379: connection refused".to_owned();
    let model = model(fleet(vec![v1::Pool { observation_problem: problem, ..pool() }]));
    for size in SIZES {
        let shown = text(&model, size, at(901));
        assert!(shown.contains("BACKLOG   cannot be read; last: 31 ready to run"), "{shown}");
        assert!(shown.contains("ATTENTION 1 finding\n          cannot reach Redis at 127.0.0.1:6379"), "{shown}");
        assert!(
            shown.contains("to do   `spillway queues` asks Redis from here; nothing is scaled meanwhile"),
            "{shown}"
        );
    }
}

#[test]
fn findings_that_do_not_fit_are_counted_and_what_to_do_outlives_the_particulars() {
    let mut ill = crowd();
    ill.observation_problem = "cannot connect ".repeat(40);
    ill.listing_problem = "AuthFailure ".repeat(40);
    ill.instances[0].terminate_problem = "UnauthorizedOperation ".repeat(20);
    let ill = v1::Pool { steps: pool().steps, ..ill };
    let all = model(fleet(vec![ill.clone()]));
    let shown = text(&all, LARGE, at(901));
    assert!(shown.contains("\nATTENTION 4 findings\n"), "{shown}");
    let ends_cut = |line: &&str| line.ends_with('…') && !line.ends_with("……");
    assert_eq!(
        shown.lines().skip_while(|line| !line.starts_with("ATT")).filter(ends_cut).count(),
        3,
        "each that is longer than two rows: {shown}"
    );
    let mut lefts = Vec::new();
    for height in 12..=40 {
        let shown = text(&all, Size { width: 80, height }, at(901));
        let lines: Vec<&str> = shown.lines().collect();
        let Some(title) = lines.iter().position(|line| line.starts_with("ATTENTION 4 findings")) else { continue };
        let todos = lines.iter().filter(|line| line.starts_with("  to do   ")).count();
        match todos {
            4 => assert_eq!(lines[title], "ATTENTION 4 findings"),
            todos => assert_eq!(lines[title], format!("ATTENTION 4 findings (… {} more: spillway status)", 4 - todos)),
        }
        assert!(todos == 0 || lines[title + 1].ends_with('…') || lines[title + 2].ends_with('…'), "{shown}");
        lefts.push(4 - todos);
    }
    assert!(lefts.contains(&0) && lefts.iter().any(|left| (1..4).contains(left)), "{lefts:?}");
}

#[test]
fn without_the_record_it_says_since_when_it_knows_the_backlog() {
    let shown = text(&model(fleet(vec![pool()])), SMALL, at(901));
    assert!(shown.contains("31 at most since 06:41:09"), "{shown}");
    assert!(text(&flooded(), SMALL, at(901)).contains("40 at most, 10 min"));
}

#[test]
fn thresholds_of_the_policy_are_in_the_chart() {
    let shown = text(&flooded(), MEDIUM, at(901));
    assert!(shown.contains("┄ 5: 2 desired") && shown.contains("┄ 20: 4 desired"), "{shown}");
}

#[test]
fn the_next_pool_is_a_key_away_and_one_that_is_gone_is_forgotten() {
    let other = v1::Pool { name: "audio".to_owned(), listing_problem: "AuthFailure".to_owned(), ..v1::Pool::default() };
    let mut model = model(fleet(vec![pool(), other.clone()]));
    let shown = text(&model, SMALL, at(901));
    assert!(
        shown.contains("video (pool 1 of 2): 2 desired") && shown.contains("pool audio needs attention too"),
        "{shown}"
    );
    model.press(Key::NextPool, SMALL, at(901));
    assert!(text(&model, SMALL, at(901)).contains("audio (pool 2 of 2): ? desired"));
    model.press(Key::NextPool, SMALL, at(901));
    assert!(text(&model, SMALL, at(901)).contains("video (pool 1 of 2)"));
    model.answered(fleet(vec![other]), at(902));
    assert!(text(&model, SMALL, at(902)).contains("\naudio: ? desired"));
    assert_eq!(model.pasts.len(), 1);
    model.answered(fleet(Vec::new()), at(903));
    model.press(Key::NextPool, SMALL, at(903));
    assert!(text(&model, SMALL, at(903)).contains("this coordinator has no pool"));
}

#[test]
fn the_keys_are_explained_and_changed_by_none() {
    let mut model = flooded();
    assert!(text(&model, SMALL, at(901)).ends_with("q quit  p next pool  ↑ ↓ PgUp PgDn instances  ? help\n"));
    model.press(Key::Help, SMALL, at(901));
    let help = text(&model, SMALL, at(901));
    assert!(help.contains("No key changes the fleet") && help.starts_with("spillway top  coordinator"), "{help}");
    model.press(Key::Help, SMALL, at(901));
    assert!(!text(&model, SMALL, at(901)).contains("No key changes"));
    let without = Model::new("x", false);
    assert!(text(&without, SMALL, at(0)).contains("Ctrl-C quits; no keys"));
}

#[test]
fn every_frame_fits_its_terminal() {
    let mut ill = crowd();
    ill.observation_problem = "cannot connect ".repeat(40);
    ill.listing_problem = "\x1b[2Ja\nb\tc ".repeat(40);
    ill.instances.iter_mut().for_each(|it| it.terminate_problem = "UnauthorizedOperation ".repeat(20));
    ill.instances.extend((0..30).map(|n| instance(&format!("i-0c{n}"), "gone", 500, 800)));
    ill.plan = Some(v1::PlanRecord { notes: vec!["it is long ".repeat(30); 30], ..v1::PlanRecord::default() });
    let mut cut = flooded();
    cut.cut_off("a long reason ".repeat(30));
    let mut help = flooded();
    help.shows_help = true;
    let all = [
        flooded(),
        model(fleet(vec![crowd()])),
        model(fleet(vec![ill])),
        model(fleet(vec![v1::Pool::default()])),
        model(fleet(Vec::new())),
        cut,
        help,
        Model::new("x".repeat(300), true),
    ];
    for mut model in all {
        for (width, height) in [
            (80, 24),
            (120, 40),
            (200, 60),
            (109, 24),
            (110, 24),
            (159, 30),
            (160, 50),
            (40, 10),
            (20, 3),
            (1, 1),
            (400, 200),
        ] {
            let size = Size { width, height };
            model.press(Key::PageDown, size, at(901));
            let lines = frame(&model, size, at(901));
            assert_eq!(lines.len(), usize::from(height), "at {size:?}");
            for line in &lines {
                assert!(line.width() <= usize::from(width), "{line:?} at {size:?}");
                assert!(!line.render(Colors::Off).chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
