//! The chart: rendered by helm, judged by a real API server, and its permissions tried out.
//!
//! In: `charts/leveret`, helm, a control plane without nodes (no pod runs here), the operator as a process.
//! Out: what a user gets from `helm install`, and what the operator may do with the rights it is given.
//! Does not know about the operator's insides.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::Broker;
use harness::api_server::documents;
use harness::http::Http;
use harness::kubectl::{Tools, chart, helm, run, values};
use harness::operator_process::Operator;
use harness::place;
use harness::wait::eventually;
use serde_json::{Value, json};

/// Rights to the resources of RabbitMQ's topology operator.
mod theirs;

/// From an older chart to this one, and away again in every order.
mod upgrade;

/// Value sets, each a file in `values/`.
const SETS: [&str; 4] = ["default", "namespaces", "everything", "shop"];
const SOON: Duration = Duration::from_secs(30);

/// `helm template` of a value set, and further arguments.
fn rendered(namespace: &str, set: &str, extra: &[&str]) -> Vec<Value> {
    let helm = helm().expect("asked for before");
    let mut command = Command::new(helm);
    command.args(["template", "test", "--namespace", namespace, "-f", &values(set)]);
    let said = run(command.args(extra).arg(chart()), "");
    assert!(said.well, "{set}: {}", said.all);
    documents(&said.stdout)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// A namespace for this test, gone when the cluster goes.
fn namespace(tools: &Tools, what: &str) -> String {
    let name = format!("{what}-{:x}", std::process::id());
    tools.kubectl_well(&["create", "namespace", &name]);
    name
}

#[test]
fn the_chart_has_the_definitions_of_crds() {
    let folder = place::repository().join("crds");
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    let copies = chart().join("crds");
    assert_eq!(names(&folder), names(&copies), "run `make crds`");
    for name in names(&folder) {
        let read = |folder: &Path| fs::read_to_string(folder.join(&name)).expect("a readable file");
        assert!(read(&folder) == read(&copies), "{name:?} differs: run `make crds`");
    }
}

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).expect("a readable file");
    let description: Value = serde_yaml::from_str(&text).expect("YAML");
    assert_eq!(description["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(description["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn lint_has_nothing_to_say() {
    let Some(helm) = helm() else { return };
    for set in SETS {
        let said = run(
            Command::new(&helm)
                .args(["lint", "--strict", "-f", &values(set)])
                .arg(chart()),
            "",
        );
        assert!(said.well, "{set}: {}", said.all);
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(helm) = helm() else { return };
    let wrong = [
        ("replicaCount=2", "replicaCount"),
        ("operator.replicas=many", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=latest", "digest"),
        ("operator.resync=fast", "resync"),
        ("watchNamespaces={Shop}", "watchNamespaces"),
        ("crds.keep=true", "keep"),
        ("upgrade.timeout=long", "timeout"),
        ("operator.podTemplate=some", "podTemplate"),
        ("operator.rabbitmqResources=some", "rabbitmqResources"),
        ("operator.listLimit=16", "listLimit"),
        ("operator.allowBrokerHosts={a b}", "allowBrokerHosts"),
        ("networkPolicy.brokerPorts={0}", "brokerPorts"),
        ("topology.queues[0].spec.durable=true", "name"),
        ("topology.queues[0].name=a", "topology.queues: a has no spec.brokerRef"),
        ("topology.exchanges[0].name=a,topology.exchanges[0].type=topic", "type"),
    ];
    for (set, named) in wrong {
        let said = run(Command::new(&helm).args(["template", "--set", set]).arg(chart()), "");
        assert!(!said.well && said.all.contains(named), "{set}: {}", said.all);
    }
}

#[test]
fn the_api_server_takes_every_object() {
    let Some(tools) = Tools::new() else { return };
    let own = namespace(&tools, "chart-dry");
    let other = namespace(&tools, "chart-dry-other");
    for set in SETS {
        let watched = format!("watchNamespaces={{{own},{other}}}");
        let extra: &[&str] = if set == "namespaces" { &["--set", &watched] } else { &[] };
        let mut all = rendered(&own, set, extra);
        if set == "namespaces" {
            let mut roles = of_kind(&all, "Role")
                .iter()
                .map(|role| text(role, "/metadata/namespace"))
                .collect::<Vec<_>>();
            roles.dedup();
            assert!(
                roles.contains(&own.as_str()) && roles.contains(&other.as_str()),
                "{roles:?}"
            );
            let hook = |role: &&&Value| role.pointer("/metadata/annotations/helm.sh~1hook").is_none();
            let cluster_wide = of_kind(&all, "ClusterRole");
            assert_eq!(cluster_wide.iter().filter(hook).count(), 0, "Roles only");
        }
        if set == "everything" {
            assert_eq!(of_kind(&all, "ServiceMonitor").len(), 1);
            let rules = of_kind(&all, "PrometheusRule");
            assert!(rules[0].pointer("/spec/groups/0/rules/4/alert").is_some());
            let dashboard = text(of_kind(&all, "ConfigMap")[0], "/data/leveret-operator.json");
            serde_json::from_str::<Value>(dashboard).expect("a dashboard is JSON");
        }
        // The API server of the tests has not heard of these kinds.
        all.retain(|document| !text(document, "/apiVersion").starts_with("monitoring.coreos.com/"));
        assert!(all.iter().any(|document| document["kind"] == "Deployment"));
        tools.apply("", &all, &["--dry-run=server"]);
    }
}

/// Definitions check by themselves, so no webhook has to be reached and no certificate to be had; and who installs
/// makes the namespace.
#[test]
fn nothing_is_needed_beside_the_chart() {
    let Some(_) = helm() else { return };
    for set in SETS {
        let all = rendered("chart-alone", set, &[]);
        let kinds: Vec<&str> = all.iter().map(|document| text(document, "/kind")).collect();
        let needs = |kind: &&&str| {
            ["Namespace", "Certificate", "Issuer"].contains(*kind) || kind.ends_with("WebhookConfiguration")
        };
        assert_eq!(kinds.iter().find(needs), None, "{set}");
    }
}

/// The operator's own metrics are those that its alerts ask for.
#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let Some(_) = helm() else { return };
    let all = rendered("chart-alerts", "everything", &[]);
    let rules = of_kind(&all, "PrometheusRule")[0].to_string();
    let source = fs::read_to_string(place::repository().join("operator/src/metrics.rs")).expect("a readable file");
    let mut asked: Vec<&str> = rules
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("leveret_operator_"))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    assert!(asked.len() > 3, "{asked:?}");
    for metric in asked {
        let name = metric.trim_start_matches("leveret_operator_");
        let known = ["", "_total", "_bucket", "_count", "_sum"]
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .any(|name| {
                source.contains(&format!("\"{name}")) || source.contains(&format!("\"leveret_operator_{name}"))
            });
        assert!(known, "{metric}");
    }
}

/// On unless it is switched off: nothing but names, the API server and brokers, and no way to where clouds keep a
/// machine's credentials.
#[test]
fn the_operator_reaches_only_what_it_needs() {
    let Some(_) = helm() else { return };
    let all = rendered("chart-network", "default", &[]);
    let policies = of_kind(&all, "NetworkPolicy");
    assert_eq!(policies.len(), 1);
    let spec = &policies[0]["spec"];
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    let rules = spec["egress"].as_array().expect("rules");
    let ports: Vec<u64> = rules
        .iter()
        .flat_map(|rule| {
            rule["ports"]
                .as_array()
                .expect("a rule without ports lets everything out")
        })
        .filter_map(|port| port["port"].as_u64())
        .collect();
    assert_eq!(ports, [53, 53, 443, 6443, 5671, 5672, 15671, 15672]);
    let set = ["--set", "networkPolicy.enabled=false"];
    assert!(of_kind(&rendered("chart-network", "default", &set), "NetworkPolicy").is_empty());
    // Brokers' own policies let in the operator of this release alone.
    let container = &of_kind(&all, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().expect("variables");
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name).cloned();
    assert_eq!(
        variable("POD_INSTANCE").map(|found| found["value"].clone()),
        Some(json!("test"))
    );
    let namespace = variable("POD_NAMESPACE").expect("its namespace");
    assert_eq!(namespace["valueFrom"]["fieldRef"]["fieldPath"], "metadata.namespace");
    let labels = &of_kind(&all, "Deployment")[0]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/instance"], "test");
}

#[test]
fn pods_pass_the_restricted_standard() {
    let Some(tools) = Tools::new() else { return };
    let own = namespace(&tools, "chart-restricted");
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    tools.kubectl_well(&["label", "namespace", &own, enforce]);
    for (index, document) in rendered(&own, "default", &[]).iter().enumerate() {
        let mut pod = match text(document, "/kind") {
            "Pod" => document.clone(),
            "Deployment" | "Job" => {
                let mut pod = document["spec"]["template"].clone();
                pod["apiVersion"] = json!("v1");
                pod["kind"] = json!("Pod");
                pod["metadata"]["name"] = json!(format!("pod-{index}"));
                pod
            }
            _ => continue,
        };
        pod["spec"]["serviceAccountName"] = json!("default");
        tools.apply(&own, &[pod], &["--dry-run=server"]);
    }
}

#[test]
fn a_release_comes_changes_and_goes() {
    let Some(tools) = Tools::new() else { return };
    let own = namespace(&tools, "chart-release");
    let chart = chart().display().to_string();
    let watch = format!("watchNamespaces={{{own}}}");
    // Jobs of hooks would need a node.
    let settings = [
        "--set",
        &watch,
        "--set",
        "crds.upgrade=false",
        "--set",
        "uninstall.releaseFinalizers=false",
        "--set",
        "upgrade.waitForBrokers=false",
    ];
    let with = |verb: &'static str, extra: &[&str]| {
        let fixed = [verb, "shop", &chart, "-n", &own, "-f"];
        tools.helm_well(&[&fixed[..], &[&values("shop")], &settings[..], extra].concat())
    };
    let notes = with("install", &[]);
    assert!(notes.contains("wait broker.leveret.dev/main"), "{notes}");
    let names = || tools.kubectl_well(&["-n", &own, "get", "leveret", "-o", "name"]);
    for object in [
        "broker.leveret.dev/main",
        "exchange.leveret.dev/orders",
        "queue.leveret.dev/invoices",
        "queue.leveret.dev/shipments",
        "binding.leveret.dev/orders-to-invoices",
    ] {
        assert!(names().contains(object), "{object} is missing in {}", names());
    }
    with(
        "upgrade",
        &["--set", "topology.bindings=null", "--set", "operator.replicas=2"],
    );
    assert!(!names().contains("orders-to-invoices"), "pruned: {}", names());
    let replicas = tools.kubectl_well(&[
        "-n",
        &own,
        "get",
        "deployment",
        "shop-leveret",
        "-o",
        "jsonpath={.spec.replicas}",
    ]);
    assert_eq!(replicas, "2");
    tools.helm_well(&["uninstall", "shop", "-n", &own]);
    eventually("all of the release is gone", SOON, || {
        let left = names();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let crds = tools.kubectl_well(&["get", "crds", "-o", "name"]);
    assert!(crds.contains("queues.leveret.dev"), "definitions stay: {crds}");
}

/// An operator with exactly the rights and arguments of a rendered chart, and the broker it works for.
struct Bounded {
    operator: Operator,
    broker: Broker,
    namespace: String,
    all: Vec<Value>,
}

fn bounded(tools: &Tools, what: &str, extra: &[&str]) -> Bounded {
    let own = namespace(tools, what);
    let name = format!("fullnameOverride={own}");
    let watch = format!("watchNamespaces={{{own}}}");
    let only_here: &[&str] = if what.ends_with("role") {
        &["--set", &watch]
    } else {
        &[]
    };
    let all = rendered(&own, "default", &[&["--set", &name], only_here, extra].concat());
    let needed = [
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    let rights: Vec<Value> = all
        .iter()
        .filter(|document| needed.contains(&text(document, "/kind")))
        .cloned()
        .collect();
    tools.apply(&own, &rights, &[]);
    let deployment = of_kind(&all, "Deployment")[0];
    let arguments: Vec<&str> = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .filter_map(Value::as_str)
        .filter(|argument| {
            argument.starts_with("--") && !argument.starts_with("--listen") && !argument.starts_with("--watch")
        })
        .collect();
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let operator = Operator::start(&tools.as_account(&own, &own), &own, &arguments);
    Bounded {
        operator,
        broker,
        namespace: own,
        all,
    }
}

impl Bounded {
    /// The Broker `main`, and the Secret that it needs.
    fn external(&self, tools: &Tools, allowed: &Value) {
        let external = json!({
            "uri": format!("amqp://{}", self.broker.amqp()),
            "managementUri": format!("http://{}", self.broker.http()),
            "credentialsSecretRef": {"name": "admin"},
        });
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "admin", "annotations": {"leveret.dev/broker": "main"}},
            "stringData": {"username": "guest", "password": "guest"}});
        let spec = json!({"engine": "External", "external": external, "allowedNamespaces": allowed});
        let broker = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Broker", "metadata": {"name": "main"},
            "spec": spec});
        tools.apply(&self.namespace, &[secret, broker], &[]);
    }

    /// The work of users, until its effects are there.
    fn work(&self, tools: &Tools, allowed: &Value) {
        let spec = |rest: Value| {
            let mut spec = rest;
            spec["brokerRef"] = json!({"name": "main"});
            spec
        };
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.external(tools, allowed);
        let documents = [
            object("Exchange", "x", spec(json!({}))),
            object("Queue", "q", spec(json!({}))),
            object("Queue", "gone", spec(json!({}))),
            object(
                "Binding",
                "b",
                spec(json!({"source": "x", "destination": {"queue": "q"}, "routingKey": "k"})),
            ),
        ];
        tools.apply(&self.namespace, &documents, &[]);
        let own = self.namespace.as_str();
        for kind in ["brokers", "exchanges", "queues", "bindings"] {
            let all = format!("{kind}.leveret.dev");
            tools.kubectl_well(&[
                "-n",
                own,
                "wait",
                &all,
                "--all",
                "--for=condition=Ready",
                "--timeout=60s",
            ]);
        }
        tools.kubectl_well(&["-n", own, "delete", "queues.leveret.dev/gone", "--timeout=60s"]);
        assert!(self.has_queue("q") && !self.has_queue("gone"));
        let events = tools.kubectl_well(&["-n", own, "get", "events", "-o", "jsonpath={.items[*].reason}"]);
        assert!(events.contains("Synced"), "{events}");
        // A broker that the operator runs: no pod comes up here, but everything is made, changed and taken away.
        let run = |of: &str| {
            let mut spec = json!({"storage": {"size": "1Gi"}, "serviceAccountTokens": {}});
            spec["annotations"] = json!({"version": of});
            (of == "1").then(|| spec["networkPolicy"] = json!({}));
            tools.apply(own, &[object("Broker", "run", spec)], &[]);
        };
        let there = |kind: &str, version: &str| {
            eventually(kind, SOON, || {
                let path = "jsonpath={.items[*].metadata.annotations.version}";
                let arguments = ["-n", own, "get", kind, "-l", "leveret.dev/broker=run", "-o", path];
                let said = tools.kubectl(&arguments, "");
                let versions: Vec<&str> = said.stdout.split_whitespace().collect();
                match versions.iter().all(|found| *found == version) && versions.is_empty() == version.is_empty() {
                    true => Ok(()),
                    false => Err(said.all),
                }
            });
        };
        run("1");
        for kind in ["statefulset", "service", "configmap", "secret", "networkpolicy"] {
            there(kind, "1");
        }
        run("2");
        there("statefulset", "2");
        there("networkpolicy", "");
        tools.kubectl_well(&["-n", own, "delete", "brokers.leveret.dev/run", "--timeout=60s"]);
    }

    fn has_queue(&self, name: &str) -> bool {
        let answer = Http::new(self.broker.http()).request("GET", &format!("/api/queues/%2F/{name}"), None);
        answer.status == 200
    }

    fn nothing_was_forbidden(&self) {
        let log = self.operator.log();
        // As a word: a time or a port may have these digits in it.
        let is_code = |line: &str| {
            line.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == "403")
        };
        let refused: Vec<&str> = log
            .lines()
            .filter(|line| line.to_lowercase().contains("forbidden") || is_code(line))
            .collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
}

