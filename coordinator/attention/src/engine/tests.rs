use super::*;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const INTERVAL: Duration = Duration::from_secs(10);

fn finding(kind: &str) -> v1::Finding {
    v1::Finding {
        kind: kind.to_owned(),
        severity: "warn".to_owned(),
        title: format!("title of {kind}"),
        detail: "what is known.".to_owned(),
        remedy: "Look.".to_owned(),
        ..v1::Finding::default()
    }
}

/// One process with a webhook, and a clock of its own.
struct World {
    engine: Engine,
    now: u64,
    sent: Vec<(u64, String)>,
    /// The keys of the messages.
    keys: Vec<String>,
}

impl World {
    fn of(pools: &[&str]) -> Self {
        let mut engine = Engine::new(INTERVAL);
        pools.iter().for_each(|pool| engine.take_over(pool, Kept::default(), Timestamp(0)));
        World { engine, now: 0, sent: Vec::new(), keys: Vec::new() }
    }

    /// Goes on second by second. `answers`: whether the webhook takes what it is sent then.
    fn until(
        &mut self,
        end: u64,
        found: impl Fn(&str, u64) -> Vec<v1::Finding>,
        answers: impl Fn(u64) -> Result<(), Option<Duration>>,
    ) {
        while self.now < end {
            let pools: Vec<String> = self.engine.pools.keys().cloned().collect();
            for pool in pools {
                self.engine.saw(&pool, &found(&pool, self.now), true, Timestamp(self.now));
            }
            if let Some(outgoing) = self.engine.due(Timestamp(self.now)) {
                match answers(self.now) {
                    Ok(()) => {
                        self.engine.sent(&outgoing, Timestamp(self.now));
                        self.sent.push((self.now, outgoing.text));
                        self.keys.push(outgoing.key);
                    }
                    Err(retry_after) => {
                        self.engine.failed(retry_after, Timestamp(self.now));
                    }
                }
            }
            self.now += SECOND;
        }
    }

    fn runs(&mut self, end: u64, found: impl Fn(&str, u64) -> Vec<v1::Finding>) {
        self.until(end, found, |_| Ok(()));
    }
}

fn while_in(range: std::ops::Range<u64>) -> impl Fn(&str, u64) -> Vec<v1::Finding> {
    move |_, now| if range.contains(&now) { vec![finding("held")] } else { Vec::new() }
}

#[test]
fn an_incident_has_one_message_when_it_opens_and_one_when_it_is_over() {
    let mut world = World::of(&["video"]);
    world.runs(HOUR, while_in(0..12 * MINUTE));
    let [(opened, first), (closed, last)] = &world.sent[..] else { panic!("{:?}", world.sent) };
    assert!((30 * SECOND..45 * SECOND).contains(opened), "{opened}");
    assert_eq!(first, "Spillway, pool video, warn: title of held\nwhat is known.\nTo do: Look.");
    assert!((14 * MINUTE..15 * MINUTE).contains(closed), "{closed}");
    assert_eq!(last, "Spillway, pool video: over after 12 min: title of held");
}

#[test]
fn what_does_not_last_is_no_incident_and_a_hint_is_none() {
    let mut world = World::of(&["video"]);
    world.runs(HOUR, |_, now| if now / SECOND % 60 < 20 { vec![finding("held")] } else { Vec::new() });
    let hint = v1::Finding { severity: "hint".to_owned(), ..finding("standby") };
    world.runs(2 * HOUR, |_, _| vec![hint.clone()]);
    assert_eq!(world.sent, []);
}

#[test]
fn one_that_stays_is_told_again_after_an_hour_six_hours_and_a_day() {
    let mut world = World::of(&["video"]);
    world.runs(50 * HOUR, while_in(0..49 * HOUR));
    let hours: Vec<u64> = world.sent.iter().map(|(at, _)| at / HOUR).collect();
    assert_eq!(hours, [0, 1, 6, 24, 49]);
    assert!(world.sent[1].1.starts_with("Spillway, pool video, warn, still after 1 h: title of held"));
    assert!(world.sent[4].1.contains("over after 2 d 1 h"), "{}", world.sent[4].1);
}

