//! What a line of a script may say.

use std::time::Duration;

use spillway_brain::{
    AgentPhase, Controller, Ec2State, Event, Floor, InstanceId, JobsByInstance, LaunchAnswer, LaunchToken,
    RefusalClass, Schedule, State, StateReason, Suspect,
};

use super::{AtEc2, OURS, World, time};
use crate::sentences;

impl World {
    /// Does what the line says; it panics on a line that nobody knows.
    pub(super) fn happens(&mut self, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        let is_known =
            self.in_redis(&words) || self.at_ec2(&words) || self.of_agents(&words) || self.of_coordinator(&words);
        assert!(is_known, "no such line: {what}");
    }

    /// The queues and the jobs in Redis.
    fn in_redis(&mut self, words: &[&str]) -> bool {
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let id = InstanceId(word(1).to_owned());
        match word(0) {
            "demand" => self.observe(&words[1..]),
            "blind" => {
                self.heartbeats();
                self.list();
                self.tell(Event::ObservationFailed { detail: "Redis does not answer".to_owned() });
                self.tick();
            }
            "handed-back" => {
                let certain = word(2) == "certain";
                let [handed_back, left] = [3, 4].map(|n| word(n).parse().expect("a number"));
                // `suspect=JOB` after `ends=N` such ends; `stall-check` where it is left to it.
                let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
                let ends = value("ends=").map_or(0, |ends| ends.parse().expect("a number"));
                let is_left = words.contains(&"stall-check");
                let suspect = |job: &str| Suspect { queue: "video".to_owned(), job: job.to_owned(), ends, is_left };
                let suspects = value("suspect=").map(suspect).into_iter().collect();
                self.tell(Event::HandedBack { id, certain, handed_back, left, suspects });
            }
            "hand-back-fails" => {
                self.tell(Event::HandBackFailed { id, certain: word(2) == "certain", detail: "NOPERM".to_owned() });
            }
            // A look that began so many seconds ago and whose answer comes now.
            "late-look" => {
                let asked_at = self.now - Duration::from_secs(word(1).parse().expect("seconds"));
                self.tell(Event::JobsSeen { asked_at, seen: JobsByInstance { jobs: self.redis_jobs.clone() } });
            }
            "jobs" => {
                let jobs = word(2).parse().expect("a number");
                self.redis_jobs.insert(id, jobs);
                if let Some(agent) = self.agents.get_mut(word(1)) {
                    agent.1 = Some(jobs);
                }
            }
            "redis-jobs" => {
                self.redis_jobs.insert(id, word(2).parse().expect("a number"));
            }
            _ => return false,
        }
        true
    }

