//! Logins by certificate (EXTERNAL): who is offered it, and whom a certificate stands for.
//!
//! In: certificates that openssl makes, users. Out: who gets in. Names and texts are those of a RabbitMQ 4.3.6.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use harness::requests::{open, start_ok};
use harness::wait::until;
use leveret_amqp::method::ConnectionTuneOk;
use leveret_amqp::{Method, PROTOCOL_HEADER, next_frame, put_method_frame};
use serde_json::json;

use crate::{broker, certificates};

/// AMQP over TLS, by openssl.
struct Tls {
    client: Child,
    received: Vec<u8>,
}

impl Tls {
    /// A connection that shows a certificate, if it has one.
    fn connect(folder: &Path, address: SocketAddr, certificate: Option<&str>) -> Tls {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-CAfile",
            "ca.crt",
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
    fn offered(&mut self) -> String {
        self.say(&PROTOCOL_HEADER);
        match self.method() {
            Method::ConnectionStart(start) => String::from_utf8_lossy(&start.mechanisms).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// The text of a refusal; none for those who get in.
    fn log_in(&mut self, mechanism: &str, response: &[u8]) -> Option<String> {
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

fn make_user(broker: &Broker, name: &str) {
    let http = Http::new(broker.http());
    let user = http.request(
        "PUT",
        &format!("/api/users/{name}"),
        Some(&json!({"password_hash": "", "tags": ""})),
    );
    assert_eq!(user.status, 201, "{}", user.body);
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    let permission = http.request("PUT", &format!("/api/permissions/%2F/{name}"), Some(&all));
    assert_eq!(permission.status, 201, "{}", permission.body);
}

#[test]
fn a_certificate_is_a_login_where_that_is_configured() {
    let folder = certificates();
    let authority = folder.path().join("ca.crt").display().to_string();
    let mechanisms = ["--tls-ca", &authority, "--auth-mechanisms", "PLAIN,EXTERNAL"];
    let refused = "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. For details see the broker logfile.";
    for (from, name) in [
        (&[][..], "CN=client"),
        (&["--ssl-cert-login-from", "common_name"], "client"),
        (&["--ssl-cert-login-from", "subject_alternative_name"], "localhost"),
        (
            &[
                "--ssl-cert-login-from",
                "subject_alternative_name",
                "--ssl-cert-login-san-type",
                "ip",
            ],
            "127.0.0.1",
        ),
    ] {
        let (broker, secure, _) = broker(folder.path(), &[&mechanisms, from].concat());
        let mut client = Tls::connect(folder.path(), secure, Some("client"));
        assert_eq!(client.offered(), "PLAIN EXTERNAL");
        assert_eq!(
            client.log_in("EXTERNAL", b"").as_deref(),
            Some(refused),
            "there is no user {name}"
        );
        make_user(&broker, name);
        let mut client = Tls::connect(folder.path(), secure, Some("client"));
        client.offered();
        assert_eq!(client.log_in("EXTERNAL", b"whatever"), None, "{name}");
        let http = Http::new(broker.http());
        let row = json!({"user": name, "auth_mechanism": "EXTERNAL"});
        until("it is shown", Duration::from_secs(10), || {
            let shown = http.get("/api/connections?columns=user,auth_mechanism");
            shown.as_array().expect("rows").contains(&row)
        });
        let attempts = http.get("/api/auth/attempts/leveret@localhost");
        assert!(attempts[0]["auth_attempts_failed"] == 1, "{attempts}");
        // A password is a login still, and with none there is no other.
        let mut client = Tls::connect(folder.path(), secure, Some("client"));
        client.offered();
        assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), None);
        assert!(broker.stderr().contains("and there is no user of this name"));
    }
}

#[test]
fn a_certificate_is_no_login_where_none_was_asked_for() {
    let folder = certificates();
    let (broker, secure, _) = broker(folder.path(), &["--ssl-cert-login-from", "common_name"]);
    make_user(&broker, "client");
    for certificate in [None, Some("client")] {
        let mut client = Tls::connect(folder.path(), secure, certificate);
        assert_eq!(client.offered(), "PLAIN AMQPLAIN");
        let refused = "COMMAND_INVALID - invalid authentication mechanism 'EXTERNAL'";
        assert_eq!(client.log_in("EXTERNAL", b"").as_deref(), Some(refused));
    }
    let data = folder.path().join("data").display().to_string();
    let without = Broker::refused(&["--data-dir", &data, "--auth-mechanisms", "EXTERNAL"]);
    assert!(
        without.stderr.contains("EXTERNAL only together with tls_ca"),
        "{}",
        without.stderr
    );
    for backend in ["ldap", "http", "cache"] {
        let refused = Broker::refused(&["--data-dir", &data, "--auth-backends", backend]);
        let words = format!("setting auth_backends: '{backend}' is not allowed; allowed is internal, oauth2");
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    }
}
