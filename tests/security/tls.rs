//! AMQP over TLS, by `openssl s_client`: another implementation than the broker's.
//!
//! In: a folder with certificates, an address. Out: methods that were sent, and certificates that were shown. Does not
//! know who is to get in.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::requests::{open, start_ok};
use leveret_amqp::method::ConnectionTuneOk;
use leveret_amqp::{Method, PROTOCOL_HEADER, next_frame, put_method_frame};

/// The serial number of the certificate that is shown there, as openssl prints it.
pub(crate) fn serial(address: SocketAddr) -> String {
    let line = format!("openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -serial");
    let shown = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// AMQP over TLS, by openssl.
pub(crate) struct Tls {
    client: Child,
    received: Vec<u8>,
}

impl Tls {
    /// A connection that shows a certificate, if it has one.
    pub(crate) fn connect(folder: &Path, address: SocketAddr, certificate: Option<&str>) -> Tls {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            "ca.crt",
            "-servername",
            "localhost",
            "-connect",
            &address.to_string(),
        ]);
        if let Some(name) = certificate {
            command.args(["-cert", &format!("{name}.crt"), "-key", &format!("{name}.key")]);
        }
        let client = command
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        Tls {
            client,
            received: Vec::new(),
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        let stdin = self.client.stdin.as_mut().expect("a pipe");
        stdin.write_all(bytes).expect("it listens");
    }

    fn send(&mut self, method: impl Into<Method>) {
        let mut bytes = Vec::new();
        put_method_frame(&mut bytes, 0, &method.into());
        self.say(&bytes);
    }

    fn method(&mut self) -> Method {
        loop {
            if let Ok(Some(frame)) = next_frame(&self.received, 0) {
                let method = Method::parse(frame.payload).expect("a method");
                let len = frame.wire_len();
                self.received.drain(..len);
                return method;
            }
            let mut part = [0; 4096];
            let count = self
                .client
                .stdout
                .as_mut()
                .expect("a pipe")
                .read(&mut part)
                .expect("a pipe");
            assert!(count > 0, "the connection has ended");
            self.received.extend_from_slice(&part[..count]);
        }
    }

    /// The mechanisms that it is offered.
    pub(crate) fn offered(&mut self) -> String {
        self.say(&PROTOCOL_HEADER);
        match self.method() {
            Method::ConnectionStart(start) => String::from_utf8_lossy(&start.mechanisms).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// The text of a refusal; none for those who get in.
    pub(crate) fn log_in(&mut self, mechanism: &str, response: &[u8]) -> Option<String> {
        self.send(start_ok(mechanism, response));
        match self.method() {
            Method::ConnectionTune(tune) => {
                self.send(ConnectionTuneOk {
                    channel_max: tune.channel_max,
                    frame_max: tune.frame_max,
                    heartbeat: 0,
                });
                self.send(open("/"));
            }
            Method::ConnectionClose(close) => return Some(close.reply_text.to_str_lossy().into_owned()),
            other => panic!("{other:?}"),
        }
        match self.method() {
            Method::ConnectionOpenOk(_) => None,
            Method::ConnectionClose(close) => Some(close.reply_text.to_str_lossy().into_owned()),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
