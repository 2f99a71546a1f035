//! What `spillway status` prints: sentences, and that all of it fits a screen.

use std::time::Duration;

use spillway_proto::times::timestamp;

use super::*;

/// As a program reads it.
fn said(fleet: &v1::GetFleetResponse, now: SystemTime) -> String {
    text(fleet, now)
}

fn of(pool: v1::Pool) -> v1::GetFleetResponse {
    v1::GetFleetResponse { leader: true, pools: vec![pool], ..v1::GetFleetResponse::default() }
}

#[test]
fn the_versions_of_the_coordinator_and_of_each_agent_are_shown_where_they_are_known() {
    let instance = |id: &str, version: &str| v1::Instance {
        id: id.to_owned(),
        phase: "ready".to_owned(),
        instance_type: "c7g.large".to_owned(),
        agent_version: version.to_owned(),
        ..v1::Instance::default()
    };
    let pool = v1::Pool { instances: vec![instance("i-1", "0.1.0"), instance("i-2", "")], ..v1::Pool::default() };
    let shown = v1::GetFleetResponse { coordinator_version: "0.2.0".to_owned(), ..of(pool.clone()) };
    let text = said(&shown, SystemTime::UNIX_EPOCH);
    let line = |text: &str, of: &str| text.lines().find(|line| line.contains(of)).map(str::to_owned);
    assert!(text.starts_with("coordinator 0.2.0\n"), "{text}");
    assert!(line(&text, "i-1").is_some_and(|line| line.ends_with(" c7g.large, agent 0.1.0")), "{text}");
    assert!(line(&text, "i-2").is_some_and(|line| line.ends_with(" c7g.large")), "{text}");
    // By a coordinator that does not tell its own.
    assert!(!said(&of(pool), SystemTime::UNIX_EPOCH).contains("coordinator"));
}

#[test]
fn volumes_that_were_left_behind_are_named_and_none_where_there_is_none_or_it_is_not_known() {
    let shown = |ids: Option<usize>| {
        let at = Some(timestamp(SystemTime::UNIX_EPOCH));
        let ids = ids.map(|count| (1..=count).map(|n| format!("vol-{n}")).collect());
        let left_volumes = ids.map(|ids| v1::LeftVolumes { at, ids });
        let shown = v1::GetFleetResponse { left_volumes, ..of(v1::Pool::default()) };
        said(&shown, SystemTime::UNIX_EPOCH + Duration::from_secs(40))
    };
    let said = |volumes: &str| format!("PROBLEM    {volumes}. Delete what nobody needs (seen 40 s ago)\n");
    let text = shown(Some(1));
    assert!(text.starts_with(&said("1 volume left behind by instances that are gone, and billed on: vol-1")), "{text}");
    let text = shown(Some(12));
    assert!(
        text.starts_with("PROBLEM    12 volumes left behind") && text.contains("vol-10 and 2 more. Delete"),
        "{text}"
    );
    assert!(!shown(Some(0)).contains("volume") && !shown(None).contains("volume"));
}