#[test]
fn a_storm_of_a_thousand_findings_makes_three_messages_at_most() {
    let pools: Vec<String> = (0..50).map(|n| format!("pool-{n}")).collect();
    let names: Vec<&str> = pools.iter().map(String::as_str).collect();
    let mut world = World::of(&names);
    let kinds: Vec<v1::Finding> = (0..20).map(|n| finding(&format!("kind-{n}"))).collect();
    // Each begins and ends at its own time within a minute.
    let begins = |pool: &str, n: usize| {
        let pool: u64 = pool.trim_start_matches("pool-").parse().expect("a number");
        (pool * 7 + n as u64 * 13) % 25 * SECOND
    };
    world.runs(2 * HOUR, |pool, now| {
        let is_there = |n: usize| (begins(pool, n)..begins(pool, n) + 35 * SECOND).contains(&now);
        kinds.iter().enumerate().filter(|(n, _)| is_there(*n)).map(|(_, it)| it.clone()).collect()
    });
    assert!((2..=3).contains(&world.sent.len()), "{:?}", world.sent);
    let text = world.sent.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(text.contains("more: `spillway status` shows") && text.contains(" over"), "{text}");
    assert!(world.sent.iter().all(|(_, text)| text.len() <= 3010));
    for pool in &names {
        let kept = world.engine.kept(pool).expect("it leads");
        assert!(kept.open.is_empty() && kept.closed.is_empty(), "{kept:?}");
    }
}

#[test]
fn one_that_flaps_is_one_incident() {
    let mut world = World::of(&["video"]);
    // A minute there, a minute away, for three hours.
    world.runs(4 * HOUR, |_, now| {
        if now < 3 * HOUR && (now / MINUTE).is_multiple_of(2) { vec![finding("held")] } else { Vec::new() }
    });
    assert!(world.sent.len() <= 3, "{:?}", world.sent);
    assert!(world.sent.last().is_some_and(|(_, text)| text.contains("over after 2 h 59 min")), "{:?}", world.sent);
}

#[test]
fn one_that_comes_back_again_and_again_is_told_ever_more_rarely() {
    let mut world = World::of(&["video"]);
    // Away for three minutes each time, which is longer than the quiet time.
    world.runs(12 * HOUR, |_, now| {
        if now < 11 * HOUR && (now / MINUTE).is_multiple_of(4) { vec![finding("held")] } else { Vec::new() }
    });
    assert!(world.sent.len() <= 8, "{} messages: {:?}", world.sent.len(), world.sent);
}

#[test]
fn a_restart_tells_nothing_twice_and_loses_nothing() {
    let mut world = World::of(&["video"]);
    world.runs(5 * MINUTE, while_in(0..HOUR));
    assert_eq!(world.sent.len(), 1);
    // What the ledger has is what the next process begins with, as JSON.
    let kept = serde_json::to_string(world.engine.kept("video").expect("it leads")).expect("JSON");
    let mut next = World::of(&[]);
    next.engine.take_over("video", serde_json::from_str(&kept).expect("kept"), Timestamp(0));
    next.now = 6 * MINUTE;
    next.runs(2 * HOUR, while_in(0..30 * MINUTE));
    let texts: Vec<&str> = next.sent.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["Spillway, pool video: over after 30 min: title of held"]);
}

#[test]
fn a_new_leader_calls_nothing_over_before_it_could_see_it() {
    let mut world = World::of(&["video"]);
    world.runs(5 * MINUTE, while_in(0..HOUR));
    let kept = world.engine.kept("video").cloned().expect("it leads");
    let mut next = World::of(&[]);
    next.now = 5 * MINUTE;
    next.engine.take_over("video", kept, Timestamp(11 * MINUTE));
    // A backlog must be seen to grow again.
    next.runs(HOUR, while_in(10 * MINUTE..HOUR));
    assert_eq!(next.sent, []);
    next.runs(2 * HOUR, |_, _| Vec::new());
    assert!(next.sent.last().is_some_and(|(_, text)| text.contains("over after 1 h")), "{:?}", next.sent);
}

