//! From an older chart to this one, and away again in every order.
//!
//! Definitions belong to the whole cluster and other tests need today's, so each test here has a control plane of its
//! own.

use std::process::Command;
use std::time::Duration;

use harness::Broker;
use harness::api_server::{ApiServer, OwnApiServer};
use harness::http::Http;
use harness::kubectl::{Tools, chart, helm, run, values};
use harness::operator_process::Operator;
use harness::place;
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::{rendered, text};

const SOON: Duration = Duration::from_secs(60);

/// A control plane of a test's own.
struct Own {
    tools: Tools,
    _plane: OwnApiServer,
}

impl Own {
    /// `None` without helm or the cluster's programs, with the reason printed.
    fn start(what: &str) -> Option<Own> {
        helm()?;
        let plane = OwnApiServer::start(what)?;
        let tools = Tools::at(plane.cluster.clone());
        Some(Own { tools, _plane: plane })
    }
}

fn leveret(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn operator(arguments: &[&str], cluster: &ApiServer) {
    let mut command = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
    let said = run(command.args(arguments).env("KUBECONFIG", &cluster.kubeconfig), "");
    assert!(said.well, "{arguments:?}: {}", said.all);
}

#[test]
fn an_older_chart_is_upgraded_and_rolled_back() {
    let Some(own) = Own::start("upgrade") else { return };
    let tools = &own.tools;
    let old = place::repository().join("tests/charts/fixtures/leveret-0.0.9.tgz");
    let (old, new) = (old.display().to_string(), chart().display().to_string());
    tools.kubectl_well(&["create", "namespace", "shop"]);
    // Jobs of hooks would need a node; what they do is done by hand below.
    let values = values("shop");
    let fixed = [
        "shop",
        "-n",
        "shop",
        "-f",
        &values,
        "--set",
        "watchNamespaces={shop}",
        "--no-hooks",
    ];
    tools.helm_well(&[&["install"], &fixed[..], &[&old]].concat());
    let get =
        |what: &str, path: &str| tools.kubectl_well(&["-n", "shop", "get", what, "-o", &format!("jsonpath={path}")]);
    let uid = get("queues.leveret.dev/invoices", "{.metadata.uid}");
    let with_settings = leveret("Broker", "later", json!({"settings": {"log": "debug"}})).to_string();
    let dry = [
        "-n",
        "shop",
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    assert!(
        !tools.kubectl(&dry, &with_settings).well,
        "the older definitions don't know it"
    );

    let hook: Vec<Value> = rendered("shop", "default", &["--set", "fullnameOverride=shop-leveret"])
        .into_iter()
        .filter(|document| text(document, "/metadata/name") == "shop-leveret-crds" && document["kind"] != "Job")
        .collect();
    tools.apply("shop", &hook, &[]);
    operator(&["crd", "--apply"], &tools.as_account("shop", "shop-leveret-crds"));
    let said = tools.kubectl(&dry, &with_settings);
    assert!(said.well, "{}", said.all);
    let settings = ["--set", "broker.spec.settings.log=debug"];
    tools.helm_well(&[&["upgrade"], &fixed[..], &settings, &[&new]].concat());
    assert_eq!(get("brokers.leveret.dev/main", "{.spec.settings.log}"), "debug");
    assert_eq!(
        get("queues.leveret.dev/invoices", "{.metadata.uid}"),
        uid,
        "the same object as before"
    );
    let may = |what: &[&str]| {
        let account = ["--as", "system:serviceaccount:shop:shop-leveret"];
        tools
            .kubectl(&[&["-n", "shop", "auth", "can-i"], what, &account].concat(), "")
            .well
    };
    let (replace, read_log) = (["delete", "pods"], ["get", "pods", "--subresource=log"]);
    assert!(
        may(&replace) && !may(&read_log),
        "the rights are those of the new chart"
    );

    tools.helm_well(&["rollback", "shop", "1", "-n", "shop", "--no-hooks"]);
    assert_eq!(get("brokers.leveret.dev/main", "{.spec.settings}"), "");
    assert!(may(&read_log) && !may(&replace));
    assert_eq!(get("queues.leveret.dev/invoices", "{.metadata.uid}"), uid);
    let said = tools.kubectl(&dry, &with_settings);
    assert!(said.well, "definitions only ever go forward: {}", said.all);
    tools.helm_well(&["uninstall", "shop", "-n", "shop", "--no-hooks"]);
    tools.kubectl_well(&["delete", "namespace", "shop", "--timeout=60s"]);
}

/// A namespace with a broker, a queue on it, and the finalizers that come with them.
struct Inhabited<'a> {
    tools: &'a Tools,
    namespace: &'static str,
    broker: Broker,
    operator: Operator,
}

impl Inhabited<'_> {
    fn settle<'a>(own: &'a Own, namespace: &'static str) -> Inhabited<'a> {
        let tools = &own.tools;
        let crds = place::repository().join("crds").display().to_string();
        tools.kubectl_well(&["apply", "--server-side", "-f", &crds]);
        tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
        tools.kubectl_well(&["create", "namespace", namespace]);
        let broker = Broker::start_with(&["--segment-size", "4MiB"]);
        let operator = Inhabited::operator(tools, namespace);
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "admin", "annotations": {"leveret.dev/broker": "main"}},
            "stringData": {"username": "guest", "password": "guest"}});
        let external = json!({"uri": format!("amqp://{}", broker.amqp()), "managementUri": format!("http://{}", broker.http()),
            "credentialsSecretRef": {"name": "admin"}});
        let documents = [
            secret,
            leveret("Broker", "main", json!({"engine": "External", "external": external})),
            leveret("Queue", "q", json!({"brokerRef": {"name": "main"}})),
        ];
        tools.apply(namespace, &documents, &[]);
        let ready = [
            "-n",
            namespace,
            "wait",
            "queues.leveret.dev/q",
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        tools.kubectl_well(&ready);
        Inhabited {
            tools,
            namespace,
            broker,
            operator,
        }
    }

    fn operator(tools: &Tools, namespace: &str) -> Operator {
        Operator::start(&tools.cluster, namespace, &["--leader-election", "false"])
    }

    fn has_queue(&self) -> bool {
        let answer = Http::new(self.broker.http()).request("GET", "/api/queues/%2F/q", None);
        answer.status == 200
    }

    fn delete_definitions(&self) {
        let crds = place::repository().join("crds").display().to_string();
        self.tools.kubectl_well(&["delete", "--wait=false", "-f", &crds]);
    }

    fn definitions_go(&self) {
        eventually("the definitions are gone", SOON, || {
            let left = self.tools.kubectl_well(&["get", "crds", "-o", "name"]);
            if left.contains("leveret.dev") {
                Err(left)
            } else {
                Ok(())
            }
        });
    }

    fn delete_namespace(&self, timeout: &str) -> bool {
        let arguments = ["delete", "namespace", self.namespace, "--ignore-not-found", timeout];
        self.tools.kubectl(&arguments, "").well
    }
}

