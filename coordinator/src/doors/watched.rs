//! Learns from the requests how useful a connection is: whether it has ever asked anything, and whether one is open.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::codegen::{Body, BoxFuture, Service, http};
use tower_layer::Layer;

use super::connection::Peer;
use super::guests::Asking;

/// Puts [`Watched`] around the services.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchedLayer;

/// Notes when a request begins and when its answer has ended.
#[derive(Clone, Debug)]
pub struct Watched<S>(S);

impl<S> Layer<S> for WatchedLayer {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched(inner)
    }
}

impl<S, B, R> Service<http::Request<B>> for Watched<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Answer<R>>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let of_axum = || extensions.get::<ConnectInfo<Peer>>().map(|info| info.0.clone());
        let peer = extensions.get::<Peer>().cloned().or_else(of_axum);
        let asking = peer.map(|peer| {
            // Where tonic looks for the address of who asks.
            request.extensions_mut().insert(peer.address);
            peer.pass.asks(Instant::now())
        });
        let answering = self.0.call(request);
        Box::pin(async move { Ok(answering.await?.map(|body| Answer { body, _asking: asking })) })
    }
}

/// An answer's body: the request is open until it has been sent.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    _asking: Option<Asking>,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where no body was sent, the body of none.
impl<B: Default> Default for Answer<B> {
    fn default() -> Self {
        Self { body: B::default(), _asking: None }
    }
}
