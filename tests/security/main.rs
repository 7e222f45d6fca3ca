//! TLS and the administrator of a broker that isn't only for this machine.
//!
//! In: certificates that openssl makes, clients that the world uses (curl, `openssl s_client`). Out: who gets in and
//! who doesn't, also after the files have changed, without a restart.

/// Logins by token.
mod tokens;

/// Logins of pods.
mod pods;

/// Logins by certificate.
mod certificate_logins;

/// Clients over TLS.
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use harness::Broker;
use harness::certificates::openssl;
use harness::http::Http;
use harness::operator_process::free_address;
use harness::wait::until;
use serde_json::{Value, json};
use tempfile::TempDir;

use tls::Tls;

/// A folder with an authority, and certificates of it for the broker and for a client.
fn certificates() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    openssl(
        folder.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt \
         -addext basicConstraints=critical,CA:TRUE",
    );
    issue(folder.path(), "server");
    issue(folder.path(), "client");
    folder
}

fn issue(folder: &Path, name: &str) {
    let extensions = format!("{name}.ext");
    fs::write(folder.join(&extensions), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("written");
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key.new -out {name}.csr"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {extensions} -out {name}.crt.new"
        ),
    );
    // As a mounted Secret changes: all of it at once.
    for end in ["key", "crt"] {
        fs::rename(
            folder.join(format!("{name}.{end}.new")),
            folder.join(format!("{name}.{end}")),
        )
        .expect("renamed");
    }
}

/// A broker with TLS on free ports: the broker, its AMQPS and its HTTPS address.
fn broker(folder: &Path, extra: &[&str]) -> (Broker, SocketAddr, SocketAddr) {
    let (amqps, https) = (free_address(), free_address());
    let path = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let (amqps_text, https_text) = (amqps.to_string(), https.to_string());
    let mut arguments = vec!["--tls-cert", &certificate, "--tls-key", &key];
    arguments.extend(["--amqps-listen", &amqps_text, "--https-listen", &https_text]);
    arguments.extend(extra);
    (Broker::start_with(&arguments), amqps, https)
}

fn curl(folder: &Path, https: SocketAddr, extra: &[&str]) -> Output {
    let url = format!("https://localhost:{}/api/whoami", https.port());
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--user",
        "guest:guest",
        "--cacert",
        "ca.crt",
    ]);
    command
        .args(extra)
        .arg(url)
        .current_dir(folder)
        .output()
        .expect("curl is installed")
}

#[test]
fn amqp_and_http_are_spoken_over_tls() {
    let folder = certificates();
    let (_broker, secure, https) = broker(folder.path(), &[]);
    assert_eq!(Tls::connect(folder.path(), secure, None).offered(), "PLAIN AMQPLAIN");
    let answer = curl(folder.path(), https, &[]);
    assert!(String::from_utf8_lossy(&answer.stdout).contains("guest"), "{answer:?}");
}

