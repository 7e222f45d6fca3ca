//! Logins by certificate (EXTERNAL): who is offered it, and whom a certificate stands for.
//!
//! In: certificates that openssl makes, users. Out: who gets in. Names and texts are those of a RabbitMQ 4.3.6.

use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use harness::wait::until;
use serde_json::json;

use crate::tls::Tls;
use crate::{broker, certificates};

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
