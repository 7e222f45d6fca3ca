//! Strangers: what a client can make the broker hold, or say, before it has logged in.
//!
//! In: connections that never log in. Out: no more memory than their share, and nothing of a login in an answer or a
//! log.

use crate::bystander::Bystander;
use crate::small_broker;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FrameKind, Method, PROTOCOL_HEADER, put_method_frame};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// A frame's head, for `size` octets of payload.
fn head(kind: FrameKind, channel: u16, size: u32) -> Vec<u8> {
    [&[kind as u8][..], &channel.to_be_bytes(), &size.to_be_bytes()].concat()
}

/// A client that has sent most of a connection.start-ok of 8,000 octets, and sends no more.
fn unfinished(broker: &Broker) -> TcpStream {
    let mut stream = TcpStream::connect(broker.amqp()).expect("the broker listens");
    let start_ok = head(FrameKind::Method, 0, 8000);
    let bytes = [&PROTOCOL_HEADER[..], &start_ok, &[0, 10, 0, 11], &[0; 7000]].concat();
    stream.write_all(&bytes).expect("the broker reads");
    stream.set_nonblocking(true).expect("a TCP socket");
    stream
}

/// True if the broker has ended the connection. What it had said before is read.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

#[test]
fn clients_that_do_not_log_in_have_a_share_of_memory() {
    // The share is a quarter: 4 MiB, for connections of some 10 KiB each.
    let Some((group, broker)) = small_broker(&["--memory-watermark", "16MiB", "--handshake-timeout", "60s"]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    let before = group.anonymous();
    let mut strangers: Vec<TcpStream> = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        strangers.extend((0..450).map(|_| unfinished(&broker)));
        until("the oldest have to go", SOON, || {
            strangers.iter_mut().map(has_ended).filter(|ended| !ended).count() <= 430
        });
        taken.push(group.anonymous().saturating_sub(before));
    }
    assert!(
        !has_ended(strangers.last_mut().expect("900 of them")),
        "the newest stay"
    );
    let most = 8 << 20;
    assert!(taken.iter().all(|bytes| *bytes < most), "{taken:?}");
    let client = Client::with_channel(broker.amqp());
    client.close();
    drop(strangers);
    let seen = bystander.end();
    assert!(seen.confirmed > 3 && seen.slowest < SOON, "{seen:?}");
    assert_eq!(group.killed(), 0);
}

#[test]
fn a_frame_before_login_is_small() {
    let mut client = Client::raw(Broker::shared().amqp());
    client.start();
    client.send_bytes(&head(FrameKind::Method, 0, 8193));
    client.connection_error(
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,8193,8184}",
    );
}

#[test]
fn nothing_of_a_login_is_said_or_logged() {
    const PASSWORD: &str = "pw-hunter2";
    let broker = Broker::start();
    let mut start_ok_frame = Vec::new();
    let response = format!("\0guest\0{PASSWORD}");
    put_method_frame(&mut start_ok_frame, 0, &start_ok("PLAIN", response.as_bytes()).into());
    let payload = &start_ok_frame[7..start_ok_frame.len() - 1];
    let bare = [
        &[0, 10, 0, 11, 0, 0, 0, 0, 5][..],
        b"PLAIN",
        &[0, 0, 0, 10],
        PASSWORD.as_bytes(),
    ]
    .concat();
    let mut broken_end = start_ok_frame.clone();
    *broken_end.last_mut().expect("an end octet") = 0;
    let mut renewal = vec![0, 10, 0, 70];
    renewal.extend_from_slice(&(PASSWORD.len() as u32).to_be_bytes());
    renewal.extend_from_slice(PASSWORD.as_bytes());
    let frame = |kind, channel, payload: &[u8], end| {
        let mut bytes = head(kind, channel, payload.len() as u32);
        bytes.extend_from_slice(payload);
        bytes.push(end);
        bytes
    };
    let before_login = [
        start_ok_frame.clone(),
        broken_end,
        frame(FrameKind::Method, 0, &[payload, b"more"].concat(), 0xCE),
        frame(FrameKind::Method, 0, &bare, 0xCE),
        frame(FrameKind::Method, 0, &bare, 0),
        frame(FrameKind::Heartbeat, 0, &bare, 0xCE),
    ];
    let mut said = Vec::new();
    for bytes in before_login {
        let mut client = Client::raw(broker.amqp());
        client.start();
        client.send_bytes(&bytes);
        said.push(client.frame());
    }
    for bytes in [
        frame(FrameKind::Method, 0, &renewal, 0xCE),
        frame(FrameKind::Method, 0, &renewal, 0),
        frame(FrameKind::Method, 0, &bare, 0xCE),
    ] {
        let mut client = Client::connect(broker.amqp());
        client.send_bytes(&bytes);
        said.push(client.frame());
    }
    let said = format!("{said:?}\n{}", broker.stderr());
    assert!(said.contains("guest"), "there is something to be seen: {said}");
    for part in ["hunter2", "pw-h", "112,119,45"] {
        assert!(!said.contains(part), "{part:?} in {said}");
    }
}

/// Changes of a login, as the fuzz target in `broker/fuzz` makes them, on a live broker: it answers each and goes on.
#[test]
fn a_login_with_changed_octets_is_answered() {
    let broker = Broker::shared();
    let mut login = PROTOCOL_HEADER.to_vec();
    let tune_ok = ConnectionTuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 60,
    };
    let methods: [Method; 3] = [
        start_ok("PLAIN", b"\0guest\0guest").into(),
        tune_ok.into(),
        open("/").into(),
    ];
    for method in &methods {
        put_method_frame(&mut login, 0, method);
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..300 {
        let mut bytes = login.clone();
        for _ in 0..1 + random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        let mut stream = TcpStream::connect(broker.amqp()).expect("the broker listens");
        // It may have answered, and closed, before all of it was sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(SOON)).expect("a TCP socket");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(read.as_ref().map_or_else(reset, |_| true), "{read:?} for {bytes:?}");
    }
    let mut client = Client::with_channel(broker.amqp());
    client.send(1, exclusive(&unique("after")));
    expect!(client, 1, QueueDeclareOk);
}
