//! The few lines of HTTP on loopback.
//!
//! A request must name a loopback host, so that a page in somebody's browser whose name was bound anew to 127.0.0.1 is
//! refused. Connections, heads and times are bounded; a body is not read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections at a time; whoever finds no place waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 8;
/// Longest head of a request, in bytes; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// From the connection to the end of its only answer.
const EXCHANGE_MAX: Duration = Duration::from_secs(15);
/// How long after a failure the next connection is taken.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `/metrics`
    Metrics,
    /// `/healthz`: whether the process's tasks are alive.
    Health,
    /// `/readyz`: whether the node does its work.
    Readiness,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A page of numbers.
    Page(String),
    /// Yes, or the reasons why not.
    Verdict(Vec<String>),
}

/// Answers until `stop`.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    stop: CancellationToken,
    answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (stop, answer) = (stop.clone(), answer.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        // Whoever asks too slowly is answered no more.
                        _ = tokio::time::timeout(EXCHANGE_MAX, converse(stream, answer)) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics cannot be accepted");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn converse<F>(stream: TcpStream, answer: impl Fn(Asked) -> F + Clone)
where
    F: Future<Output = Answer>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            Ok::<_, Infallible>(match asked(request.method(), request.uri().path(), request.headers()) {
                Ok(asked) => response(answer(asked).await),
                Err((status, text)) => plain(status, text),
            })
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false);
    // Somebody who breaks off is nothing to report.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn asked(method: &Method, path: &str, headers: &HeaderMap) -> Result<Asked, (StatusCode, &'static str)> {
    if !names_loopback(headers) {
        return Err((StatusCode::FORBIDDEN, "the Host header must be localhost, 127.0.0.1 or [::1]\n"));
    }
    if *method != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n"));
    }
    match path {
        "/metrics" => Ok(Asked::Metrics),
        "/healthz" => Ok(Asked::Health),
        "/readyz" => Ok(Asked::Readiness),
        _ => Err((StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n")),
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Answer::Page(text) => {
            let mut page = plain(StatusCode::OK, text);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            page
        }
        Answer::Verdict(reasons) if reasons.is_empty() => plain(StatusCode::OK, "ok\n"),
        Answer::Verdict(reasons) => plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
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

    fn ask(method: &Method, path: &str, host: &str) -> Result<Asked, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        asked(method, path, &headers).map_err(|(status, _)| status)
    }

    #[test]
    fn three_paths_are_answered_to_those_who_name_a_loopback_host() {
        for host in ["localhost", "localhost:9464", "127.0.0.1:9464", "[::1]:9464"] {
            assert_eq!(ask(&Method::GET, "/metrics", host), Ok(Asked::Metrics), "{host}");
        }
        assert_eq!(ask(&Method::GET, "/healthz", "localhost"), Ok(Asked::Health));
        assert_eq!(ask(&Method::GET, "/readyz", "localhost"), Ok(Asked::Readiness));
        for host in ["broker.example", "broker.example:9464", "127.0.0.1.exchange.example", "10.0.0.1", ""] {
            assert_eq!(ask(&Method::GET, "/metrics", host), Err(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(ask(&Method::POST, "/metrics", "localhost"), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(ask(&Method::GET, "/", "localhost"), Err(StatusCode::NOT_FOUND));
    }
}