#[test]
fn a_drill_says_who_asked_for_it_and_what_failed_until_it_is_long_over() {
    let at = |seconds: u64| Some(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
    let shown = |ended_at: Option<u64>, now: u64| {
        let failed = v1::DrillInstance {
            id: "i-2".to_owned(),
            outcome: "failed".to_owned(),
            cause: "boot failed: install".to_owned(),
            ..v1::DrillInstance::default()
        };
        let ready = v1::DrillInstance { outcome: "ready".to_owned(), ..v1::DrillInstance::default() };
        let drill = v1::Drill {
            by: "root (uid 0)".to_owned(),
            reason: "a new image".to_owned(),
            at: at(100),
            ended_at: ended_at.and_then(at),
            instances: vec![ready, failed],
            ..v1::Drill::default()
        };
        let pool = v1::Pool { drill: Some(drill), ..v1::Pool::default() };
        said(&of(pool), SystemTime::UNIX_EPOCH + Duration::from_secs(now))
    };
    let text = shown(None, 160);
    let said = "  drill      under way for 1 min (a new image, by root (uid 0)): 1 of 2 ready, 1 failed\n             i-2 was not \
                ready: boot failed: install\n";
    assert!(text.contains(said), "{text}");
    assert!(shown(Some(200), 230).contains("  drill      over 30 s ago (a new image"));
    assert!(!shown(Some(200), 2000).contains("drill"));
}

#[test]
fn a_boot_that_failed_shows_the_end_of_its_workers_log() {
    let log: String = (1..=20).map(|n| format!("line {n}\n\n")).collect();
    let shown = |phase: &str| {
        let at = Some(timestamp(SystemTime::UNIX_EPOCH));
        let (phase, worker_log) = (phase.to_owned(), log.clone());
        let instance = v1::Instance { phase, phase_since: at, worker_log, ..v1::Instance::default() };
        let pool = v1::Pool { instances: vec![instance], ..v1::Pool::default() };
        said(&of(pool), SystemTime::UNIX_EPOCH)
    };
    for phase in ["draining", "terminating", "gone"] {
        let text = shown(phase);
        assert!(text.contains("    the end of its worker's log:\n      line 9\n      line 10\n"), "{text}");
        assert!(text.contains("      line 20\n") && !text.contains("line 8\n"), "{text}");
    }
    assert!(!shown("booting").contains("line 20"));
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Fifty instances in every phase, one of them silent, one that fails to boot.
fn crowd(name: &str) -> v1::Pool {
    let phases = ["ready", "ready", "ready", "booting", "draining"];
    let instances = (0..50_u32).map(|n| {
        let phase = phases[n as usize % phases.len()];
        let step =
            v1::BootStep { name: "install".to_owned(), problem: "exit status 1".to_owned(), ..Default::default() };
        let step = v1::BootStep { state: v1::StepState::Failed.into(), count: 4, index: 1, ..step };
        v1::Instance {
            id: format!("i-0aaaaaaaaaaaaa{n:03}"),
            phase: phase.to_owned(),
            phase_since: Some(timestamp(at(u64::from(n)))),
            instance_type: ["c7g.large", "c6g.large"][n as usize % 2].to_owned(),
            availability_zone: ["us-east-1a", "us-east-1b", "us-east-1c"][n as usize % 3].to_owned(),
            capacity_type: "spot".to_owned(),
            connected: true,
            stale: n == 7,
            boot_steps: if n == 8 { vec![step] } else { Vec::new() },
            heartbeat: Some(v1::Heartbeat { active_jobs: Some(2), ..v1::Heartbeat::default() }),
            ..v1::Instance::default()
        }
    });
    let decision =
        |n| v1::Decision { kind: "launch".to_owned(), instance: format!("launch-{n}"), reason: "340 jobs".to_owned() };
    let notes = (0..20)
        .map(|n| format!("i-0aaaaaaaaaaaaa{n:03} is draining: 1 job left, and it takes long {}", "x ".repeat(40)));
    let plan = v1::PlanRecord {
        decisions: (0..20).map(decision).collect(),
        notes: notes.collect(),
        ..v1::PlanRecord::default()
    };
    v1::Pool {
        name: name.to_owned(),
        desired: Some(50),
        max_instances: 50,
        backlog: Some(v1::Backlog { at: Some(timestamp(at(99))), demand: 340, active: 100, ..v1::Backlog::default() }),
        instances: instances.collect(),
        plan: Some(plan),
        ..v1::Pool::default()
    }
}

/// Rows that a terminal of so many columns takes for it.
fn rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(columns).max(1)).sum()
}

#[test]
fn fifty_instances_are_a_screenful_with_the_sums_first_and_the_silent_one_named() {
    let shown = v1::GetFleetResponse { coordinator_version: "0.2.0".to_owned(), ..of(crowd("video")) };
    let text = said(&shown, at(100));
    assert!(rows(&text, 80) <= 23, "{} rows:\n{text}", rows(&text, 80));
    let top: Vec<&str> = text.lines().take(7).collect();
    assert_eq!(
        top,
        [
            "coordinator 0.2.0",
            "video: 50 desired, max 50",
            "  queue      340 ready to run, 100 running, read 1 s ago",
            "  instances  30 ready, 10 booting, 10 draining; 100 jobs on them",
            "  WARNING    no heartbeat from i-0aaaaaaaaaaaaa007",
            "  to do      look there, or `spillway drain` it: its jobs are handed back",
            "  i-0aaaaaaaaaaaaa007  READY       1 min ago    spot c6g.large us-east-1b",
        ],
        "{text}"
    );
    assert!(text.contains("    2/4 install    FAILED: exit status 1"), "{text}");
    assert!(
        text.contains(
            "  ready      others: 15 spot c7g.large (us-east-1a 6, us-east-1b 5, us-east-1c 4); 14 spot c6g.large ("
        ),
        "{text}"
    );
    assert!(text.contains(" more decisions: spillway status --all\n"), "{text}");
    assert!(text.contains("  why        i-0"), "{text}");
    let all = plain(&lines(&shown, &Page::piped().whole(), at(100)));
    assert!((0..50).all(|n| all.contains(&format!("\n  i-0aaaaaaaaaaaaa{n:03}  "))) && !all.contains("… "), "{all}");
}