    /// EC2's answers, its list and its instances.
    fn at_ec2(&mut self, words: &[&str]) -> bool {
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        match word(0) {
            "unlisted" => self.unlisted = true,
            "listed" => self.unlisted = false,
            "accept" => {
                for token in std::mem::take(&mut self.unanswered) {
                    let id = self.launch(token.clone());
                    self.tell(Event::LaunchAnswered { token, answer: LaunchAnswer::Accepted { id: InstanceId(id) } });
                }
            }
            // EC2 launches from another image than it told.
            "accept-as" => {
                let told = self.image.replace(word(1).to_owned());
                self.happens("accept");
                self.image = told;
            }
            "lose-answer" => {
                for token in std::mem::take(&mut self.unanswered) {
                    self.launch(token);
                }
            }
            "throttle" => self.refuse(RefusalClass::Retry, "RequestLimitExceeded"),
            // EC2 launches, and its answer never comes.
            "time-out" => {
                for token in self.unanswered.clone() {
                    self.launch(token);
                }
                self.refuse(RefusalClass::Retry, "NoAnswer");
            }
            "refuse" => self.refuse(class(word(1)), word(2)),
            "refuse-first" => {
                let others = self.unanswered.split_off(1);
                self.refuse(class(word(1)), word(2));
                self.unanswered = others;
            }
            "refuse-terminate" => {
                let (class, code) = (class(word(2)), word(3).to_owned());
                let state = &mut self.ec2.get_mut(word(1)).expect("it was launched").state;
                // The script's `terminate` was too optimistic.
                *state = Ec2State::Running;
                let id = InstanceId(word(1).to_owned());
                self.tell(Event::TerminateFailed { id, class, detail: format!("{code}: no"), code });
            }
            "accept-terminate" => self.tell(Event::TerminateAccepted { id: InstanceId(word(1).to_owned()) }),
            "ec2" => {
                let state = serde_json::from_value(word(2).into()).expect("one of EC2's states");
                let at_ec2 = self.ec2.get_mut(word(1)).expect("it was launched");
                at_ec2.state = state;
                // What EC2 says why, if it says so: its code, then its message.
                let message = words.get(4..).unwrap_or_default().join(" ");
                at_ec2.reason = words.get(3).map(|code| StateReason::new(*code, &message));
                if state != Ec2State::Running {
                    self.agents.remove(word(1));
                }
            }
            "vanish" => {
                self.hidden.insert(word(1).to_owned());
                self.agents.remove(word(1));
            }
            // No list shows it any more, and its agent goes on.
            "hide" => {
                self.hidden.insert(word(1).to_owned());
            }
            "appear" => {
                self.hidden.remove(word(1));
            }
            "list" => self.list(),
            "list-fails" => self.tell(Event::ListingFailed { detail: "EC2 does not answer".to_owned() }),
            // What launches take from now on, as EC2 tells; `?` where it does not.
            "launch-image" => {
                let image = Some(word(1).to_owned()).filter(|image| image != "?");
                self.image = image.clone().or(self.image.take());
                self.tell(Event::LaunchImageRead { image });
            }
            // A list that was asked for so many seconds ago and whose answer comes now.
            "late-list" => {
                let asked_at = self.now - Duration::from_secs(word(1).parse().expect("seconds"));
                self.tell(Event::InstancesListed { asked_at, instances: self.shown_by_ec2() });
            }
            // Launched by somebody else; with a token where that was another coordinator of ours.
            "foreign" => {
                let token = words.get(2).map(|token| LaunchToken((*token).to_owned()));
                let installation = token.is_some().then_some(OURS);
                self.ec2.insert(word(1).to_owned(), AtEc2::running(token, installation, self.now));
            }
            // Launched with this token by the installation that the last word names; without one by a version that set
            // no tag.
            "stranger" => {
                let token = Some(LaunchToken(word(2).to_owned()));
                self.ec2.insert(word(1).to_owned(), AtEc2::running(token, words.get(3).copied(), self.now));
            }
            // Somebody edits its tags; with nothing behind the id they are put back.
            "retag" => {
                let at_ec2 = self.ec2.get_mut(word(1)).expect("it was launched");
                at_ec2.installation = Some(words.get(2).map_or(OURS, |_| "another").to_owned());
                at_ec2.retagged = words.get(2).map(|tags| (*tags).to_owned());
            }
            _ => return false,
        }
        true
    }

