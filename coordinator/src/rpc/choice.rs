//! One of two of a service, by what a request shows before any of its message is read.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;

use super::is_loopback;

type Request = http::Request<Body>;

/// Both serve the same methods; they differ in what they accept or tell.
#[derive(Clone, Debug)]
pub(super) struct Choice<S> {
    pub(super) is_first: fn(&Request) -> bool,
    pub(super) first: S,
    pub(super) second: S,
}

impl<S: NamedService> NamedService for Choice<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request>> Service<Request> for Choice<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Neither ever waits; both are asked, since either may be called.
        match self.first.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.second.poll_ready(cx),
            other => other,
        }
    }

    fn call(&mut self, request: Request) -> S::Future {
        if (self.is_first)(&request) { self.first.call(request) } else { self.second.call(request) }
    }
}

/// Whoever asks is on this host.
pub(super) fn is_from_this_host(request: &Request) -> bool {
    is_loopback(request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_an_address_is_from_elsewhere() {
        let from = |address: Option<&str>| {
            let mut request = Request::new(Body::empty());
            let remote_addr = address.map(|address| address.parse().expect("an address"));
            request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
            is_from_this_host(&request)
        };
        assert!(from(Some("127.0.0.1:1")) && from(Some("[::1]:1")) && from(Some("[::ffff:127.0.0.1]:1")));
        assert!(!from(Some("10.0.0.7:1")) && !from(Some("[fd00::7]:1")) && !from(None));
        assert!(!is_from_this_host(&Request::new(Body::empty())));
    }
}
