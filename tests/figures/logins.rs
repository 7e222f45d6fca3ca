//! Logins: how many there can be in a second, and the time until thousands of clients are back after a restart.
//!
//! Each login is a connection of its own, from the protocol header to the vhost that is open.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use harness::Broker;
use harness::http::Http;
use harness::requests;
use leveret_amqp::method::ConnectionTuneOk;
use leveret_amqp::{Method, next_frame, put_method_frame};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::asked;

/// Users who log in once each.
const USERS: usize = 200;
/// Logins of one user.
const LOGINS: usize = 5_000;
/// Logins at a time.
const AT_ONCE: usize = 32;
/// Clients that lose their connection with the broker.
const CLIENTS: usize = 5_000;
/// The pause between two attempts of a client to come back.
const PAUSE: Duration = Duration::from_millis(100);
/// The time after which something is wrong.
const TOO_LONG: Duration = Duration::from_secs(120);
const PASSWORD: &str = "a password of some length";

/// A method that came, if it is the one that the handshake goes on with.
async fn await_method(stream: &mut TcpStream, buffer: &mut Vec<u8>, wanted: fn(&Method) -> bool) -> io::Result<()> {
    loop {
        let whole = next_frame(buffer, 131_072).map_err(io::Error::other)?;
        if let Some(frame) = whole {
            let method = Method::parse(frame.payload).map_err(|error| io::Error::other(format!("{error:?}")))?;
            let length = frame.wire_len();
            let right = wanted(&method);
            buffer.drain(..length);
            return if right {
                Ok(())
            } else {
                Err(io::Error::other(format!("{method:?}")))
            };
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// An open connection of a user.
async fn log_in(address: SocketAddr, user: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut buffer, mut out) = (Vec::new(), Vec::new());
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    await_method(&mut stream, &mut buffer, |method| {
        matches!(method, Method::ConnectionStart(_))
    })
    .await?;
    let response = format!("\0{user}\0{PASSWORD}");
    put_method_frame(&mut out, 0, &requests::start_ok("PLAIN", response.as_bytes()).into());
    stream.write_all(&out).await?;
    await_method(&mut stream, &mut buffer, |method| {
        matches!(method, Method::ConnectionTune(_))
    })
    .await?;
    out.clear();
    let tune = ConnectionTuneOk {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 0,
    };
    put_method_frame(&mut out, 0, &tune.into());
    put_method_frame(&mut out, 0, &requests::open("/").into());
    stream.write_all(&out).await?;
    await_method(&mut stream, &mut buffer, |method| {
        matches!(method, Method::ConnectionOpenOk(_))
    })
    .await?;
    Ok(stream)
}

/// Opens connections, so many at a time, and keeps them.
async fn all(address: SocketAddr, users: impl Iterator<Item = String>) -> Vec<TcpStream> {
    let logins = users.map(|user| async move { log_in(address, &user).await.expect("a login") });
    stream::iter(logins).buffer_unordered(AT_ONCE).collect().await
}

fn make(http: &Http, user: &str) {
    let body = json!({"password": PASSWORD, "tags": ""});
    assert_eq!(
        http.request("PUT", &format!("/api/users/{user}"), Some(&body)).status,
        201
    );
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    let path = format!("/api/permissions/%2F/{user}");
    assert_eq!(http.request("PUT", &path, Some(&all)).status, 201);
}

/// A client that has lost its connection: tries until it has another.
async fn come_back(address: SocketAddr, mut lost: TcpStream) -> TcpStream {
    while !matches!(lost.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
    loop {
        match log_in(address, "app").await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_logins_cost() {
    if !asked() {
        return;
    }
    let mut broker = Broker::start_to_stay(&[]);
    let (address, http) = (broker.amqp(), Http::new(broker.http()));
    make(&http, "app");
    let names = || (0..USERS).map(|number| format!("user-{number}"));
    let start = Instant::now();
    names().for_each(|user| make(&http, &user));
    println!(
        "{USERS} users made with a password, one after the other, in {:.1?}",
        start.elapsed()
    );

    for what in ["the first time", "again"] {
        let start = Instant::now();
        let open = all(address, names()).await;
        let rate = open.len() as f64 / start.elapsed().as_secs_f64();
        println!("{USERS} users log in {what}: {rate:.0} a second");
    }
    let start = Instant::now();
    let open = all(address, (0..LOGINS).map(|_| "app".to_owned())).await;
    println!(
        "one user logs in: {:.0} a second",
        open.len() as f64 / start.elapsed().as_secs_f64()
    );
    drop(open);

    let clients = all(address, (0..CLIENTS).map(|_| "app".to_owned())).await;
    let coming = clients.into_iter().map(|lost| tokio::spawn(come_back(address, lost)));
    let coming: Vec<_> = coming.collect();
    broker.kill();
    let killed = Instant::now();
    let broker = tokio::task::spawn_blocking(|| broker.restart())
        .await
        .expect("a broker again");
    let up = Instant::now();
    let back = tokio::time::timeout(TOO_LONG, futures::future::try_join_all(coming)).await;
    let back = back.expect("all are back in time").expect("no client panics");
    println!(
        "{} clients are back {:.1?} after the broker was up again, {:.1?} after it was killed",
        back.len(),
        up.elapsed(),
        killed.elapsed()
    );
    drop(broker);
}
