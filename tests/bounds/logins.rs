//! Attacks on logins: passwords by the thousand, and what is typed into the log.
//!
//! In: a broker. Out: how many are looked at, that the right password from elsewhere is not held up, and log lines that
//! nobody can forge.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client};

use crate::bystander::Bystander;

/// The time that passwords are guessed for.
const STORM: Duration = Duration::from_secs(3);

/// A login over HTTP from another address of this machine: status, and the time that it took.
fn from_elsewhere(address: SocketAddr) -> (String, Duration) {
    let began = Instant::now();
    let answer = Command::new("curl")
        .args(["--interface", "127.0.0.2", "--silent", "--user", "guest:guest"])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .arg(format!("http://{address}/api/whoami"))
        .output()
        .expect("curl is installed");
    (String::from_utf8_lossy(&answer.stdout).into_owned(), began.elapsed())
}

/// A wrong login over AMQP. The broker keeps the client waiting, or closes.
fn guess(address: SocketAddr) -> Client {
    let mut client = Client::raw(address);
    client.start();
    client.send(0, start_ok("PLAIN", b"\0guest\0hunter2"));
    client
}

#[test]
fn a_storm_of_logins_is_slowed_down_and_others_are_not() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let (amqp, http) = (broker.amqp(), broker.http());
    let began = Instant::now();
    let statuses = thread::scope(|scope| {
        let guesses: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut statuses = Vec::new();
                    let mut held = Vec::new();
                    while began.elapsed() < STORM {
                        held.push(guess(amqp));
                        let answer =
                            Http::with_credentials(http, "guest", "hunter2").request("GET", "/api/whoami", None);
                        statuses.push(answer.status);
                    }
                    statuses
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        for _ in 0..10 {
            let (status, took) = from_elsewhere(http);
            assert_eq!(status, "200");
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        guesses
            .into_iter()
            .flat_map(|guess| guess.join().expect("a guesser"))
            .collect::<Vec<_>>()
    });
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    let seen = bystander.end();
    assert!(seen.p99 < Duration::from_secs(1), "{seen:?}");
    // Whose failures have passed may log in again.
    until("the right password is looked at", Duration::from_secs(20), || {
        Http::new(http).request("GET", "/api/whoami", None).status == 200
    });
    let took = began.elapsed().as_secs();
    let counted = Http::new(http).get("/api/auth/attempts/leveret@localhost");
    let of = |name: &str| {
        let mut rows = counted.as_array().expect("rows").iter();
        rows.find(|row| row["protocol"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("{name} in {counted}"))
    };
    for protocol in ["amqp091", "http"] {
        assert!(of(protocol)["auth_attempts_failed"].as_u64() > Some(0), "{counted}");
        assert!(of(protocol)["auth_attempts_succeeded"].as_u64() > Some(0), "{counted}");
    }
    let sources = Http::new(http).get("/api/auth/attempts/leveret@localhost/source");
    let mut rows = sources.as_array().expect("rows").iter();
    let elsewhere = rows
        .find(|row| row["remote_address"] == "127.0.0.2")
        .expect("the other address");
    assert_eq!(elsewhere["auth_attempts"], 10);
    assert_eq!(
        (&elsewhere["username"], &elsewhere["protocol"]),
        (&"guest".into(), &"http".into())
    );
    // One line for each that was looked at: fifty at once and ten a second.
    let looked_at = broker.stderr().matches("login refused: wrong password").count();
    assert!(
        (50..=80 + 10 * took as usize).contains(&looked_at),
        "{looked_at} in {took} s"
    );
    assert!(broker.stderr().contains("they are slowed down"));
}

#[test]
fn nothing_of_a_login_is_in_the_log_and_nobody_forges_a_line() {
    let broker = Broker::start();
    let (http, amqp) = (broker.http(), broker.amqp());
    // A password in the wrong field.
    assert_eq!(
        Http::with_credentials(http, "hunter2", "x")
            .request("GET", "/api/whoami", None)
            .status,
        401
    );
    let login = |mechanism: &str, response: &[u8]| {
        let mut client = Client::raw(amqp);
        client.start();
        client.send(0, start_ok(mechanism, response));
        client
    };
    let forged = "x\n2026-11-30T00:00:00Z  INFO all is well\u{1b}[2J";
    let mut held = vec![
        login("PLAIN", b"\0hunter2\0hunter2"),
        login("PLAIN", b"\0guest\0hunter2"),
        login(forged, b"\0guest\0hunter2"),
        login("PLAIN", forged.as_bytes()),
    ];
    // A start-ok that ends in the middle of the response.
    let mut broken = Client::raw(amqp);
    broken.start();
    broken.send_bytes(b"\x01\0\0\0\0\0\x1f\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\xff\0guest\0hunter2\xce");
    held.push(broken);
    let mut known = Client::raw(amqp);
    known.log_in();
    known.send(
        0,
        leveret_amqp::method::ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 0,
        },
    );
    known.send(0, open(forged));
    held.push(known);
    until("all of it is in the log", Duration::from_secs(10), || {
        let log = broker.stderr();
        log.contains("unknown authentication mechanism") && log.contains("vhost x")
    });
    thread::sleep(Duration::from_millis(300));
    let log = broker.stderr();
    assert!(!log.contains("hunter2") && !log.contains("104,117,110,116"), "{log}");
    assert!(
        !log.lines().any(|line| line.starts_with("2026-11-30T00:00:00Z")),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "{log}");
    drop(held);
}

#[test]
fn a_password_file_that_hangs_holds_up_nobody() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("user"), "admin\n").expect("written");
    std::fs::write(path("password"), "secret\n").expect("written");
    let (user, password) = (
        path("user").display().to_string(),
        path("password").display().to_string(),
    );
    let broker = Broker::start_with(&["--admin-user-file", &user, "--admin-password-file", &password]);
    let status = |password: &str| {
        let admin = Http::with_credentials(broker.http(), "admin", password);
        admin.request("GET", "/api/whoami", None).status
    };
    assert_eq!(status("secret"), 200);
    // A pipe, of which the end never comes.
    std::fs::remove_file(path("password")).expect("removed");
    let made = Command::new("mkfifo").arg(path("password")).status().expect("mkfifo");
    assert!(made.success());
    let began = Instant::now();
    assert_eq!(status("secret"), 401);
    assert_eq!(
        Http::anonymous(broker.metrics()).request("GET", "/livez", None).status,
        200
    );
    std::fs::remove_file(path("password")).expect("removed");
    std::fs::write(path("password"), "changed\n").expect("written");
    assert_eq!((status("secret"), status("changed")), (401, 200));
    assert!(began.elapsed() < Duration::from_secs(5));
    // Everybody may write it.
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path("password"), "changed again\n").expect("written");
    std::fs::set_permissions(path("password"), std::fs::Permissions::from_mode(0o666)).expect("changed");
    assert_eq!(status("changed again"), 200);
    assert!(
        broker
            .stderr()
            .contains("every user of this machine may write this file")
    );
}
