//! gRPC: agents and operators, with the standard health service and reflection, on one port.
//!
//! Health and its reflection are for everybody; of the other services only this host is told that they are there.

mod access;
mod agent;
mod bounds;
pub(crate) mod caller;
mod choice;
mod health;
mod log_tail;
#[cfg(test)]
mod mutated;
mod operator;
mod past;
mod refusals;
mod register;
mod schedule;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::select_all;
use spillway_proto::DESCRIPTORS;
use spillway_proto::v1::agent_service_server::AgentServiceServer;
use spillway_proto::v1::operator_service_server::OperatorServiceServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::agents::Agents;
use crate::doors::{Door, WatchedLayer};
use crate::pools::PoolList;
use access::Access;
pub use access::{OperatorToken, Operators};
use choice::Choice;
use health::watch_health;
pub use health::{PARTS, is_well, parts};
pub use register::{Registration, Trust};

/// An idle connection is pinged after this, and closed if the ping is not answered within the same time.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Open at once on one connection: an agent has one or two, an operator's program some.
const MOST_REQUESTS: u32 = 32;
/// Of everybody, before and after an agent has proved itself: the longest that the protocol's bounds allow is a quarter
/// of it. One request, and one connection, may have sent as much before any of it is read.
const LARGEST_MESSAGE: usize = 64 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
const LARGEST_HEADERS: u32 = 16 * 1024;
/// A request whose answer has not begun by then is given up: one whose message never comes, above all.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// What the services share.
#[derive(Clone, Debug)]
pub struct Context {
    pub pools: PoolList,
    pub agents: Agents,
    pub registration: Registration,
    /// By what operators are known.
    pub operators: Operators,
    /// Accounts that may use the operators' socket, beside root and this process' own.
    pub operator_accounts: Arc<[u32]>,
}

/// Serves behind all doors until `shutdown` completes.
pub async fn serve_until(
    doors: Vec<Door>,
    context: Context,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(LARGEST_MESSAGE);
    let watching = tokio::spawn(watch_health(reporter, context.pools.configured().to_vec()));
    // The descriptors are compiled in, so they can be parsed. grpcurl uses either version.
    let newer = reflected(|services| {
        let service = services.build_v1().ok()?;
        Some(service.max_decoding_message_size(LARGEST_MESSAGE))
    });
    let older = reflected(|services| {
        let service = services.build_v1alpha().ok()?;
        Some(service.max_decoding_message_size(LARGEST_MESSAGE))
    });
    let agents =
        AgentServiceServer::new(agent::Service::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    let operators = operators(context).max_decoding_message_size(LARGEST_MESSAGE);
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(Some(MOST_REQUESTS))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .timeout(ANSWERED_WITHIN)
        .layer(WatchedLayer)
        .add_service(health)
        .add_optional_service(newer)
        .add_optional_service(older)
        .add_service(agents)
        .add_service(operators)
        .serve_with_incoming_shutdown(select_all(doors.into_iter().map(Door::incoming)), shutdown)
        .await;
    watching.abort();
    Ok(served?)
}

/// Serves operators on their Unix socket until `shutdown` completes; the kernel tells who each of them is.
pub async fn serve_operators(
    socket: UnixListener,
    context: Context,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let watching = tokio::spawn(watch_health(reporter, context.pools.configured().to_vec()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(DESCRIPTORS);
    let served = Server::builder()
        .max_concurrent_streams(Some(MOST_REQUESTS))
        .add_service(health)
        .add_optional_service(reflection.build_v1().ok())
        .add_service(operators(context).max_decoding_message_size(LARGEST_MESSAGE))
        .serve_with_incoming_shutdown(UnixListenerStream::new(socket), shutdown)
        .await;
    watching.abort();
    Ok(served?)
}

fn operators(context: Context) -> OperatorServiceServer<operator::Service> {
    let access = Access::new(context.operators.clone(), Arc::clone(&context.operator_accounts));
    OperatorServiceServer::new(operator::Service::new(context, access))
}

/// Reflection of all services for this host, and of health for everybody else.
fn reflected<S>(build: impl Fn(tonic_reflection::server::Builder<'static>) -> Option<S>) -> Option<Choice<S>> {
    let health = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let all = health().register_encoded_file_descriptor_set(DESCRIPTORS);
    Some(Choice { is_first: choice::is_from_this_host, first: build(all)?, second: build(health())? })
}

/// Whether a peer is on this host.
fn is_loopback(peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| match peer.ip() {
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        std::net::IpAddr::V4(ip) => ip.is_loopback(),
    })
}
