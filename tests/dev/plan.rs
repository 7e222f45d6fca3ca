//! `leveret lint`, `plan` and `export`: between folders and a broker that runs already.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::broker_process::Broker;
use harness::place;

use crate::{folder, queue, text};

fn leveret(broker: Option<&Broker>, words: &[&str]) -> Output {
    command(broker.map(Broker::http), words)
}

/// Runs a command, on the broker whose HTTP API is at `http` if there is one.
pub(crate) fn command(http: Option<SocketAddr>, words: &[&str]) -> Output {
    let mut command = Command::new(place::program("leveret", "LEVERET_BIN"));
    command.args(words).stdin(Stdio::null());
    if let Some(http) = http {
        command.args(["--management", &format!("http://{http}")]);
    }
    command.output().expect("leveret runs")
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_plan_comes_true_and_an_export_is_no_change() {
    let broker = Broker::start();
    let example = place::repository().join("examples/orders");
    let before = leveret(Some(&broker), &["plan", utf8(&example)]);
    let said = text(&before.stdout);
    assert_eq!(before.status.code(), Some(2), "{said} {}", text(&before.stderr));
    assert!(
        said.contains("+ Queue default/invoices: declare queue 'invoices'"),
        "{said}"
    );
    assert!(said.contains(" 0 refused, 0 as declared"), "{said}");

    let mut client = harness::Client::connect(broker.amqp());
    declare(&mut client);
    let exported = leveret(Some(&broker), &["export"]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let mine = folder(&[("all.yaml", text(&exported.stdout).as_str())]);
    for words in [vec!["plan"], vec!["lint"]] {
        let plan = words == ["plan"];
        let output = leveret(
            plan.then_some(&broker),
            &[words.as_slice(), &[utf8(mine.path())]].concat(),
        );
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said} {}", text(&output.stderr));
        assert!(!plan || said.contains("0 refused, 3 as declared"), "{said}");
    }

    let transient = queue("full").replace("spec: {", "spec: { durable: false,");
    let other = folder(&[("q.yaml", &transient)]);
    let refused = leveret(Some(&broker), &["plan", utf8(other.path())]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stdout);
    assert!(
        said.contains("! Queue default/full: Mismatch") && said.contains("durable"),
        "{said}"
    );
}

/// An exchange, a queue and a binding, by hand.
fn declare(client: &mut harness::Client) {
    use harness::call;
    use harness::requests::*;
    client.open_channel(1);
    call!(client, 1, exchange("x", "topic") => ExchangeDeclareOk);
    call!(client, 1, durable("full") => QueueDeclareOk);
    call!(client, 1, bind("full", "x", "a.*") => QueueBindOk);
}

#[test]
fn lint_names_file_and_line() {
    let binding = "apiVersion: leveret.dev/v1alpha1\nkind: Binding\nmetadata: { name: b }\nspec:\n  \
                   brokerRef: { name: main }\n  source: nowhere\n  destination: { queue: q }\n";
    let folder = folder(&[("q.yaml", &queue("q")), ("b.yml", binding)]);
    let output = leveret(None, &["lint", utf8(folder.path())]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("b.yml:6: Binding b: exchange 'nowhere' is not declared in this folder"),
        "{said}"
    );
    let partial = leveret(None, &["lint", "--partial", utf8(folder.path())]);
    assert!(partial.status.success(), "{}", text(&partial.stderr));
}

#[test]
fn a_broker_that_does_not_answer_is_a_failure_and_no_difference() {
    let folder = folder(&[("q.yaml", &queue("q"))]);
    let words = ["plan", utf8(folder.path()), "--management", "http://127.0.0.1:1"];
    let output = leveret(None, &words);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("127.0.0.1:1") && said.lines().count() == 1, "{said}");
}
