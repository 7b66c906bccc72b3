//! The local API on loopback TCP.
//!
//! Claimed: what everybody on the machine can reach, a web page in somebody's browser among them, does nothing without
//! an officer's token. It holds because [`super::caller`] takes nothing but tokens from here; because a request must
//! name a loopback host, so that a name that was bound anew to 127.0.0.1 is refused; and because no answer permits a
//! page of another origin to read it. Connections, headers and bodies are bounded in number, length and time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caller::Via;
use super::error::ApiError;
use super::{BODY_BYTES_MAX, ListenError};
use crate::node::Desk;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a request's body may take.
const BODY_MAX: Duration = Duration::from_secs(30);

/// Opens the port.
///
/// # Errors
/// [`ListenError::Tcp`].
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Tcp { address, source })
}

/// Serves the API until `cancel`.
pub(crate) async fn serve(listener: TcpListener, desk: Desk, cancel: CancellationToken) {
    serve_router(listener, super::router(desk).layer(Extension(Via::Tcp)), cancel).await;
}

/// Serves these paths until `cancel`, within the bounds of this module.
pub(crate) async fn serve_router(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let router = router.layer(axum::middleware::from_fn(gate));
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        // Whoever finds no place waits in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, cancel) = (router.clone(), cancel.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = converse(stream, router) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a TCP connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn converse(stream: TcpStream, router: Router) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    // A caller that breaks off is nothing to report.
    let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

async fn gate(request: Request, next: Next) -> Response {
    if !names_loopback(request.headers()) {
        let message =
            "the Host header must be localhost, 127.0.0.1 or [::1]: the local API answers nobody else";
        return ApiError::new(StatusCode::FORBIDDEN, "WRONG_HOST", message).into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let message =
                format!("the request breaks off, or has more than the {BODY_BYTES_MAX} bytes allowed");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", message).into_response();
        }
        Err(_) => {
            let message = format!("the body was not there within {} s", BODY_MAX.as_secs());
            return ApiError::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", message).into_response();
        }
    };
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_answered() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            names_loopback(&headers)
        };
        for good in ["localhost", "localhost:7300", "127.0.0.1:7300", "[::1]:7300", "[::1]"] {
            assert!(named(good), "{good}");
        }
        for bad in ["valise.example", "valise.example:7300", "127.0.0.1.valise.example", "10.0.0.1", ""] {
            assert!(!named(bad), "{bad}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }
}