#[test]
fn the_cluster_role_suffices() {
    let Some(tools) = Tools::new() else { return };
    let bounded = bounded(&tools, "chart-cluster", &[]);
    let allowed =
        json!({"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": bounded.namespace}}});
    bounded.work(&tools, &allowed);
    bounded.nothing_was_forbidden();
}

#[test]
fn the_roles_suffice_and_nothing_waits_for_an_operator_that_is_gone() {
    let Some(tools) = Tools::new() else { return };
    let mut bounded = bounded(&tools, "chart-role", &[]);
    let own = bounded.namespace.clone();
    bounded.work(&tools, &json!({"from": "Same"}));
    bounded.nothing_was_forbidden();
    // The hook's Job, as this process, under the hook's rights. There is no Deployment: the operator runs here.
    bounded.operator.terminate(SOON);
    let job = of_kind(&bounded.all, "Job")
        .into_iter()
        .find(|job| text(job, "/metadata/annotations/helm.sh~1hook") == "pre-delete")
        .expect("the hook");
    let pod = &job["spec"]["template"]["spec"];
    let account = tools.as_account(&own, text(pod, "/serviceAccountName"));
    let arguments: Vec<&str> = pod["containers"][0]["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut retire = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
    let said = run(retire.args(&arguments).env("KUBECONFIG", &account.kubeconfig), "");
    assert!(said.well, "{arguments:?}: {}", said.all);
    tools.kubectl_well(&["delete", "namespace", &own, "--timeout=60s"]);
    assert!(bounded.has_queue("q"), "what stands on the broker stays");
}

/// One namespace is there, the other is not, or is gone by the time that the release goes.
#[test]
fn a_namespace_that_is_gone_stops_neither_install_nor_uninstall() {
    let Some(tools) = Tools::new() else { return };
    let own = namespace(&tools, "chart-gone");
    let (chart, name) = (chart().display().to_string(), format!("fullnameOverride={own}"));
    let watch = format!("watchNamespaces={{{own},{own}-never}}");
    let settings = ["--set", &name, "--set", &watch, "--set", "crds.upgrade=false"];
    let notes = tools.helm_well(&[&["install", "gone", &chart, "-n", &own], &settings[..]].concat());
    assert!(
        notes.contains(&format!("the namespace {own}-never of watchNamespaces does not exist")),
        "{notes}"
    );
    let roles = tools.kubectl_well(&[
        "get",
        "roles",
        "--all-namespaces",
        "-l",
        "app.kubernetes.io/instance=gone",
        "-o",
        "name",
    ]);
    assert!(roles.contains(&own), "{roles}");
    // The operator with these rights and arguments, as in the release's pod.
    let account = tools.as_account(&own, &own);
    let never = format!("{own}-never");
    let lease = [
        "--lease-name",
        &own,
        "--lease-namespace",
        &own,
        "--watch-namespace",
        &never,
    ];
    let operator = Operator::start(&account, &own, &lease);
    let broker =
        json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Broker", "metadata": {"name": "main"}, "spec": {}});
    tools.apply(&own, &[broker], &[]);
    eventually("the Broker is kept", SOON, || {
        let path = "jsonpath={.status.operator.name}";
        let said = tools.kubectl(&["-n", &own, "get", "brokers.leveret.dev/main", "-o", path], "");
        if said.stdout == format!("{own}/{own}") {
            Ok(())
        } else {
            Err(said.all)
        }
    });
    drop(operator);
    // The hook's Job: with the operator's own rights, beside its Role for the Deployment, which is not there.
    let mut retire = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
    retire.args(["retire", "--lease-name", &own, "--namespace", &own]);
    retire.args(["--watch-namespace", &own, "--watch-namespace", &never]);
    let said = run(retire.env("KUBECONFIG", &account.kubeconfig), "");
    assert!(said.well && said.all.contains("left out"), "{}", said.all);
    let all = rendered(&own, "default", &settings);
    for document in &all {
        let hook = text(document, "/metadata/annotations/helm.sh~1hook");
        let place = text(document, "/metadata/namespace");
        assert!(
            hook != "pre-delete" || place == own,
            "a hook needs nothing in another namespace: {document}"
        );
    }
    tools.helm_well(&["uninstall", "gone", "-n", &own, "--no-hooks"]);
    tools.kubectl_well(&["delete", "namespace", &own, "--timeout=60s"]);
}

#[test]
fn the_upgrade_hook_applies_the_definitions() {
    let Some(tools) = Tools::new() else { return };
    let own = namespace(&tools, "chart-crds");
    let all = rendered(&own, "default", &["--set", &format!("fullnameOverride={own}")]);
    let ours = |document: &&Value| text(document, "/metadata/name") == format!("{own}-crds");
    let hook: Vec<Value> = all
        .iter()
        .filter(ours)
        .filter(|document| document["kind"] != "Job")
        .cloned()
        .collect();
    assert_eq!(hook.len(), 3, "account, role, binding");
    tools.apply(&own, &hook, &[]);
    let account = tools.as_account(&own, &format!("{own}-crds"));
    let mut apply = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
    let said = run(
        apply.args(["crd", "--apply"]).env("KUBECONFIG", &account.kubeconfig),
        "",
    );
    assert!(said.well, "{}", said.all);
}
