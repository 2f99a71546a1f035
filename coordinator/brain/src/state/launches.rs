//! Launches: intents and their tokens, what EC2 answers to them, and instances that are found by their token.

use super::State;
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{AlertKind, Reason};
use crate::event::{LaunchAnswer, RefusalClass};
use crate::instance::{Instance, InstanceId, LaunchToken, Phase};
use crate::refusal::{self, Refusal};

impl State {
    pub(super) fn launch_answered(
        &mut self,
        now: Timestamp,
        token: LaunchToken,
        answer: LaunchAnswer,
        config: &Config,
    ) {
        match answer {
            LaunchAnswer::Accepted { id } => {
                self.refusal = None;
                self.alerts.remove(&AlertKind::Quota);
                self.alerts.remove(&AlertKind::FatalRefusal);
                let launched = &mut self.launched_total;
                match self.instances.iter_mut().find(|instance| instance.token == token) {
                    Some(instance) if instance.id.is_none() => {
                        *launched += 1;
                        accepted(instance, now, id, config, "EC2 accepted the launch");
                    }
                    Some(_) => {}
                    None => self.adopt(now, token, id, config),
                }
            }
            LaunchAnswer::Refused { class, code, message } => {
                let refused = (class, code.clone(), message.clone());
                let refusal = Refusal::next(self.refusal.as_ref(), now, config, refused);
                if let Some(instance) = self.instances.iter_mut().find(|instance| instance.token == token)
                    && let Phase::Launching { attempts, next_try, deadline, .. } = &mut instance.phase
                {
                    match refusal::backoff(config, class, *attempts) {
                        Some(wait) if class == RefusalClass::Retry => {
                            *next_try = Some(now + wait);
                            instance.problem = code.clone();
                        }
                        // An earlier attempt was not answered, and may have its effect yet: EC2's list tells.
                        _ if *attempts > 1 => {
                            (*next_try, *deadline) = (None, now.min(*deadline));
                            instance.problem = code.clone();
                        }
                        _ => instance.enter(now, Phase::Gone, format!("EC2 refused the launch: {code}")),
                    }
                }
                let alert = match class {
                    RefusalClass::Quota => Some(AlertKind::Quota),
                    RefusalClass::Fatal => Some(AlertKind::FatalRefusal),
                    RefusalClass::Retry | RefusalClass::Capacity => None,
                };
                if let Some(alert) = alert {
                    self.raise(alert, Reason::Refused { class, code, message });
                }
                self.refusal = Some(refusal);
            }
        }
    }

    /// Takes in an instance that carries one of our tokens and that the ledger does not know.
    pub(crate) fn adopt(&mut self, now: Timestamp, token: LaunchToken, id: InstanceId, config: &Config) {
        let mut instance = Instance::intended(token, now, now + config.launch_timeout);
        instance.adopted = true;
        accepted(&mut instance, now, id, config, "found by its launch token");
        self.launched_total += 1;
        self.instances.push_back(instance);
    }

    /// A new intent, to be persisted before the call.
    pub(crate) fn intend(&mut self, now: Timestamp, config: &Config) -> LaunchToken {
        self.launches += 1;
        let token = LaunchToken(format!("{}-{}", self.nonce, self.launches));
        self.instances.push_back(Instance::intended(token.clone(), now, now + config.launch_timeout));
        token
    }

    /// The token was given out by somebody whose ledger is lost: an older state of it must not give it out once more.
    pub(crate) fn not_again(&mut self, token: &LaunchToken) {
        let number = token.0.strip_prefix(&self.nonce).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        self.launches = self.launches.max(number.unwrap_or(0));
    }
}

/// EC2 has it: the boot's deadline runs from here.
pub(crate) fn accepted(instance: &mut Instance, now: Timestamp, id: InstanceId, config: &Config, reason: &str) {
    let deadline = now + config.boot_timeout;
    instance.id = Some(id);
    instance.accepted_at = Some(now);
    instance.boot_deadline = Some(deadline);
    instance.problem.clear();
    (instance.emptied, instance.hand_back) = (false, None);
    instance.enter(now, Phase::Booting { deadline }, reason);
}
