//! HTTP/1.1 with one client after another.
//!
//! Comes in: streams of clients. Goes out: answers. Connections are served by a thread of their own (`front`), which
//! answers probes and metrics itself, however busy the threads that serve clients of AMQP are; they do the work of
//! `/api`. Does not know about resources.

use super::error::Failure;
use super::guard;
use super::login::Gate;
use super::patience::{Patient, Stage, Stages, Times};
use super::seats::Seats;
use crate::listener::{self, Client, Serve, Socket};
use crate::turns::{Kind, named};
use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Largest head of a request, bytes.
const HEAD_MAX: usize = 32 << 10;
/// Paths of the API begin with it: all others are answered without the threads that serve clients.
const API: &str = "/api";

/// A service over HTTP.
#[derive(Clone)]
pub struct Web {
    app: Router,
    gate: Gate,
    seats: Arc<Seats>,
    workers: Handle,
}

/// The thread that serves some sockets. It ends when this is dropped.
pub struct Front {
    _end: oneshot::Sender<()>,
}

impl Web {
    /// A service of which so many clients may be connected; the work of `/api` is done by `workers`.
    pub fn new(app: Router<Gate>, gate: Gate, clients: usize, workers: Handle) -> Self {
        let seats = Seats::new(clients);
        gate.seats(seats.clone());
        Self {
            app: app.with_state(gate.clone()),
            gate,
            seats,
            workers,
        }
    }

    /// Serves sockets from a thread of their own.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn front(self, name: &str, sockets: Vec<Socket>) -> anyhow::Result<Front> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(name).build()?;
        let (end, ended) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                for socket in sockets {
                    let accepting = listener::accept(socket, self.clone());
                    tokio::spawn(async move {
                        if let Err(error) = accepting.await {
                            tracing::error!(%error, "an HTTP service has stopped");
                        }
                    });
                }
                // An error is the end, too: the other side was dropped.
                let _ = ended.await;
            });
            runtime.shutdown_background();
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(serve)
            .context("cannot start a thread for HTTP")?;
        Ok(Front { _end: end })
    }

    async fn answer(self, request: hyper::Request<Incoming>, client: Arc<Client>, stages: Arc<Stages>) -> Response {
        stages.set(Stage::Busy);
        let (mut parts, body) = request.into_parts();
        let asks = parts.method == Method::OPTIONS;
        let answered = match guard::check(&parts, &client, self.gate.is_guest(), self.gate.largest_body()) {
            Err(failure) => failure.into_response(),
            Ok(()) => {
                if let Some(uri) = without_slash(&parts.uri) {
                    parts.uri = uri;
                }
                let port = client.peer.port();
                parts.extensions.insert(client);
                self.route(Request::from_parts(parts, Body::new(body)), port).await
            }
        };
        let (mut parts, body) = answered.into_parts();
        if asks && let Some(allowed) = parts.headers.remove(ALLOW) {
            // What may be done with a path; without the login that each of these asks for, as in RabbitMQ.
            parts.status = StatusCode::OK;
            let methods = [allowed.as_bytes(), b",OPTIONS"].concat();
            let methods = HeaderValue::from_bytes(&methods).unwrap_or(allowed);
            parts.headers.insert(ALLOW, methods);
        }
        guard::mark(&mut parts.headers);
        Response::from_parts(parts, Body::new(Ending { body, stages }))
    }

    async fn route(self, request: Request, port: u16) -> Response {
        let is_api = request.uri().path().starts_with(API);
        let answer = TowerToHyperService::new(self.app).call(request);
        if !is_api {
            return answer.await.unwrap_or_else(|never: Infallible| match never {});
        }
        let mut work = Work(self.workers.spawn(named(Kind::Http, port, Box::pin(answer), ())));
        match (&mut work.0).await {
            Ok(answer) => answer.unwrap_or_else(|never| match never {}),
            Err(_) => Failure::Internal("the request was broken off".into()).into_response(),
        }
    }
}