#[test]
fn of_instances_that_are_gone_it_says_that_there_may_be_more_than_are_told() {
    let shown = |gone: usize| {
        let mut pool = crowd("video");
        let it = v1::Instance { phase: "gone".to_owned(), phase_since: Some(timestamp(at(90))), ..Default::default() };
        pool.instances.extend(vec![it; gone]);
        said(&of(pool), at(100))
    };
    assert!(shown(19).contains("\n  gone       19 in the last 15 min\n"), "{}", shown(19));
    assert!(shown(20).contains("\n  gone       20 or more in the last 15 min\n"), "{}", shown(20));
}

/// Steps and logs give way before instances do.
#[test]
fn a_few_instances_are_named_also_where_their_logs_leave_no_room() {
    let log: String = (1..=12).map(|n| format!("line {n}\n")).collect();
    let failed = |n: u64| v1::Instance {
        id: format!("i-{n}"),
        phase: "gone".to_owned(),
        phase_reason: format!("boot failed: cause {n}"),
        phase_since: Some(timestamp(at(n))),
        worker_log: log.clone(),
        ..v1::Instance::default()
    };
    let pool = |failures: u64| v1::Pool { instances: (1..=failures).map(failed).collect(), ..v1::Pool::default() };
    let one = said(&of(pool(1)), at(100));
    assert!(one.contains("boot failed: cause 1\n    the end of its worker's log:\n"), "{one}");
    let text = said(&of(pool(6)), at(100));
    assert!(
        (1..=6).all(|n| text.contains(&format!("boot failed: cause {n}\n"))) && !text.contains("line 12"),
        "{text}"
    );
    let text = said(&of(pool(40)), at(100));
    assert!(
        text.contains("boot failed: cause 1\n") && text.contains(" more instances: spillway status --all"),
        "{text}"
    );
}

#[test]
fn whatever_there_is_it_fits_the_terminal() {
    let mut ill = crowd("video");
    ill.observation_problem = "cannot connect to Redis: ".repeat(20);
    ill.listing_problem = "UnauthorizedOperation: ".repeat(60);
    ill.instances.iter_mut().for_each(|it| it.worker_log = "an error\n".repeat(30));
    let fleets = [
        of(crowd("video")),
        of(ill.clone()),
        of(v1::Pool::default()),
        v1::GetFleetResponse { pools: vec![ill.clone(), crowd("audio"), v1::Pool::default()], ..Default::default() },
        v1::GetFleetResponse { pools: (0..40).map(|n| crowd(&format!("pool-{n}"))).collect(), ..Default::default() },
    ];
    for fleet in &fleets {
        for (columns, height) in [(80, 24), (120, 40), (200, 60), (40, 12), (80, 4), (300, 100)] {
            let shown = lines(fleet, &Page::of_terminal(columns, height), at(100));
            assert!(shown.len() < usize::from(height), "{} rows at {columns}x{height}", shown.len());
            assert!(shown.iter().all(|line| line.width() <= usize::from(columns)), "{}", plain(&shown));
        }
        assert!(rows(&said(fleet, at(100)), 80) <= 23);
    }
    let pools = said(&fleets[3], at(100));
    assert!(pools.contains("video: 50") && pools.contains("\naudio: 50") && pools.contains("\n: ? desired"), "{pools}");
    assert!(said(&fleets[4], at(100)).contains(" more pools: spillway status --pool NAME; findings in "));
}

/// Pools whose queues do not exist, of which nothing else is known.
fn unread(count: usize) -> v1::GetFleetResponse {
    let pool = |n: usize| v1::Pool {
        name: format!("p{n:02}"),
        max_instances: 2,
        observation_problem: format!(
            "queue \"q{n:02}\" does not exist in Redis at 127.0.0.1:6379: {}",
            "x ".repeat(60)
        ),
        plan: Some(v1::PlanRecord { notes: vec!["nothing is decided".to_owned()], ..v1::PlanRecord::default() }),
        ..v1::Pool::default()
    };
    v1::GetFleetResponse {
        coordinator_version: "0.2.0".to_owned(),
        leader: true,
        pools: (1..=count).map(pool).collect(),
        ..v1::GetFleetResponse::default()
    }
}