#[test]
fn the_api_says_what_is_spoken_over_tls() {
    let folder = certificates();
    let (broker, secure, https) = broker(folder.path(), &[]);
    let http = Http::new(broker.http());
    let listed: Vec<(String, u64, bool)> = http.get("/api/overview")["listeners"]
        .as_array()
        .expect("listeners")
        .iter()
        .map(|listener| {
            let (name, port) = (listener["protocol"].as_str(), listener["port"].as_u64());
            (
                name.expect("a name").to_owned(),
                port.expect("a port"),
                listener["tls"] == true,
            )
        })
        .collect();
    let expected = [
        ("amqp", broker.amqp(), false),
        ("amqp/ssl", secure, true),
        ("http", broker.http(), false),
        ("https", https, true),
        ("http/prometheus", broker.metrics(), false),
    ];
    assert_eq!(
        listed,
        expected.map(|(name, address, tls)| (name.to_owned(), u64::from(address.port()), tls))
    );
    for name in ["amqp%2Fssl", "amqps", "https"] {
        http.get(&format!("/api/health/checks/protocol-listener/{name}"));
    }
    let node = &http.get("/api/nodes")[0];
    let contexts: Vec<_> = node["contexts"]
        .as_array()
        .expect("contexts")
        .iter()
        .map(|context| (context["port"].clone(), context["ssl"].clone()))
        .collect();
    assert_eq!(
        contexts,
        [
            (json!(broker.http().port().to_string()), Value::Null),
            (json!(https.port().to_string()), json!("true")),
            (json!(broker.metrics().port().to_string()), Value::Null),
        ]
    );
    // The certificate ends in two days.
    let ends = |within: &str| {
        http.request(
            "GET",
            &format!("/api/health/checks/certificate-expiration/{within}"),
            None,
        )
    };
    assert_eq!(ends("1/days").json(), json!({"status": "ok"}));
    let soon = ends("1/weeks");
    assert_eq!(
        (soon.status, &soon.json()["reason"]),
        (503, &json!("Certificates expiring"))
    );
    assert_eq!(soon.json()["expired"].as_array().map(Vec::len), Some(2));
    for (within, reason) in [
        ("x/days", "Invalid expiration value."),
        (
            "1/foo",
            "Time unit not recognised. Supported units: days, weeks, months, years.",
        ),
    ] {
        let wrong = ends(within);
        assert_eq!((wrong.status, &wrong.json()["reason"]), (400, &json!(reason)));
    }
}

/// A connection over TLS with a client's certificate, as the API shows it.
#[test]
fn the_api_shows_the_terms_of_tls_and_the_certificate_of_a_client() {
    let folder = certificates();
    let authority = folder.path().join("ca.crt").display().to_string();
    let (broker, secure, _) = broker(folder.path(), &["--tls-ca", &authority]);
    let mut client = Tls::connect(folder.path(), secure, Some("client"));
    client.offered();
    assert_eq!(client.log_in("PLAIN", b"\0guest\0guest"), None);
    let http = Http::new(broker.http());
    let mut shown = Value::Null;
    until("the connection is shown", Duration::from_secs(10), || {
        shown = http.get("/api/connections")[0].clone();
        shown.is_object()
    });
    drop(client);
    for (field, value) in [
        ("ssl", json!(true)),
        ("ssl_protocol", json!("tlsv1.3")),
        ("ssl_key_exchange", json!("any")),
        ("ssl_cipher", json!("aes_256_gcm")),
        ("ssl_hash", json!("aead")),
        ("peer_cert_subject", json!("CN=client")),
        ("peer_cert_issuer", json!("CN=authority")),
    ] {
        assert_eq!(shown[field], value, "{field} in {shown}");
    }
    let validity = shown["peer_cert_validity"].as_str().expect("a text");
    assert!(
        validity.split(" - ").all(|end| end.len() == 20 && end.ends_with('Z')),
        "{validity}"
    );
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let folder = certificates();
    let (_broker, _, https) = broker(folder.path(), &[]);
    let serial = || tls::serial(https);
    let before = serial();
    assert!(before.starts_with("serial="), "{before}");
    issue(folder.path(), "server");
    until("the new certificate is shown", Duration::from_secs(10), || {
        serial() != before
    });
    assert!(curl(folder.path(), https, &[]).status.success());
    // Files that can't be used are not used.
    fs::write(folder.path().join("server.crt"), "nonsense").expect("written");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(curl(folder.path(), https, &[]).status.success());
}

