//! The listener for metrics and health: `/metrics`, `/healthz` and `/readyz` by HTTP/1.1 (RFC 9112), by hyper.
//!
//! It reads and never changes anything: only GET and HEAD are answered, no body is read, and one connection is one request.
//! Its limits: [`CALLERS_MAX`] connections at a time, [`HEAD_MAX`] bytes of a request's head, [`TIME_MAX`] for everything.
//! `/healthz` says that the process lives; `/readyz` says whether it lets people in, with what is amiss as JSON.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;

/// The most connections at a time; further ones wait to be accepted.
pub const CALLERS_MAX: usize = 16;
/// The most bytes of a request's head.
pub const HEAD_MAX: usize = 8 * 1024;
/// How long a connection may last.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// One thing that has to be well for the gateway to be ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: a stable name.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What was found, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Check {
    /// `name`, well or with what was found.
    #[must_use]
    pub fn new(name: &'static str, result: Result<(), String>) -> Self {
        Self { name, ok: result.is_ok(), found: result.err() }
    }
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether everything is well.
    pub ready: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl Readiness {
    /// Ready where all `checks` are well.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        Self { ready: checks.iter().all(|check| check.ok), checks }
    }
}

/// Answers for ever: with whether the gateway is ready, and with everything that is counted and measured.
pub async fn serve<R, M>(
    listener: Arc<TcpListener>,
    readiness: impl Fn() -> R + Send + Sync + 'static,
    metrics: impl Fn() -> M + Send + Sync + 'static,
) where
    R: Future<Output = Readiness> + Send,
    M: Future<Output = String> + Send,
{
    let source = Arc::new((readiness, metrics));
    let callers = Arc::new(Semaphore::new(CALLERS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            // Whoever is slow, or speaks no HTTP, is cut off; there is nothing to tell.
            let _ = tokio::time::timeout(TIME_MAX, answer(stream, &source.0, &source.1)).await;
            drop(permit);
        });
    }
}

async fn answer<R: Future<Output = Readiness>, M: Future<Output = String>>(
    stream: TcpStream,
    readiness: impl Fn() -> R,
    metrics: impl Fn() -> M,
) -> hyper::Result<()> {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request, &readiness, &metrics).await));
    http1::Builder::new().keep_alive(false).max_buf_size(HEAD_MAX).serve_connection(TokioIo::new(stream), service).await
}

async fn respond<R: Future<Output = Readiness>, M: Future<Output = String>>(
    request: &Request<Incoming>,
    readiness: impl Fn() -> R,
    metrics: impl Fn() -> M,
) -> Response<Full<Bytes>> {
    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this listener only tells\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => {
            let readiness = readiness().await;
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let text = serde_json::to_string(&readiness).unwrap_or_default();
            response(status, JSON, format!("{text}\n"))
        }
        "/metrics" => response(StatusCode::OK, CONTENT_TYPE_OF_METRICS, metrics().await),
        _ => response(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start() -> (SocketAddr, Arc<AtomicBool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, is_well) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&is_well);
        let readiness = move || {
            let store = if told.load(Ordering::Relaxed) { Ok(()) } else { Err("it is locked".to_owned()) };
            std::future::ready(Readiness::new(vec![Check::new("listeners", Ok(())), Check::new("store", store)]))
        };
        tokio::spawn(serve(Arc::new(listener), readiness, || std::future::ready("a 1\n# EOF\n".to_owned())));
        (address, is_well)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        said
    }

    #[tokio::test]
    async fn it_tells_and_does_nothing_else() {
        let (address, is_well) = start().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(ask(address, &get("/healthz")).await.ends_with("\r\n\r\nok\n"));
        let page = ask(address, &get("/metrics?x=1")).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("openmetrics-text") && page.ends_with("# EOF\n"));
        let unready = ask(address, &get("/readyz")).await;
        assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
        let json: serde_json::Value = serde_json::from_str(unready.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let store = serde_json::json!({ "name": "store", "ok": false, "found": "it is locked" });
        assert_eq!((&json["ready"], &json["checks"][1]), (&false.into(), &store));
        is_well.store(true, Ordering::Relaxed);
        assert!(ask(address, &get("/readyz")).await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, &get("/")).await.starts_with("HTTP/1.1 404"));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let said =
                ask(address, &format!("{method} /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
            assert!(said.starts_with("HTTP/1.1 405"), "{method}: {said}");
        }
        let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * HEAD_MAX));
        assert!(ask(address, &long).await.starts_with("HTTP/1.1 431"));
        assert!(!ask(address, "\x16\x03\x01\r\n\r\n").await.contains("ok"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_cut_off_and_lets_others_in() {
        let (address, _) = start().await;
        let mut silent = Vec::new();
        for _ in 0..CALLERS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, "GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
        let mut bytes = Vec::new();
        assert_eq!(silent.remove(0).read_to_end(&mut bytes).await.unwrap(), 0);
    }
}