#[test]
fn what_only_the_leader_can_see_is_not_over_while_the_pool_is_not_led_here() {
    let mut engine = Engine::new(INTERVAL);
    engine.take_over("p", Kept::default(), Timestamp(0));
    let both = [finding("held"), finding("queues_unknown")];
    let mut texts: Vec<String> = Vec::new();
    for now in (0..2 * HOUR).step_by(SECOND as usize) {
        // The lease is lost after five minutes, a minute after the first look that did not find the hold, and held
        // again after half an hour. The hold ends an hour later.
        let (found, leads) = match now {
            0..240_000 => (&both[..], true),
            240_000..300_000 => (&both[1..], true),
            300_000..1_800_000 => (&[][..], false),
            1_800_000..5_400_000 => (&both[..1], true),
            _ => (&[][..], true),
        };
        engine.saw("p", found, leads, Timestamp(now));
        if let Some(outgoing) = engine.due(Timestamp(now)) {
            engine.sent(&outgoing, Timestamp(now));
            texts.push(outgoing.text);
        }
    }
    let about = |words: &str| texts.iter().filter(|text| text.contains(words)).count();
    assert_eq!(about("over after 5 min: title of queues_unknown"), 1, "a standby sees that: {texts:?}");
    assert_eq!((about("title of held"), about("over after 1 h 30 min: title of held")), (3, 1), "{texts:?}");
}

#[test]
fn of_two_processes_only_the_one_that_leads_tells_and_the_keys_of_the_same_news_are_the_same() {
    let (mut one, mut other) = (World::of(&["video"]), World::of(&[]));
    other.runs(HOUR, while_in(0..HOUR));
    assert_eq!(other.sent, [], "it does not lead");
    // The first one's message arrives, and it ends before the ledger has that.
    one.runs(20 * SECOND, while_in(0..HOUR));
    let before = one.engine.kept("video").cloned().expect("it leads");
    one.runs(2 * MINUTE, while_in(0..HOUR));
    other = World::of(&[]);
    other.engine.take_over("video", before, Timestamp(0));
    other.runs(2 * MINUTE, while_in(0..HOUR));
    assert_eq!(one.keys.len(), 1);
    assert_eq!(one.keys, other.keys, "a receiver can tell that they are one");
    one.runs(2 * HOUR, while_in(0..HOUR));
    let mut keys = one.keys.clone();
    keys.dedup();
    assert_eq!(keys.len(), one.keys.len(), "and different news have different keys");
}

#[test]
fn an_hour_of_a_dead_webhook_loses_nothing() {
    let mut world = World::of(&["video", "mail"]);
    let found = |pool: &str, now: u64| match pool {
        // Over before the webhook answers again.
        "mail" if (5 * MINUTE..15 * MINUTE).contains(&now) => vec![finding("cap_reached")],
        "video" if now < 3 * HOUR => vec![finding("held")],
        _ => Vec::new(),
    };
    let attempts = std::cell::RefCell::new(Vec::new());
    world.until(4 * HOUR, found, |now| {
        attempts.borrow_mut().push(now);
        if now < 65 * MINUTE { Err(None) } else { Ok(()) }
    });
    let early = attempts.borrow().iter().filter(|at| **at < 65 * MINUTE).count();
    assert!((10..=25).contains(&early), "{early} attempts");
    let first = &world.sent[0];
    assert!(first.0 < 71 * MINUTE, "{}", first.0);
    assert!(first.1.contains("title of held") && first.1.contains("was so for 10 min, and is over"), "{}", first.1);
    let last = world.sent.last().expect("messages");
    assert!(last.1.contains("over after 3 h"), "{}", last.1);
    let stills = world.sent.iter().filter(|(_, text)| text.contains("still after 1 h")).count();
    assert_eq!(stills, 0, "that it is there was told after an hour: {:?}", world.sent);
}