#[test]
fn of_several_pools_each_shows_its_worst_finding_rather_than_its_sums_and_says_what_is_left_out() {
    for count in [2, 5, 7, 8, 11] {
        let on_a_terminal = plain(&lines(&unread(count), &Page::of_terminal(80, 24), at(0)));
        for text in [said(&unread(count), at(0)), on_a_terminal] {
            assert!(rows(&text, 80) <= 23, "{text}");
            let of_pools: Vec<&str> = text.split("\np").skip(1).collect();
            assert_eq!(of_pools.len(), count, "{text}");
            for (at, of_pool) in of_pools.iter().enumerate() {
                assert!(of_pool.contains("\n  PROBLEM    queue \"q"), "p{:02}: {text}", at + 1);
                let has_todo = of_pool.contains("\n  to do      `spillway queues` asks Redis");
                assert!(has_todo || count > 7, "{text}");
                let has_sums = of_pool.contains("\n  queue      cannot be read\n  instances  none");
                let says_more = of_pool.lines().any(|line| line.contains("… ") && line.contains(" more"));
                assert!(says_more || has_todo && has_sums && of_pool.contains("\n  why "), "{text}");
            }
        }
    }
    let eight = said(&unread(8), at(0));
    assert!(eight.contains("\np01: ? desired, max 2  … 2 lines, 1 note more: spillway status --all\n"), "{eight}");
    assert!(eight.contains("\np08: ? desired, max 2  … 3 lines, 1 note more: spillway status --all\n"), "{eight}");
    let thirty = said(&unread(30), at(0));
    assert!(
        thirty.contains("\n… 9 more pools: spillway status --pool NAME; findings in p22, p23, p24 and "),
        "{thirty}"
    );
    assert!(
        thirty.contains("p21: ? desired, max 2  … 1 finding, 2 lines, 1 note more: spillway status --all\n"),
        "{thirty}"
    );
}

#[test]
fn where_the_room_is_small_what_to_do_is_shown_and_the_particulars_are_cut() {
    // Of the second no row has room for a mark behind it.
    for listing_problem in ["AuthFailure ".repeat(40), "AuthFailure".repeat(40)] {
        let ill = of(v1::Pool { name: "p".to_owned(), listing_problem, ..v1::Pool::default() });
        for height in 4..=24 {
            let text = plain(&lines(&ill, &Page::of_terminal(80, height), at(0)));
            let problem = text.lines().skip_while(|line| !line.contains("  PROBLEM    EC2:"));
            let problem: Vec<&str> = problem.take_while(|line| !line.starts_with("  to do ")).collect();
            let is_whole = problem.len() > 2;
            assert!(is_whole || problem.last().is_some_and(|line| line.ends_with('…')), "{height} rows: {text}");
            assert!(text.contains("\n  to do      `spillway doctor`") && !text.contains("……"), "{height} rows: {text}");
        }
    }
}

#[test]
fn what_is_no_terminal_gets_each_sentence_in_one_line_and_a_terminal_breaks_it_between_words() {
    let problem = "ledger: the ledger was written by a newer version (2): upgrade this coordinator, or remove the key";
    let fleet = of(v1::Pool { observation_problem: problem.to_owned(), ..v1::Pool::default() });
    assert!(said(&fleet, at(0)).contains(&format!("  PROBLEM    {problem}\n")));
    let broken = plain(&lines(&fleet, &Page::of_terminal(80, 24), at(0)));
    assert!(broken.contains("by a newer version (2): upgrade this\n             coordinator"), "{broken}");
}

#[test]
fn one_instance_is_shown_in_full_with_what_needs_a_person_there() {
    let mut pool = crowd("video");
    pool.instances[7].worker_log = "the last words".to_owned();
    let shown = instance(&of(pool.clone()), "i-0aaaaaaaaaaaaa007", &Page::piped(), at(100)).expect("it is there");
    let shown = plain(&shown);
    assert!(shown.starts_with("  i-0aaaaaaaaaaaaa007  READY") && shown.contains("      the last words\n"), "{shown}");
    assert!(
        shown.contains("  WARNING    no heartbeat from i-0aaaaaaaaaaaaa007\n") && !shown.contains("a008"),
        "{shown}"
    );
    assert_eq!(instance(&of(pool), "i-0b", &Page::piped(), at(100)), None);
}