#[test]
fn clients_show_a_certificate_where_one_is_asked_for() {
    let folder = certificates();
    let authority = folder.path().join("ca.crt").display().to_string();
    let (_broker, _, https) = broker(folder.path(), &["--tls-ca", &authority]);
    assert!(
        !curl(folder.path(), https, &[]).status.success(),
        "no certificate, no answer"
    );
    let answer = curl(folder.path(), https, &["--cert", "client.crt", "--key", "client.key"]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn an_administrator_from_files_replaces_guest_and_changes_at_once() {
    let folder = TempDir::new().expect("a folder");
    let (user, password) = (folder.path().join("username"), folder.path().join("password"));
    fs::write(&user, "admin\n").expect("written");
    fs::write(&password, "first\n").expect("written");
    let (user, file) = (user.display().to_string(), password.display().to_string());
    let broker = Broker::start_with(&["--admin-user-file", &user, "--admin-password-file", &file]);
    let status = |user, password| {
        Http::with_credentials(broker.http(), user, password)
            .request("GET", "/api/whoami", None)
            .status
    };
    assert_eq!((status("guest", "guest"), status("admin", "first")), (401, 200));
    fs::write(&password, "second\n").expect("written");
    assert_eq!((status("admin", "first"), status("admin", "second")), (401, 200));
}

#[test]
fn definitions_neither_change_nor_show_the_administrator_of_files() {
    let folder = TempDir::new().expect("a folder");
    let (user, password) = (folder.path().join("username"), folder.path().join("password"));
    fs::write(&user, "admin\n").expect("written");
    fs::write(&password, "first\n").expect("written");
    let (user, file) = (user.display().to_string(), password.display().to_string());
    let definitions = folder.path().join("definitions.json");
    let hash = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    let document = json!({
        "users": [{"name": "admin", "password_hash": hash, "tags": [], "limits": {"max-connections": 0}},
            {"name": "other", "password_hash": hash, "tags": ["management"]}],
        "permissions": [{"user": "admin", "vhost": "/", "configure": "", "write": "", "read": ""},
            {"user": "other", "vhost": "/", "configure": "", "write": "", "read": ""}],
        "topic_permissions": [{"user": "admin", "vhost": "/", "exchange": "amq.topic", "write": "", "read": ""}],
        "queues": [{"name": "q", "vhost": "/"}],
    });
    fs::write(&definitions, document.to_string()).expect("written");
    let definitions = definitions.display().to_string();
    let flags = [
        "--admin-user-file",
        &user,
        "--admin-password-file",
        &file,
        "--load-definitions",
        &definitions,
    ];
    let broker = Broker::start_with(&flags);
    let admin = Http::with_credentials(broker.http(), "admin", "first");
    let log_in = |user| {
        Http::with_credentials(broker.http(), user, "test12")
            .request("GET", "/api/whoami", None)
            .status
    };
    for _ in 0..2 {
        assert_eq!(admin.get("/api/whoami")["tags"], json!(["administrator"]));
        assert_eq!((log_in("admin"), log_in("other")), (401, 200));
        assert_eq!(admin.get("/api/permissions/%2F/admin")["configure"], ".*");
        let exported = admin.get("/api/definitions");
        assert_eq!(exported["users"].as_array().map(Vec::len), Some(1), "{exported}");
        assert!(!exported.to_string().contains("admin\""), "{exported}");
        let mut others = document.clone();
        others["leveret"] = json!({"users": document["users"]});
        assert_eq!(admin.request("POST", "/api/definitions", Some(&others)).status, 204);
    }
    assert!(
        broker
            .stderr()
            .contains("the administrator that files name stays as it is")
    );
    assert!(!broker.stderr().contains(hash));
}

#[test]
fn files_that_are_missing_are_named_before_anything_starts() {
    let refused = Broker::refused(&[
        "--data-dir",
        "/nonexistent",
        "--tls-cert",
        "/nowhere.crt",
        "--tls-key",
        "/nowhere.key",
    ]);
    assert!(
        !refused.status.success() && refused.stderr.contains("/nowhere.crt"),
        "{}",
        refused.stderr
    );
    let refused = Broker::refused(&["--data-dir", "/nonexistent", "--tls-cert", "/nowhere.crt"]);
    assert!(refused.stderr.contains("tls_key"), "{}", refused.stderr);
}
