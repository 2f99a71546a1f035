//! OperatorService: status, explanations and operators' requests. Who may ask is judged in `access`.

use std::pin::Pin;
use std::time::Duration;

use spillway_brain::{InstanceId, in_words};
use spillway_pool::{Granted, Wish};
use spillway_proto::v1::operator_service_server::OperatorService;
use spillway_proto::{times, v1};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Context;
use super::access::Access;
use super::health::changed;
use super::past;
use crate::reconcile::{Message, PoolHandle};
use crate::requests::{self, Rejected, signed};
use crate::{clock, fleet};

const PLANS_SHOWN: usize = 20;
/// The notice that EC2 gives, and the range that can be rehearsed.
const NOTICE: Duration = Duration::from_secs(120);
const SHORTEST_NOTICE: Duration = Duration::from_secs(1);
const LONGEST_NOTICE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Service {
    context: Context,
    access: Access,
}

impl Service {
    pub(super) fn new(context: Context, access: Access) -> Self {
        Service { context, access }
    }

    /// The pool of this name, or all pools if it is empty.
    fn pools(&self, name: &str) -> Result<Vec<PoolHandle>, Status> {
        Ok(requests::pools(&self.context.pools, name)?)
    }

    async fn request_of_all(&self, pool: &str, by: String, wish: Wish) -> Result<String, Status> {
        Ok(requests::request_of_all(&self.context.pools, pool, &by, &wish).await?)
    }

    async fn request_for(&self, id: &str, by: String, wish: Wish) -> Result<String, Status> {
        let pool = requests::pool_of(&self.context.pools, id)?;
        Ok(requests::request(&pool, by, wish).await?.to_string())
    }

    /// The pool of this name, or the only one.
    fn only_pool(&self, name: &str) -> Result<PoolHandle, Status> {
        let mut pools = self.pools(name)?;
        if pools.len() > 1 {
            let names: Vec<String> = pools.into_iter().map(|pool| pool.name).collect();
            return Err(Status::invalid_argument(format!("which pool? Name one with --pool: {}", names.join(", "))));
        }
        pools.pop().ok_or_else(|| Status::not_found("no pool here"))
    }
}

impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let text = rejected.to_string();
        match rejected {
            Rejected::NoPool { .. } | Rejected::NoInstance(_) => Status::not_found(text),
            Rejected::Denied(_) => Status::failed_precondition(text),
            Rejected::Stopping => Status::unavailable(text),
        }
    }
}

fn fleet(pools: &[PoolHandle]) -> v1::GetFleetResponse {
    fleet::of(pools, clock::now())
}

#[tonic::async_trait]
impl OperatorService for Service {
    async fn get_fleet(&self, request: Request<v1::GetFleetRequest>) -> Result<Response<v1::GetFleetResponse>, Status> {
        self.access.admit(&request).await?;
        Ok(Response::new(fleet(&self.pools(&request.get_ref().pool)?)))
    }

    type WatchFleetStream = Pin<Box<dyn Stream<Item = Result<v1::WatchFleetResponse, Status>> + Send>>;

    async fn watch_fleet(
        &self,
        request: Request<v1::WatchFleetRequest>,
    ) -> Result<Response<Self::WatchFleetStream>, Status> {
        self.access.admit(&request).await?;
        let name = request.into_inner().pool;
        self.pools(&name)?;
        let (sender, receiver) = mpsc::channel(1);
        let service = Service::new(self.context.clone(), self.access.clone());
        tokio::spawn(async move {
            // Anew each time: a pool that is wound up comes and goes.
            while let Ok(pools) = service.pools(&name) {
                if sender.send(Ok(fleet(&pools).into())).await.is_err() || !changed(&pools).await {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        self.access.admit(&request).await?;
        let request = request.into_inner();
        let limit = match request.limit {
            0 => PLANS_SHOWN,
            limit => limit as usize,
        };
        let mut plans = Vec::new();
        for pool in self.pools(&request.pool)? {
            if let Some(past) = past::Asked::of(&request) {
                plans.extend(past.plans(&pool, limit));
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let stopping = || Status::unavailable("the coordinator is stopping");
            pool.messages.send(Message::Explain(limit, reply)).await.map_err(|_| stopping())?;
            plans.extend(answer.await.map_err(|_| stopping())?);
        }
        Ok(Response::new(v1::ExplainResponse { plans }))
    }

    async fn get_history(
        &self,
        request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        self.access.admit(&request).await?;
        let request = request.into_inner();
        Ok(Response::new(past::history(&self.pools(&request.pool)?, &request)))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let request = request.into_inner();
        let reason = signed(&by, &request.reason);
        let wish = Wish::Drain { id: InstanceId(request.instance_id.clone()), reason };
        let message = self.request_for(&request.instance_id, by, wish).await?;
        Ok(Response::new(v1::DrainResponse { message }))
    }

    async fn cancel_drain(
        &self,
        request: Request<v1::CancelDrainRequest>,
    ) -> Result<Response<v1::CancelDrainResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let id = request.into_inner().instance_id;
        let wish = Wish::CancelDrain { id: InstanceId(id.clone()), by: signed(&by, "") };
        let message = self.request_for(&id, by, wish).await?;
        Ok(Response::new(v1::CancelDrainResponse { message }))
    }

    async fn rehearse(&self, request: Request<v1::RehearseRequest>) -> Result<Response<v1::RehearseResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let request = request.into_inner();
        let notice = match &request.notice {
            None => Some(NOTICE),
            Some(notice) => {
                times::from_duration(notice).filter(|notice| (SHORTEST_NOTICE..=LONGEST_NOTICE).contains(notice))
            }
        };
        let notice = notice.ok_or_else(|| {
            Status::invalid_argument(format!(
                "notice must be between {} and {}",
                in_words(SHORTEST_NOTICE),
                in_words(LONGEST_NOTICE)
            ))
        })?;
        let wish = Wish::Rehearse { id: InstanceId(request.instance_id.clone()), notice };
        let message = self.request_for(&request.instance_id, by, wish).await?;
        Ok(Response::new(v1::RehearseResponse { message }))
    }

    async fn drill(&self, request: Request<v1::DrillRequest>) -> Result<Response<v1::DrillResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let v1::DrillRequest { pool, instances, reason } = request.into_inner();
        let pool = self.only_pool(&pool)?;
        let wish = Wish::Drill { instances: instances.unwrap_or(1), by: by.clone(), reason };
        let granted = requests::request(&pool, by, wish).await?;
        let number = if let Granted::Drills { number, .. } = &granted { *number } else { 0 };
        Ok(Response::new(v1::DrillResponse { message: granted.to_string(), pool: pool.name, number }))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let request = request.into_inner();
        let wish = Wish::Hold { reason: signed(&by, &request.reason) };
        let message = self.request_of_all(&request.pool, by, wish).await?;
        Ok(Response::new(v1::HoldResponse { message }))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeResponse>, Status> {
        let by = self.access.admit(&request).await?;
        let wish = Wish::Resume { by: signed(&by, "") };
        let message = self.request_of_all(&request.get_ref().pool, by, wish).await?;
        Ok(Response::new(v1::ResumeResponse { message }))
    }
}