/// A request that is worked on, until its client has gone.
struct Work(JoinHandle<Result<Response, Infallible>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Serve for Web {
    const KIND: Kind = Kind::Http;

    async fn serve<S>(self, stream: S, client: Client)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let stages = Arc::new(Stages::default());
        let seat = self.seats.take(stages.clone());
        let (peer, client) = (client.peer, Arc::new(client));
        let stream = TokioIo::new(Patient::new(stream, Times::USUAL, stages.clone()));
        let service = service_fn(move |request| {
            let (web, client, stages) = (self.clone(), client.clone(), stages.clone());
            async move { Ok::<_, Infallible>(web.answer(request, client, stages).await) }
        });
        // Times are kept by the stream.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_MAX)
            .serve_connection(stream, service);
        tokio::select! {
            served = connection => if let Err(error) = served {
                tracing::debug!(%peer, %error, "an HTTP connection has ended");
            },
            () = seat.must_leave() => tracing::debug!(%peer, "an HTTP connection made room for another"),
        }
    }
}

/// RabbitMQ takes a slash at the end of a path as none, and some clients send it.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri
        .path()
        .strip_suffix('/')
        .filter(|path| !path.is_empty() && !path.ends_with('/'))?;
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.parse().ok()
}

/// The body of an answer: when it has been sent, the connection waits for the next request.
struct Ending {
    body: Body,
    stages: Arc<Stages>,
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.stages.set(Stage::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::users::Users;
    use crate::config::Listen;
    use crate::limits::Descriptors;
    use crate::protocol::{Protocol, SERVICES};
    use crate::turns::Watch;
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    /// A runtime with two threads, and the front of an API whose work they do.
    fn front(two: &tokio::runtime::Runtime) -> (std::net::SocketAddr, [Front; 2]) {
        let _within = two.enter();
        let service = SERVICES.iter().find(|service| service.protocol == Protocol::Management);
        let listen = Listen {
            service: service.expect("the API"),
            addresses: vec![([127, 0, 0, 1], 0).into()],
            defaults: false,
        };
        let sockets = listener::bind(&listen, None, &Descriptors::new(1024)).expect("a free port");
        let address = sockets.first().expect("one").listener.address;
        let watch = Watch::start(two.handle().clone()).expect("a thread");
        let gate = Gate::new(
            &Users::Guest {
                loopback_only: true,
                made: true,
            },
            1000,
            watch,
        );
        (
            address,
            super::super::serve(&gate, sockets, two.handle()).expect("threads"),
        )
    }

    fn status(address: std::net::SocketAddr, path: &str) -> u16 {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a new connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .expect("a status")
    }

    #[test]
    fn probes_are_answered_while_all_threads_are_held() {
        let two = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let two = two.expect("a runtime");
        let (address, _front) = front(&two);
        assert_eq!(
            (status(address, "/livez"), status(address, "/readyz")),
            (200, 503),
            "it is starting"
        );
        let held: Vec<_> = (0..2)
            .map(|_| two.spawn(async { std::thread::sleep(Duration::from_secs(3)) }))
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(status(address, "/livez"), 200);
            slowest = slowest.max(asked.elapsed());
        }
        assert!(slowest < Duration::from_millis(100), "{slowest:?}");
        two.block_on(async {
            for task in held {
                task.await.expect("it ends");
            }
        });
    }

    #[test]
    fn a_slash_at_the_end_of_a_path_is_none() {
        let shortened = |uri: &str| without_slash(&uri.parse().expect("a URI")).map(|uri| uri.to_string());
        assert_eq!(shortened("/api/users/"), Some("/api/users".into()));
        assert_eq!(
            shortened("/api/queues/%2F/?page=1"),
            Some("/api/queues/%2F?page=1".into())
        );
        for same in ["/", "/api/users", "/api/queues//", "/api/x?y=/"] {
            assert_eq!(shortened(same), None, "{same}");
        }
    }
}
