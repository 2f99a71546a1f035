//! Why instances end, and what that means for their records.

use crate::clock::transition_time;
use crate::model::{InstanceState, Interruption, ShutdownBehavior, StateReason};
use crate::shared::State;

/// Why an instance ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    User {
        at_once: bool,
    },
    Interrupted(Interruption),
    /// EC2 accepted the launch, and could not go through with it.
    LaunchFailed,
    /// A process in the instance powered it off.
    PoweredOff,
    /// Its init exited, or could not be started.
    InitLost,
    EmulatorStops,
}

/// The records of an instance whose user has just terminated it.
pub(crate) fn user_terminates(state: &mut State, now_ms: u64, id: &str) {
    let reason = StateReason::new("Client.UserInitiatedShutdown", "User initiated shutdown");
    begins_to_end(state, now_ms, id, InstanceState::ShuttingDown, reason, "User initiated");
    state.resources.set_spot_status(
        id,
        now_ms,
        "closed",
        "instance-terminated-by-user",
        "Spot Instance terminated due to user-initiated termination.",
    );
}

fn begins_to_end(state: &mut State, now_ms: u64, id: &str, next: InstanceState, reason: StateReason, cause: &str) {
    state.resources.change_instance(id, |instance| {
        instance.state = next;
        instance.ending_ms = instance.ending_ms.or(Some(now_ms));
        instance.state_reason = Some(reason);
        instance.transition_reason = format!("{cause} ({})", transition_time(now_ms));
    });
}

/// Records that an instance begins to end. Returns the state that it now has.
pub(crate) fn record(state: &mut State, now_ms: u64, id: &str, end: End) -> InstanceState {
    let Some(instance) = state.resources.instances.get(id) else { return InstanceState::ShuttingDown };
    let (behavior, failure) = (instance.shutdown_behavior, instance.fails_with.clone());
    // The API came first: its state and its reason stand.
    if !instance.is_alive() {
        return InstanceState::ShuttingDown;
    }
    let (next, reason, cause) = match end {
        End::User { .. } => {
            user_terminates(state, now_ms, id);
            return InstanceState::ShuttingDown;
        }
        End::Interrupted(Interruption::Terminate) => (
            InstanceState::ShuttingDown,
            StateReason::new("Server.SpotInstanceTermination", "Spot instance termination"),
            "Server.SpotInstanceTermination",
        ),
        End::Interrupted(Interruption::Stop | Interruption::Hibernate) => (
            InstanceState::Stopping,
            StateReason::new("Server.SpotInstanceShutdown", "Spot instance shutdown"),
            "Server.SpotInstanceShutdown",
        ),
        End::LaunchFailed => {
            let reason =
                failure.unwrap_or_else(|| StateReason::new("Server.InternalError", "Internal error on launch"));
            let code = reason.code.clone();
            begins_to_end(state, now_ms, id, InstanceState::ShuttingDown, reason, &code);
            let (code, message) = failed_status(&code);
            state.resources.set_spot_status(id, now_ms, "closed", code, message);
            return InstanceState::ShuttingDown;
        }
        End::PoweredOff => (
            match behavior {
                ShutdownBehavior::Terminate => InstanceState::ShuttingDown,
                ShutdownBehavior::Stop => InstanceState::Stopping,
            },
            StateReason::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"),
            "Client.InstanceInitiatedShutdown",
        ),
        End::InitLost => (
            InstanceState::ShuttingDown,
            StateReason::new("Server.InternalError", "The instance's init exited"),
            "Server.InternalError",
        ),
        End::EmulatorStops => (
            InstanceState::ShuttingDown,
            StateReason::new("Server.InternalError", "The emulator is stopping"),
            "Server.InternalError",
        ),
    };
    begins_to_end(state, now_ms, id, next, reason, cause);
    let (code, message) = spot_status(end);
    state.resources.set_spot_status(id, now_ms, "closed", code, message);
    next
}

/// Of the spot request of an instance that never ran.
fn failed_status(code: &str) -> (&'static str, &'static str) {
    if code.contains("Capacity") || code.starts_with("Server.Spot") {
        return spot_status(End::Interrupted(Interruption::Terminate));
    }
    ("system-error", "An unexpected error occurred. Please try again.")
}

fn spot_status(end: End) -> (&'static str, &'static str) {
    match end {
        End::Interrupted(Interruption::Terminate) => (
            "instance-terminated-no-capacity",
            "Your Spot instance was terminated because there is no Spot capacity available that matches your request.",
        ),
        End::Interrupted(_) => (
            "instance-stopped-no-capacity",
            "Your Spot instance was stopped because there is no Spot capacity available that matches your request.",
        ),
        _ => ("instance-terminated-by-user", "Spot Instance terminated due to user-initiated termination."),
    }
}
