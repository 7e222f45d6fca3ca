//! Edits are followed, what is broken by hand is repaired, Ctrl-C ends it all.

use std::fs;
use std::time::Duration;

use harness::broker_process::wait_for_exit;
use harness::http::Http;
use harness::requests::delete;
use harness::wait::until;
use harness::{call, reaper};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Dev, SOON, begin, folder, is_up, queue, write};

#[test]
fn files_added_edited_and_removed_are_followed() {
    let folder = folder(&[("one.yaml", &queue("one"))]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    assert!(dev.has_queue("one"));
    write(folder.path(), "two.yaml", &queue("two"));
    until("the second queue is there", SOON, || dev.has_queue("two"));
    let both = format!("{}---\n{}", queue("two"), queue("three"));
    write(folder.path(), "two.yaml", &both);
    until("the third queue is there", SOON, || dev.has_queue("three"));
    fs::remove_file(folder.path().join("two.yaml")).expect("it was there");
    until("both are gone", SOON, || {
        !dev.has_queue("two") && !dev.has_queue("three")
    });
    assert!(dev.has_queue("one"));
}

#[test]
fn a_queue_deleted_by_hand_comes_back_in_a_second() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    let mut client = dev.amqp();
    call!(client, 1, delete("q") => QueueDeleteOk);
    let took = until("the queue is back", SOON, || dev.has_queue("q"));
    assert!(took < Duration::from_secs(1), "after {took:?}");
}

#[test]
fn a_file_that_breaks_changes_nothing_and_is_named() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    write(folder.path(), "broken.yaml", "kind: Queue\n  metadata: [\n");
    let line = dev.says("broken.yaml");
    assert!(line.contains("broken.yaml:2:"), "file, line, column: {line}");
    assert!(dev.has_queue("q"));
    write(folder.path(), "broken.yaml", &queue("mended"));
    until("the mended file is read", SOON, || dev.has_queue("mended"));
}

#[test]
fn ctrl_c_ends_the_broker_too() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let mut dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    assert!(is_up(dev.amqp));
    let status = dev.interrupt();
    assert!(status.success(), "{status}");
    assert!(!is_up(dev.amqp) && !is_up(dev.http), "nobody listens any more");
}

/// Its last line was that it is ready, which is no reason to end.
#[test]
fn a_broker_that_is_killed_is_said_to_have_been() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let (mut child, stdout, stderr) = begin(folder.path(), &[]);
    while !stdout.recv_timeout(SOON).expect("a line").contains("are Ready") {}
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = fs::read_to_string(children).expect("the kernel lists them");
    let broker = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
    let broker = broker.and_then(Pid::from_raw).expect("the broker is a child");
    kill_process(broker, Signal::KILL).expect("it runs");
    let status = wait_for_exit(&mut child, SOON).expect("it ends with its broker");
    reaper::gone(child.id());
    let said: Vec<String> = stderr.iter().collect();
    assert!(!status.success(), "{said:?}");
    assert!(
        said.iter().any(|line| line.contains("was ended by signal 9 (SIGKILL)")),
        "{said:?}"
    );
}

#[test]
fn messages_flow_through_the_declared_topology() {
    let dev = Dev::start(&harness::place::repository().join("examples/orders"), &[]);
    dev.says("are Ready");
    let mut client = dev.amqp();
    client.publish_persistent(1, "orders", "order.created.eu", b"an order");
    client.publish_persistent(1, "orders", "order.paid.eu", b"paid");
    for body in ["an order", "paid"] {
        assert_eq!(client.get(1, "invoices", true).expect("routed").body, body);
        assert_eq!(
            client
                .get(1, "audit-log", true)
                .expect("routed through the audit exchange")
                .body,
            body
        );
    }
    assert_eq!(client.get(1, "shipments", true).expect("routed").body, "paid");
    assert!(client.get(1, "shipments", true).is_none());
}

/// A password is that of the Secret in the folder; where there is none, the user's name.
#[test]
fn users_log_in_with_what_the_folder_says_or_with_their_names() {
    let user = |name: &str, way: &str| {
        format!(
            "---\napiVersion: leveret.dev/v1alpha1\nkind: User\nmetadata: {{ name: {name} }}\n\
             spec: {{ brokerRef: {{ name: main }}, tags: [management], permissions: [{{ read: .* }}]{way} }}\n"
        )
    };
    let users = [
        user("till", ""),
        user("office", ", passwordSecretRef: { name: of-office }"),
        user("store", ", passwordSecretRef: { name: elsewhere }"),
    ];
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: of-office }\nstringData: { password: PASSWORD }\n";
    let folder = folder(&[
        ("users.yaml", &users.concat()),
        ("secret.yaml", &secret.replace("PASSWORD", "geheim")),
    ]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    let lets_in = |user: &str, password: &str| {
        let http = Http::with_credentials(dev.http, user, password);
        http.request("GET", "/api/whoami", None).status == 200
    };
    assert!(lets_in("till", "till") && lets_in("office", "geheim") && lets_in("store", "store"));
    assert!(!lets_in("office", "office"));
    write(folder.path(), "secret.yaml", &secret.replace("PASSWORD", "neu"));
    until("the new password lets in", SOON, || lets_in("office", "neu"));
}
