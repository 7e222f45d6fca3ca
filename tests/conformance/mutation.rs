//! A valid session with octets changed at random: whatever comes of it, the broker closes properly and serves on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{BASIC, short, table};
use harness::wait::eventually;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{Method, PROTOCOL_HEADER, put_content, put_heartbeat, put_method_frame};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The number of sessions: `LEVERET_MUTATIONS`, by default 200.
fn sessions() -> u64 {
    std::env::var("LEVERET_MUTATIONS").map_or(200, |count| count.parse().expect("LEVERET_MUTATIONS is a number"))
}

/// Everything a client may say, in one go, without waiting for answers.
fn session() -> Vec<u8> {
    let mut out = PROTOCOL_HEADER.to_vec();
    let say = |out: &mut Vec<u8>, channel: u16, method: Method| put_method_frame(out, channel, &method);
    say(&mut out, 0, start_ok("PLAIN", b"\0guest\0guest").into());
    say(
        &mut out,
        0,
        ConnectionTuneOk {
            channel_max: 100,
            frame_max: 8192,
            heartbeat: 0,
        }
        .into(),
    );
    say(&mut out, 0, open("/").into());
    say(&mut out, 1, ChannelOpen::default().into());
    let queue = "mutated";
    let arguments = table([("x-note", "some text".into()), ("x-number", 7.into())]);
    say(
        &mut out,
        1,
        QueueDeclare {
            arguments,
            ..exclusive(queue)
        }
        .into(),
    );
    say(
        &mut out,
        1,
        ExchangeDeclare {
            auto_delete: true,
            ..exchange("mutated", "topic")
        }
        .into(),
    );
    say(&mut out, 1, bind(queue, "mutated", "a.*.#").into());
    say(&mut out, 1, ConfirmSelect::default().into());
    for body in [&b""[..], b"short", &[7; 20_000]] {
        say(&mut out, 1, publish("mutated", "a.b").into());
        let properties = headers(table([("h", "v".into())]));
        put_content(&mut out, 1, 8192, BASIC, &properties, body);
    }
    put_heartbeat(&mut out);
    say(&mut out, 1, prefetch(10).into());
    say(&mut out, 1, consume(queue, "c").into());
    say(&mut out, 1, ack(1).into());
    say(&mut out, 1, get(queue).into());
    say(&mut out, 2, ChannelOpen::default().into());
    say(&mut out, 2, TxSelect::default().into());
    say(&mut out, 2, get(queue).into());
    say(&mut out, 2, ack(1).into());
    say(&mut out, 2, publish("mutated", "a.b").into());
    put_content(&mut out, 2, 8192, BASIC, &persistent(), b"held");
    say(&mut out, 2, TxRollback::default().into());
    say(&mut out, 2, requeue(1).into());
    say(&mut out, 2, TxCommit::default().into());
    say(&mut out, 1, unbind(queue, "mutated", "a.*.#").into());
    say(&mut out, 1, delete(queue).into());
    say(
        &mut out,
        0,
        ConnectionClose {
            reply_code: 200,
            reply_text: short("bye"),
            ..ConnectionClose::default()
        }
        .into(),
    );
    out
}

/// Changes one to four places: an octet, some octets taken out, some put in, or the rest cut off.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..10) {
            0 => bytes.truncate(at.max(1)),
            1 => _ = bytes.drain(at..bytes.len().min(at + random.random_range(1..20))),
            2 => {
                let put: Vec<u8> = (0..random.random_range(1..20)).map(|_| random.random()).collect();
                bytes.splice(at..at, put);
            }
            3 => bytes[at] ^= 1 << random.random_range(0..8),
            4 => bytes[at] = 0xff,
            5 => bytes[at] = 0,
            _ => bytes[at] = random.random(),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// Says it all, ends its side, and reads to the end. Panics when the broker keeps the socket open.
fn play(address: SocketAddr, bytes: &[u8], seed: u64) {
    let mut stream = TcpStream::connect(address).expect("the broker still listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a TCP socket");
    let _ = stream.write_all(bytes); // it may close before it has read everything
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("session {seed} was not closed: {error}"),
    }
}

#[test]
fn mutated_sessions_do_no_harm() {
    let broker = Broker::external().unwrap_or_else(Broker::start);
    let valid = session();
    play(broker.amqp(), &valid, 0);
    for seed in 1..=sessions() {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = valid.clone();
        mutate(&mut bytes, &mut random);
        play(broker.amqp(), &bytes, seed);
    }
    let mut client = Client::with_channel(broker.amqp());
    let queue = unique("after");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"still here");
    assert_eq!(&client.get(1, &queue, true).expect("a message").body[..], b"still here");
    client.close();
    if broker.is_external() {
        return; // others may be connected
    }
    let http = Http::new(broker.http());
    eventually("nothing is left open", Duration::from_secs(10), || {
        let overview = http.get("/api/overview");
        let open = (
            overview["object_totals"]["connections"].clone(),
            overview["object_totals"]["channels"].clone(),
        );
        if open == (0.into(), 0.into()) {
            Ok(())
        } else {
            Err(open)
        }
    });
    assert!(!broker.stderr().contains("panicked"), "{}", broker.stderr());
}