#[test]
fn nothing_is_stuck_in_whatever_order_it_goes() {
    let Some(own) = Own::start("orders") else { return };

    // Definitions first, while the operator runs.
    let first = Inhabited::settle(&own, "definitions");
    first.delete_definitions();
    first.definitions_go();
    assert!(first.delete_namespace("--timeout=60s"));
    drop(first);

    // The operator first, then the definitions: they wait for an operator that is started once more.
    let mut second = Inhabited::settle(&own, "operator");
    second.operator.terminate(SOON);
    second.delete_definitions();
    std::thread::sleep(Duration::from_secs(2));
    let left = second.tools.kubectl_well(&["get", "crds", "-o", "name"]);
    assert!(left.contains("queues.leveret.dev"), "its objects hold it: {left}");
    second.operator = Operator::spawn(&own.tools.cluster, second.namespace, &["--leader-election", "false"]);
    second.definitions_go();
    assert!(second.delete_namespace("--timeout=60s"));
    drop(second);

    // The namespace first, while the operator runs. Its objects go in any order: a queue whose Broker or Secret goes
    // before it stays where it is, since nobody may wait for a broker that is not declared any more.
    let third = Inhabited::settle(&own, "namespace");
    assert!(third.delete_namespace("--timeout=60s"));
    drop(third);

    // The operator first, then the namespace: it waits, and one command lets it go. The broker keeps what it has.
    let mut fourth = Inhabited::settle(&own, "retired");
    fourth.operator.terminate(SOON);
    assert!(!fourth.delete_namespace("--timeout=3s"), "finalizers hold it");
    operator(&["retire", "--watch-namespace", fourth.namespace], &own.tools.cluster);
    assert!(fourth.delete_namespace("--timeout=60s"));
    assert!(fourth.has_queue());
}