#[test]
fn a_webhook_that_is_asked_too_often_is_left_alone_as_long_as_it_asks() {
    let mut world = World::of(&["video"]);
    let attempts = std::cell::RefCell::new(Vec::new());
    world.until(20 * MINUTE, while_in(0..HOUR), |now| {
        attempts.borrow_mut().push(now);
        if attempts.borrow().len() == 1 { Err(Some(Duration::from_secs(420))) } else { Ok(()) }
    });
    let attempts = attempts.into_inner();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[1] - attempts[0], 420 * SECOND);
    let mut engine = Engine::new(INTERVAL);
    let asked = engine.failed(Some(Duration::from_secs(1_000_000)), Timestamp(0));
    assert_eq!(asked, Duration::from_secs(3600), "no webhook silences it for longer");
}

#[test]
fn never_more_than_one_message_a_second() {
    let mut engine = Engine::new(Duration::from_millis(100));
    engine.take_over("video", Kept::default(), Timestamp(0));
    let mut sent = Vec::new();
    for now in (0..60_000).step_by(10) {
        let kind = format!("kind-{}", now / 500);
        engine.saw("video", &[finding(&kind)], true, Timestamp(now));
        if let Some(outgoing) = engine.due(Timestamp(now)) {
            engine.sent(&outgoing, Timestamp(now));
            sent.push(now);
        }
    }
    assert!(sent.len() > 5 && sent.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{sent:?}");
}

#[test]
fn what_is_over_and_cannot_be_told_is_bounded_and_counted() {
    let mut engine = Engine::new(INTERVAL);
    engine.take_over("video", Kept::default(), Timestamp(0));
    for n in 0..1000_u64 {
        let finding = finding(&format!("kind-{n}"));
        for now in [n * 10, n * 10 + 1, n * 10 + 4] {
            engine.saw("video", std::slice::from_ref(&finding), true, Timestamp(now * MINUTE));
        }
    }
    let kept = engine.kept("video").expect("it leads");
    assert!(kept.closed.len() <= 200 && kept.more_closed > 700, "{} {}", kept.closed.len(), kept.more_closed);
    assert_eq!(engine.due(Timestamp(20_000 * MINUTE)), None, "what belongs together is gathered");
    let text = engine.due(Timestamp(20_001 * MINUTE)).map(|it| it.text).unwrap_or_default();
    assert!(text.contains("over") && text.len() < 3010, "{text}");
}

#[test]
fn markup_of_slack_in_a_title_is_text() {
    let mut world = World::of(&["video"]);
    let bad = v1::Finding { title: "<!channel> & <http://x|y>".to_owned(), ..finding("held") };
    world.runs(2 * MINUTE, |_, _| vec![bad.clone()]);
    assert!(world.sent[0].1.contains("&lt;!channel&gt; &amp; &lt;http://x|y&gt;"), "{}", world.sent[0].1);
}

#[test]
fn words_from_outside_begin_no_line_and_turn_none() {
    let mut world = World::of(&["video"]);
    let bad = v1::Finding {
        title: "Held\r\nTo do: nothing".to_owned(),
        detail: "\u{1b}[2Ja look\nTo do: call +1\u{202e}\u{2066}\u{61c}\u{2028}now, by root.".to_owned(),
        ..finding("held")
    };
    world.runs(2 * MINUTE, |_, _| vec![bad.clone()]);
    let expected = "Spillway, pool video, warn: Held  To do: nothing\n\
        ␛[2Ja look To do: call +1\u{fffd}\u{fffd}\u{fffd} now, by root.\n\
        To do: Look.";
    assert_eq!(world.sent[0].1, expected);
    // Folded, each is one line.
    let mut world = World::of(&["video", "mail"]);
    world.runs(2 * MINUTE, |_, _| vec![bad.clone()]);
    assert_eq!(world.sent[0].1.lines().count(), 3, "{}", world.sent[0].1);
}

#[test]
fn a_message_that_was_not_answered_is_sent_again_as_it_was() {
    let mut world = World::of(&["p"]);
    world.until(MINUTE, |_, _| vec![finding("held")], |_| Err(None));
    let (engine, at) = (&mut world.engine, Timestamp(MINUTE + HOUR));
    let first = engine.due(at).expect("it is due");
    assert!(!engine.unanswered(first.clone(), at));
    engine.failed(None, at);
    engine.saw("p", &[finding("held"), finding("strangers")], true, at + Duration::from_secs(60));
    let later = at + Duration::from_secs(120);
    engine.saw("p", &[finding("held"), finding("strangers")], true, later);
    assert_eq!(engine.due(later), Some(first.clone()), "the same text, and the same key");
    engine.sent(&first, later);
    let next = engine.due(later + Duration::from_secs(600));
    assert!(next.or_else(|| engine.due(later + Duration::from_secs(700))).is_some_and(|it| it.key != first.key));
    engine.unanswered(first, later);
    engine.let_go("p");
    assert_eq!(engine.due(later + Duration::from_secs(900)), None, "another tells of that pool now");
}

#[test]
fn a_webhook_that_never_answers_has_what_is_new_and_loses_nothing_for_two_hours() {
    let mut engine = Engine::new(INTERVAL);
    engine.take_over("p", Kept::default(), Timestamp(0));
    let (mut asked, mut taken): (Vec<(u64, Outgoing)>, Vec<u64>) = (Vec::new(), Vec::new());
    for now in (0..3 * HOUR).step_by(SECOND as usize) {
        let more = (now > 10 * MINUTE).then(|| finding("strangers"));
        let found: Vec<v1::Finding> = std::iter::once(finding("held")).chain(more).collect();
        engine.saw("p", &found, true, Timestamp(now));
        if let Some(outgoing) = engine.due(Timestamp(now)) {
            asked.push((now, outgoing.clone()));
            engine.failed(None, Timestamp(now));
            taken.extend(engine.unanswered(outgoing, Timestamp(now)).then_some(now));
        }
    }
    let messages: Vec<&Outgoing> = asked.iter().map(|(_, it)| it).collect();
    assert!(messages[0] == messages[1] && messages[1] == messages[2], "as it was, with its key: {asked:?}");
    let told = asked.iter().find(|(_, it)| it.text.contains("title of strangers"));
    assert!(told.is_some_and(|(at, _)| *at < 35 * MINUTE), "what is new waits for nothing else: {asked:?}");
    // Nothing counts as taken before two hours of silence; then it is not sent for ever.
    assert!(taken.first().is_some_and(|at| (2 * HOUR..2 * HOUR + 30 * MINUTE).contains(at)), "{taken:?}");
    let told: Vec<u8> = engine.kept("p").expect("it leads").open.values().map(|it| it.told).collect();
    assert!(told.iter().all(|told| *told >= 1), "{told:?}");
}

#[test]
fn a_clock_that_is_set_back_ends_no_silence_early() {
    let mut engine = Engine::new(INTERVAL);
    engine.take_over("p", Kept::default(), Timestamp(0));
    let start = 10 * HOUR;
    let due = (start..start + HOUR).step_by(SECOND as usize).find_map(|now| {
        engine.saw("p", &[finding("held")], true, Timestamp(now));
        engine.due(Timestamp(now)).map(|outgoing| (now, outgoing))
    });
    let (at, outgoing) = due.expect("it is due");
    let back = [at, 2 * HOUR, 2 * HOUR + MINUTE, 2 * HOUR + 2 * MINUTE];
    assert!(back.into_iter().all(|now| !engine.unanswered(outgoing.clone(), Timestamp(now))), "nobody took it");
}

#[test]
fn a_digest_that_is_never_answered_counts_as_taken_after_three_attempts() {
    let mut engine = Engine::new(INTERVAL);
    let attempts = ["2026-11-29"; 3].map(|day| engine.digest_unanswered(day));
    assert_eq!(attempts, [false, false, true]);
    assert!(!engine.digest_unanswered("2026-11-30"), "each day anew");
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let mut world = World::of(&["p"]);
    world.until(5 * HOUR, |_, now| if now > 4 * HOUR { vec![finding("held")] } else { Vec::new() }, |_| Ok(()));
    assert_eq!(world.sent.len(), 1);
    world.now = HOUR;
    world.until(HOUR + 10 * MINUTE, |_, _| vec![finding("held"), finding("strangers")], |_| Ok(()));
    assert_eq!(world.sent.len(), 2, "{:?}", world.sent);
}
