//! rabbitmqadmin v2, the command line of RabbitMQ's API, from crates.io.

use std::path::PathBuf;
use std::process::Command;

use harness::Broker;
use harness::programs::{Tool, cargo_program, said};
use harness::requests::unique;
use serde_json::Value;

use crate::http;

const VERSION: &str = "2.35.0";

/// The whole life of a tenant, command by command. `T` is its name, `FILE` a file, `NODE` the broker's; `~` stands for
/// a blank within an argument.
const LIFE: &str = r#"
declare vhost --name T --description a~tenant --default-queue-type quorum --tracing
declare vhost_limit --vhost T --name max-queues --value 20
declare vhost_limit --vhost T --name max-connections --value 20
declare user --name T --password geheim --tags management
declare user_limit --username T --name max-channels --value 10
declare permissions --vhost T --username T --configure .* --read .* --write .*
declare policy --vhost T --name p --pattern ^q --apply-to queues --priority 3 --definition {"max-length":~100}
declare operator_policy --vhost T --name o --pattern ^q --apply-to queues --priority 1 --definition {"max-length":~50}
declare exchange --vhost T --name x --type topic --durable true
declare queue --vhost T --name q --type classic --durable true --arguments {"x-message-ttl":~60000}
declare queue --vhost T --name qq --type quorum --durable true
declare binding --vhost T --source x --destination-type queue --destination q --routing-key a.#
declare binding --vhost T --source x --destination-type exchange --destination amq.fanout --routing-key b
declare parameter --vhost T --component federation-upstream --name up --value {"uri":"amqp://localhost"}
shovels declare_amqp091 --vhost T --name s --source-uri amqp://localhost --source-queue q --destination-uri amqp://localhost --destination-queue qq
global_parameters set --name T --value {"a":1}
publish message --vhost T --exchange x --routing-key a.b --payload hello
get messages --vhost T --queue q --count 1 --ack-mode ack_requeue_true
list nodes
list vhosts
list vhost_limits --vhost T
list user_limits
list users
list connections
list channels
list consumers
list policies
list operator_policies
list queues --vhost T
list exchanges --vhost T
list bindings --vhost T
list permissions
list parameters --vhost T
list feature_flags
list deprecated_features
list deprecated_features_in_use
policies list_in --vhost T
policies list_matching_object --vhost T --name q --type queue
users connections --username T
global_parameters list
shovels list_all
federation list_all_upstreams
federation list_all_links
auth_attempts stats --node NODE
show overview
show churn
show endpoint
show memory_breakdown_in_bytes --node NODE
show memory_breakdown_in_percent --node NODE
health_check local_alarms
health_check cluster_wide_alarms
health_check node_is_quorum_critical
health_check protocol_listener --protocol amqp
feature_flags enable_all
rebalance queues
vhosts enable_deletion_protection --name T
! delete vhost --name T
vhosts disable_deletion_protection --name T
definitions export_from_vhost --vhost T --file FILE
purge queue --vhost T --name q
delete binding --vhost T --source x --destination-type queue --destination q --routing-key a.# --arguments {}
delete queue --vhost T --name q
! delete queue --vhost T --name q
delete queue --vhost T --name q --idempotently
delete exchange --vhost T --name x
delete policy --vhost T --name p
shovels delete --vhost T --name s
definitions import_into_vhost --vhost T --file FILE
delete queue --vhost T --name q
delete operator_policy --vhost T --name o
delete parameter --vhost T --component federation-upstream --name up
global_parameters clear --name T
delete vhost_limit --vhost T --name max-queues
delete user_limit --username T --name max-channels
delete permissions --vhost T --username T
delete user --name T
! delete user --name T
delete vhost --name T
delete vhost --name T --idempotently
"#;

/// Runs a command: whether it was successful, and what was printed.
fn run(program: &PathBuf, arguments: &str) -> (bool, String) {
    let address = Broker::shared().http();
    let mut command = Command::new(program);
    command
        .args([
            "--host",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ])
        .args(["--username", "guest", "--password", "guest", "--non-interactive"])
        .args(arguments.split(' ').map(|argument| argument.replace('~', " ")));
    let output = command.env("HOME", "/nonexistent").output().expect("it runs");
    (output.status.success(), said(&output))
}

#[test]
fn a_tenant_lives_by_commands() {
    static PROGRAM: Tool = Tool::new();
    let Some(program) = cargo_program(&PROGRAM, "rabbitmqadmin", VERSION) else {
        return;
    };
    let (tenant, folder) = (unique("tenant"), tempfile::tempdir().expect("a temporary folder"));
    let file = folder.path().join("definitions.json").display().to_string();
    let node = http().get("/api/overview")["node"].as_str().expect("a name").to_owned();
    let named = |argument: &str| match argument {
        "T" => tenant.clone(),
        "FILE" => file.clone(),
        "NODE" => node.clone(),
        other => other.to_owned(),
    };
    for line in LIFE.lines().filter(|line| !line.is_empty()) {
        let (line, succeeds) = line.strip_prefix("! ").map_or((line, true), |line| (line, false));
        let arguments: Vec<String> = line.split(' ').map(named).collect();
        let (success, text) = run(&program, &arguments.join(" "));
        assert_eq!(success, succeeds, "rabbitmqadmin {}: {text}", arguments.join(" "));
        if line.starts_with("list queues") {
            assert!(text.contains("qq"), "{text}");
            assert_eq!(http().get(&format!("/api/queues/{tenant}/q"))["policy"], "p");
        }
        if line.starts_with("definitions import_into_vhost") {
            for restored in ["queues/T/q", "exchanges/T/x", "policies/T/p", "parameters/shovel/T/s"] {
                let path = format!("/api/{}", restored.replace('T', &tenant));
                assert_eq!(crate::status("GET", &path, &Value::Null), 200, "{path}");
            }
        }
    }
    let gone = crate::status("GET", &format!("/api/vhosts/{tenant}"), &Value::Null);
    assert_eq!(gone, 404);
}
