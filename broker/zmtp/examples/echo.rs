//! A server to point any ZeroMQ client at: it sends every message back, answers PINGs, and says what happens.
//!
//! Comes in: a socket type, a mechanism, an address. Goes out: a line for each thing that happens. One thread a peer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use leveret_zmtp::curve::{KeyPair, SecretKey};
use leveret_zmtp::{
    Command, Credentials, Error, Event, Limits, Mechanism, Refusal, Server, ServerSecurity, ServerSettings, Session,
    SocketType, Step,
};

const HELP: &str = "echo TYPE MECHANISM ADDRESS [SECRET KEY]   e.g. echo ROUTER PLAIN 127.0.0.1:5555
PLAIN lets in the user `user` with the password `secret`, CURVE any key. Without a key, CURVE makes one.
A PULL and a SUB only say what came; an XPUB sends a subscriber its own topic.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match settings(&words) {
        Some((settings, address)) => match serve(&Arc::new(settings), &address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{address}: {error}");
                ExitCode::FAILURE
            }
        },
        None => {
            println!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn settings(words: &[String]) -> Option<(ServerSettings, String)> {
    let [socket_type, mechanism, address, key @ ..] = words else {
        return None;
    };
    let security = match Mechanism::from_name(mechanism.as_bytes())? {
        Mechanism::Null => ServerSecurity::Null,
        Mechanism::Plain => ServerSecurity::Plain,
        Mechanism::Curve => {
            let keys = match key.first() {
                Some(key) => KeyPair::from(SecretKey::from_z85(key)?),
                None => KeyPair::generate(),
            };
            println!("key {}", keys.public());
            ServerSecurity::Curve(keys)
        }
    };
    let socket_type = SocketType::from_name(socket_type.as_bytes())?;
    let settings = ServerSettings {
        socket_type,
        security,
        identity: Bytes::new(),
        limits: Limits::default(),
    };
    Some((settings, address.clone()))
}

fn serve(settings: &Arc<ServerSettings>, address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (settings, stream) = (settings.clone(), stream?);
        std::thread::spawn(move || match peer(settings, stream) {
            Ok(()) => println!("gone"),
            Err(error) => println!("closed: {error}"),
        });
    }
    Ok(())
}

fn peer(settings: Arc<ServerSettings>, mut stream: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    let mut server = Server::new(settings.clone(), &mut out);
    let mut session = loop {
        let step = server.feed(&mut input, &mut out);
        if let Ok(Step::Authenticate(credentials)) = &step {
            println!("{credentials:?}");
            match credentials {
                Credentials::Plain { username, password }
                    if (username.as_str(), password.as_bytes()) != ("user", b"secret") =>
                {
                    server.refuse(Refusal::Denied, &mut out);
                }
                _ => server.accept(&mut out),
            }
        }
        stream.write_all(&std::mem::take(&mut out))?;
        match step? {
            Step::Ready(session) => break session,
            Step::Authenticate(_) => {}
            Step::NeedMore => {
                if read(&mut stream, &mut input)? == 0 {
                    return Ok(());
                }
            }
        }
    };
    println!("{:?}", session.peer);
    if settings.socket_type == SocketType::XSub {
        session.encoder.command(&Command::Subscribe(b""), &mut out);
    }
    loop {
        while answer(settings.socket_type, &mut session, &mut input, &mut out)? {}
        stream.write_all(&std::mem::take(&mut out))?;
        if read(&mut stream, &mut input)? == 0 {
            return Ok(());
        }
    }
}

fn read(stream: &mut TcpStream, input: &mut BytesMut) -> std::io::Result<usize> {
    let mut octets = [0; 65_536];
    let count = stream.read(&mut octets)?;
    input.extend_from_slice(octets.get(..count).unwrap_or_default());
    Ok(count)
}

/// Answers everything that is whole; false if there was nothing.
fn answer(ours: SocketType, session: &mut Session, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool, Error> {
    let batch = session.decoder.take(input)?;
    for event in &batch {
        match event {
            Event::Message(message) => {
                println!("{} parts, {} octets", message.count(), message.len());
                if !matches!(ours, SocketType::Pull | SocketType::XSub | SocketType::Sub) {
                    session.encoder.message(message.parts(), out);
                }
            }
            Event::Command(command) => {
                println!("{command:?}");
                match command {
                    Command::Ping { context, .. } => session.encoder.command(&Command::Pong { context }, out),
                    Command::Subscribe(topic) => session.encoder.message([topic], out),
                    _ => {}
                }
            }
        }
    }
    Ok(!batch.is_empty())
}