    /// What agents say, and what EC2 tells them.
    fn of_agents(&mut self, words: &[&str]) -> bool {
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let id = InstanceId(word(1).to_owned());
        match word(0) {
            "unnamed" => self.named = false,
            // `floor 0:30-10:00 2`: scheduled from and until; several, one after the other; none takes all back.
            "floor" => {
                let spans = words[1..].chunks_exact(2).map(|span| {
                    let (from, until) = span[0].split_once('-').expect("FROM-UNTIL");
                    let at = |when: &str| time(when).stepped(self.ahead);
                    Floor { from: at(from), until: at(until), instances: span[1].parse().expect("a number") }
                });
                let spans = spans.collect();
                self.tell(Event::FloorsSet(spans));
            }
            "slots" => self.slots = word(1).parse().ok(),
            "limiter-max" => self.limiter_max = word(1).parse().ok(),
            "ready" => self.agent(word(1), AgentPhase::Ready, ""),
            "rate-limited" => self.agent(word(1), AgentPhase::Ready, "rate-limited"),
            "draining" => self.agent(word(1), AgentPhase::Draining, "older than max_life"),
            "second-agent" => self.tell(Event::RegisteredTwice { id }),
            "registers" => self.tell(Event::AgentRegistered { id }),
            "proving" => self.agent(word(1), AgentPhase::Proving, "not blocked"),
            "failed" => {
                self.agent(word(1), AgentPhase::Failed, word(2));
                self.list();
                self.tick();
            }
            "drained" => {
                let number = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.parse().ok());
                let left = if words.contains(&"left=?") { None } else { Some(number("left=").unwrap_or(0)) };
                self.agents.insert(word(1).to_owned(), (AgentPhase::Drained, left, String::new()));
                let jobs_handed_back = number("handed=").unwrap_or(0);
                self.tell(Event::AgentDrained { id, jobs_left: left, jobs_handed_back });
            }
            // Now, or seen again of then.
            "rebalance" => {
                let at = words.get(2).map_or(self.now.stepped(-self.ahead), |when| time(when));
                self.tell(Event::RebalanceRecommended { id, at });
            }
            // What EC2 has scheduled: a kind and in how many minutes, `none`, or nothing where the agent does not tell.
            "event" => {
                let schedule = match (word(2), word(3).parse::<i64>()) {
                    (code, Ok(minutes)) => {
                        let at = self.now.stepped(minutes * 60_000);
                        Schedule::Next { code: code.to_owned(), at, left: None }
                    }
                    ("none", _) => Schedule::Empty,
                    _ => Schedule::Unknown,
                };
                self.schedules.insert(word(1).to_owned(), schedule);
            }
            // What the end of its worker's log says, until it is ready.
            "log" => {
                self.logs.insert(word(1).to_owned(), words[2..].join(" "));
            }
            "silent" => {
                self.agents.remove(word(1));
            }
            "notice" => {
                let seconds: i64 = word(2).parse().expect("seconds");
                let (at, is_rehearsal) = (self.now.stepped(seconds * 1000), word(3) == "rehearsed");
                self.tell(Event::NoticeSeen { id, at, is_rehearsal });
            }
            _ => return false,
        }
        true
    }

    /// Operators, leadership, restarts; and what is only asked.
    fn of_coordinator(&mut self, words: &[&str]) -> bool {
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let id = InstanceId(word(1).to_owned());
        match word(0) {
            "tick" => self.tick(),
            // The clock is set by so many minutes: the script's own times go on as they did.
            "clock" => {
                let minutes: i64 = word(1).parse().expect("minutes");
                self.ahead += minutes * 60_000;
                self.now = self.now.stepped(minutes * 60_000);
                self.tell(Event::ClockStepped { by_ms: minutes * 60_000 });
            }
            "notes" => {
                self.notes.iter().for_each(|(kind, _)| sentences::is_said(kind));
                self.said.extend(self.notes.iter().map(|(_, note)| format!("note: {note}")));
            }
            "show" => self.show(),
            "due" => {
                let due = self.controller.due_at().map_or_else(|| "not by the time".to_owned(), |at| self.clock(at));
                self.said.push(format!("due: {due}"));
            }
            "operator-drain" => self.tell(Event::OperatorDrain { id, reason: String::new() }),
            "cancel" => {
                let event = Event::OperatorCancelDrain { id, by: String::new() };
                if let Err(rejection) = self.controller.check_operator(self.now, &event) {
                    self.said.push(format!("rejected: {rejection}"));
                }
                self.tell(event);
            }
            "drill" => {
                let (instances, by) = (word(1).parse().expect("a number"), "root".to_owned());
                let event = Event::OperatorDrill { instances, by, reason: words[2..].join(" ") };
                if let Err(rejection) = self.controller.check_operator(self.now, &event) {
                    self.said.push(format!("rejected: {rejection}"));
                }
                self.tell(event);
            }
            "show-drill" => self.show_drill(),
            "hold" => self.tell(Event::OperatorHold { reason: String::new() }),
            "resume" => {
                self.said.push(self.controller.would_resume(self.now).to_string());
                self.tell(Event::OperatorResume { by: String::new() });
            }
            "depose" => self.tell(Event::LeadershipLost),
            "lead" => self.tell(Event::LeadershipGained),
            "restart" => {
                let kept = serde_json::to_string(self.controller.state()).expect("state is written");
                let state: State = serde_json::from_str(&kept).expect("state is read");
                assert_eq!(&state, self.controller.state(), "nothing is lost in the ledger");
                self.controller = Controller::restore(self.controller.config().clone(), state);
                self.unanswered.clear();
                self.tell(Event::Started);
            }
            "wipe" => {
                self.controller = Controller::new(self.controller.config().clone(), "u");
                self.tell(Event::LeadershipGained);
                self.list();
            }
            _ => return false,
        }
        true
    }
}

fn class(word: &str) -> RefusalClass {
    match word {
        "token-used" => RefusalClass::TokenUsed,
        "token-ended" => RefusalClass::TokenEnded,
        _ => RefusalClass::ALL.into_iter().find(|class| class.as_str() == word).expect("a class of refusals"),
    }
}
