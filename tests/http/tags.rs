//! Tags of users: who may ask for what over HTTP, and what lists show.

use std::collections::BTreeSet;

use harness::http::{Answer, Http};
use harness::requests::{exclusive, unique};
use harness::wait::{eventually, until};
use harness::{Broker, Client, call};
use serde_json::{Value, json};

use crate::{FIGURES, client, has, send, status};

/// Those who may ask for something: the answers of RabbitMQ, and below an empty line those of paths that it has only
/// with plugins, or not at all.
const ANSWERS: &str = include_str!("endpoints.txt");
/// Paths without a login.
const OPEN: [&str; 6] = ["/", "/api", "/api/login", "/cli", "/livez", "/readyz"];
const TAGS: [&str; 5] = ["none", "management", "policymaker", "monitoring", "administrator"];

/// A user with a tag who may enter `/`, or may not.
struct Somebody {
    name: String,
    api: Http,
}

impl Somebody {
    /// On the shared broker.
    fn new(tag: &str, enters: bool) -> Self {
        Self::on(Broker::shared(), tag, enters)
    }

    fn on(broker: &Broker, tag: &str, enters: bool) -> Self {
        let name = unique(&format!("tag-{tag}"));
        let guest = Http::new(broker.http());
        let put = |path: &str, body: Value| guest.request("PUT", &format!("/api/{path}/{name}"), Some(&body)).status;
        assert_eq!(put("users", json!({"password": "geheim", "tags": tag})), 201);
        if enters {
            let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
            assert_eq!(put("permissions/%2F", all), 201);
        }
        let api = Http::with_credentials(broker.http(), &name, "geheim");
        Self { name, api }
    }

    fn asks(&self, method: &str, path: &str, body: Value) -> Answer {
        self.api
            .request(method, path, Some(&body).filter(|body| !body.is_null()))
    }

    fn delete(&self) {
        assert_eq!(status("DELETE", &format!("/api/users/{}", self.name)), 204);
    }
}

/// The body of a request to this path. Of what would change the broker as a whole it has nothing in it: whoever may
/// ask is told so.
fn body(method: &str, path: &str, node: &str) -> Value {
    let list = path.split('/').nth(2).unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    match (method, list, last) {
        ("GET", ..) => Value::Null,
        ("DELETE", _, "delete") | ("POST", _, "add") => json!({"node": node}),
        ("DELETE", ..) => Value::Null,
        (_, _, "bulk-delete") => json!({"users": ["tag-no-such-user"]}),
        (_, _, "publish") => {
            json!({"properties": {}, "routing_key": "k", "payload": "x", "payload_encoding": "string"})
        }
        (_, _, "get") => json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}),
        (_, _, "actions") => json!({"action": "sync"}),
        (_, "users", _) => json!({"password": "x", "tags": ""}),
        (_, "permissions", _) => json!({"configure": "", "write": "", "read": ""}),
        (_, "topic-permissions", _) => json!({"exchange": "amq.topic", "write": "", "read": ""}),
        (_, "policies" | "operator-policies", _) => json!({"pattern": "nothing", "definition": {"max-length": 1}}),
        (_, "parameters", _) => json!({"value": {"pattern": "nothing", "definition": {"max-length": 1}}}),
        (_, "user-limits" | "vhost-limits" | "global-parameters", _) => json!({"value": 5}),
        (_, "bindings", _) => json!({"routing_key": "k"}),
        _ => json!({}),
    }
}

/// RabbitMQ's words for those who may not ask.
const REFUSALS: [&str; 6] = [
    "Not management user",
    "Not monitor user",
    "Not administrator user",
    "User not authorised to access object",
    "Not Found",
    "Access refused.",
];

/// The lines of the table, for RabbitMQ without those that it has no answer to.
fn rows() -> impl Iterator<Item = &'static str> {
    let whole = !crate::is_rabbitmq();
    ANSWERS
        .split("\n\n")
        .enumerate()
        .filter(move |(at, _)| whole || *at == 0)
        .flat_map(|(_, part)| part.lines())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Everything that the table asks about, by one name, on a broker of its own: the table resets what others count.
struct World {
    broker: Broker,
    name: String,
    node: String,
    connection: String,
    client: Client,
}

impl World {
    fn new() -> World {
        let broker = Broker::external().unwrap_or_else(Broker::start);
        let name = unique("tag-name");
        let api = Http::new(broker.http());
        let make = |method: &str, list: &str, body: Value| {
            let path = format!("/api/{}", list.replace("NAME", &name));
            assert_eq!(api.request(method, &path, Some(&body)).status, 201, "{path}");
        };
        make("PUT", "users/NAME", json!({"password": "x", "tags": ""}));
        make("PUT", "vhosts/NAME", json!({}));
        make("PUT", "queues/%2F/NAME", json!({"durable": true}));
        make("PUT", "exchanges/%2F/NAME", json!({"type": "topic"}));
        make("POST", "bindings/%2F/e/NAME/q/NAME", json!({"routing_key": "k"}));
        let node = api.get("/api/overview")["node"].as_str().expect("a name").to_owned();
        let mut client = Client::with_channel(broker.amqp());
        let queue = unique("tag-owner");
        call!(client, 1, exclusive(&queue) => QueueDeclareOk);
        let is_there = |path: &str| api.request("GET", path, None).status == 200;
        let (connection, _) = eventually("the connection and its channel are shown", FIGURES, || {
            let queue = api.get(&format!("/api/queues/%2F/{queue}"));
            let name = queue["owner_pid_details"]["name"].as_str().map(escaped);
            let is_shown = |name: &String| {
                is_there(&format!("/api/connections/{name}")) && is_there(&format!("/api/channels/{name}%20(1)"))
            };
            name.filter(is_shown).ok_or(queue)
        });
        World {
            broker,
            name,
            node,
            connection,
            client,
        }
    }

    fn path(&self, path: &str, user: &str) -> String {
        path.replace("NODE", &self.node)
            .replace("USER", user)
            .replace("CHANNEL", &format!("{}%20(1)", self.connection))
            .replace("CONNECTION", &self.connection)
            .replace("NAME", &self.name)
            .replace("/5672", &format!("/{}", self.broker.amqp().port()))
    }
}

fn escaped(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E")
}

#[test]
fn each_endpoint_is_for_the_tags_that_rabbitmq_lets_ask() {
    let world = World::new();
    let somebodies: Vec<Somebody> = TAGS
        .iter()
        .flat_map(|tag| [true, false].map(|enters| Somebody::on(&world.broker, tag, enters)))
        .collect();
    let mut wrong = Vec::new();
    for row in rows() {
        let mut words = row.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        for (somebody, expected) in somebodies.iter().zip(words) {
            let path = world.path(path, &somebody.name);
            let answer = somebody.asks(method, &path, body(method, &path, &world.node));
            let status = answer.status.to_string();
            if !expected.split('/').any(|expected| expected == status) {
                wrong.push(format!(
                    "{method} {path} of {}: {} for {expected}: {}",
                    somebody.name, answer.status, answer.body
                ));
            }
            if answer.status == 401 || (answer.status == 404 && !somebody.name.contains("administrator")) {
                let reason = answer.json()["reason"].clone();
                let known = reason.as_str().is_some_and(|reason| REFUSALS.contains(&reason));
                assert!(known, "{method} {path} of {}: {reason}", somebody.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if Broker::external().is_some() {
        somebodies.iter().for_each(Somebody::delete);
    }
    drop(world.client);
}

/// The number of parts that a path has in common with a route that it fits. `None` if it doesn't.
fn fits(route: &str, path: &str) -> Option<usize> {
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    let is_name = |part: &str| part.starts_with('{');
    let all = route.len() == path.len() && route.iter().zip(&path).all(|(of, part)| is_name(of) || of == part);
    all.then(|| route.iter().filter(|part| !is_name(part)).count())
}

/// The routes of the broker's table of rights, of which a test there holds that they are all.
fn routes() -> Vec<String> {
    let source = harness::place::repository().join("broker/src/admin/rights.rs");
    let source = std::fs::read_to_string(source).expect("the table");
    let table = source
        .split("const TABLE")
        .nth(1)
        .and_then(|rest| rest.split("\n];").next());
    let texts = table.expect("a table").split('"').filter(|text| text.starts_with('/'));
    texts.map(str::to_owned).collect()
}

/// Each method of each route has a line in the table above, or is open to everybody.
#[test]
fn no_endpoint_is_left_out() {
    if Broker::external().is_some() {
        return;
    }
    let routes = routes();
    assert!(routes.len() > 120, "{routes:?}");
    let best = |path: &str| {
        routes
            .iter()
            .filter(|route| fits(route, path).is_some())
            .max_by_key(|route| fits(route, path))
    };
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    for row in rows() {
        let mut words = row.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        let route = best(path).unwrap_or_else(|| panic!("{path} is no route"));
        known.insert((method.to_owned(), route.clone()));
    }
    let anonymous = Http::anonymous(Broker::shared().http());
    for route in routes.iter().filter(|route| !OPEN.contains(&route.as_str())) {
        let path: Vec<&str> = route
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        let asked = anonymous.request("OPTIONS", &path.join("/"), None);
        let allowed = asked.header("allow").expect("methods").to_owned();
        for method in allowed
            .split(',')
            .map(str::trim)
            .filter(|method| !["HEAD", "OPTIONS"].contains(method))
        {
            let line = (method.to_owned(), route.clone());
            assert!(known.contains(&line), "{method} {route} is in no line of endpoints.txt");
        }
    }
    for path in OPEN.iter().filter(|path| **path != "/api/login") {
        assert_eq!(anonymous.request("GET", path, None).status, 200, "{path}");
    }
}

/// A request, and the rights that it needs, by object.
struct Case {
    method: &'static str,
    path: &'static str,
    body: Value,
    needs: &'static [(&'static str, &'static str)],
}

fn cases() -> Vec<Case> {
    let case = |method, path, body, needs| Case {
        method,
        path,
        body,
        needs,
    };
    let durable = || json!({"durable": true});
    let dead = || json!({"durable": true, "arguments": {"x-dead-letter-exchange": "N-other"}});
    let topic = || json!({"type": "topic", "durable": true});
    let alternate = || json!({"type": "topic", "durable": true, "arguments": {"alternate-exchange": "N-other"}});
    let publish = || json!({"properties": {}, "routing_key": "k", "payload": "x", "payload_encoding": "string"});
    let get = || json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let key = || json!({"routing_key": "k"});
    let led = &[("configure", "N-new"), ("read", "N-new"), ("write", "N-other")];
    vec![
        case("PUT", "queues/%2F/N-new", durable(), &[("configure", "N-new")]),
        case("PUT", "queues/%2F/N-new", dead(), led),
        case("DELETE", "queues/%2F/N-queue", Value::Null, &[("configure", "N-queue")]),
        case(
            "DELETE",
            "queues/%2F/N-queue/contents",
            Value::Null,
            &[("read", "N-queue")],
        ),
        case("POST", "queues/%2F/N-queue/get", get(), &[("read", "N-queue")]),
        case("PUT", "exchanges/%2F/N-new", topic(), &[("configure", "N-new")]),
        case("PUT", "exchanges/%2F/N-new", alternate(), led),
        case(
            "DELETE",
            "exchanges/%2F/N-exchange",
            Value::Null,
            &[("configure", "N-exchange")],
        ),
        case(
            "POST",
            "exchanges/%2F/N-exchange/publish",
            publish(),
            &[("write", "N-exchange")],
        ),
        case(
            "POST",
            "exchanges/%2F/amq.default/publish",
            publish(),
            &[("write", "amq.default")],
        ),
        case(
            "POST",
            "bindings/%2F/e/N-exchange/q/N-queue",
            key(),
            &[("write", "N-queue"), ("read", "N-exchange")],
        ),
        case(
            "POST",
            "bindings/%2F/e/N-exchange/e/N-other",
            key(),
            &[("write", "N-other"), ("read", "N-exchange")],
        ),
        case(
            "DELETE",
            "bindings/%2F/e/N-exchange/q/N-queue/bound",
            Value::Null,
            &[("write", "N-queue"), ("read", "N-exchange")],
        ),
        case(
            "DELETE",
            "bindings/%2F/e/N-exchange/e/N-other/bound",
            Value::Null,
            &[("write", "N-other"), ("read", "N-exchange")],
        ),
    ]
}

/// The objects that requests are about, made anew.
fn objects(name: &str) {
    for gone in [
        "queues/%2F/N-new",
        "queues/%2F/N-queue",
        "exchanges/%2F/N-new",
        "exchanges/%2F/N-exchange",
    ] {
        status("DELETE", &format!("/api/{}", gone.replace('N', name)));
    }
    let (queue, exchange, other) = (
        format!("/api/queues/%2F/{name}-queue"),
        format!("/api/exchanges/%2F/{name}-exchange"),
        format!("/api/exchanges/%2F/{name}-other"),
    );
    assert_eq!(send("PUT", &queue, json!({"durable": true})).status, 201);
    assert_eq!(
        send("PUT", &exchange, json!({"type": "topic", "durable": true})).status,
        201
    );
    assert!(send("PUT", &other, json!({"type": "fanout", "durable": true})).status < 300);
    for end in [format!("q/{name}-queue"), format!("e/{name}-other")] {
        let bind = format!("/api/bindings/%2F/e/{name}-exchange/{end}");
        assert_eq!(send("POST", &bind, json!({"routing_key": "bound"})).status, 201);
    }
}

/// With all rights that it needs a request is carried out; without any one of them it isn't.
#[test]
fn each_change_needs_its_rights_and_no_other() {
    let name = unique("right");
    let user = Somebody::new("management", true);
    let grant = |needs: &[&(&str, &str)]| {
        let pattern = |right: &str| {
            let of = needs.iter().filter(|(of, _)| *of == right);
            let names: Vec<String> = of.map(|(_, on)| format!("^{}$", on.replace('N', &name))).collect();
            if names.is_empty() {
                "^$nothing".to_owned()
            } else {
                names.join("|")
            }
        };
        let body = json!({"configure": pattern("configure"), "write": pattern("write"), "read": pattern("read")});
        assert_eq!(
            send("PUT", &format!("/api/permissions/%2F/{}", user.name), body).status,
            204
        );
    };
    for Case {
        method,
        path,
        body,
        needs,
    } in cases()
    {
        let path = format!("/api/{}", path.replace("N-", &format!("{name}-")));
        let body: Value = serde_json::from_str(&body.to_string().replace("N-", &format!("{name}-"))).expect("JSON");
        objects(&name);
        grant(&needs.iter().collect::<Vec<_>>());
        let answer = user.asks(method, &path, body.clone());
        assert!(answer.status < 300, "{method} {path} {body}: {}", answer.body);
        for missing in needs {
            objects(&name);
            grant(&needs.iter().filter(|need| *need != missing).collect::<Vec<_>>());
            let refused = user.asks(method, &path, body.clone());
            // RabbitMQ's publish tells what its own client is told.
            let status = if path.ends_with("/publish") { 400 } else { 401 };
            assert_eq!(
                refused.status, status,
                "{method} {path} {body} without {missing:?}: {}",
                refused.body
            );
            let (right, on) = (missing.0, missing.1.replace('N', &name));
            let reason = refused.json()["reason"].as_str().expect("a reason").to_owned();
            // RabbitMQ says of most no more than that.
            let told = [
                format!("{right} access to queue '{on}'"),
                format!("{right} access to exchange '{on}'"),
            ];
            assert!(
                reason == "Access refused." && crate::is_rabbitmq() || told.iter().any(|told| reason.contains(told)),
                "{method} {path} {body} without {missing:?}: {reason}"
            );
        }
    }
    objects(&name);
    for path in [
        "queues/%2F/N-queue",
        "exchanges/%2F/N-exchange",
        "exchanges/%2F/N-other",
    ] {
        assert_eq!(status("DELETE", &format!("/api/{}", path.replace('N', &name))), 204);
    }
    user.delete();
}

/// Sums are over what somebody sees; of the node who doesn't see it is told nothing.
#[test]
fn the_overview_is_about_what_the_user_may_see() {
    let vhost = unique("tag-overview");
    assert_eq!(send("PUT", &format!("/api/vhosts/{vhost}"), json!({})).status, 201);
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    send("PUT", &format!("/api/permissions/{vhost}/guest"), all.clone());
    let (mine, nobody, monitor) = (
        Somebody::new("management", false),
        Somebody::new("management", false),
        Somebody::new("monitoring", false),
    );
    let permission = format!("/api/permissions/{vhost}/{}", mine.name);
    assert_eq!(send("PUT", &permission, all).status, 201);
    for queue in ["one", "two"] {
        assert_eq!(
            send("PUT", &format!("/api/queues/{vhost}/{queue}"), json!({"durable": true})).status,
            201
        );
    }
    let message = json!({"properties": {}, "routing_key": "one", "payload": "x", "payload_encoding": "string"});
    for _ in 0..3 {
        let publish = format!("/api/exchanges/{vhost}/amq.default/publish");
        assert_eq!(send("POST", &publish, message.clone()).status, 200);
    }
    let overview = |somebody: &Somebody| somebody.api.get("/api/overview");
    eventually("sums are those of the vhost", FIGURES, || {
        let shown = overview(&mine);
        let (totals, lengths, stats) = (&shown["object_totals"], &shown["queue_totals"], &shown["message_stats"]);
        let right = totals["queues"] == 2
            && totals["connections"] == 0
            && totals["channels"] == 0
            && lengths["messages"] == 3
            && lengths["messages_ready"] == 3
            && stats["publish"] == 3;
        if right { Ok(()) } else { Err(shown) }
    });
    let shown = overview(&mine);
    assert_eq!(shown["object_totals"].get("consumers"), None, "{shown}");
    for field in ["node", "listeners", "contexts"] {
        assert_eq!(shown.get(field), None, "{field} in {shown}");
        assert!(overview(&monitor).get(field).is_some(), "{field}");
    }
    has(
        &shown,
        &["cluster_name", "exchange_types", "churn_rates", "rabbitmq_version"],
    );
    let none = overview(&nobody);
    assert_eq!(
        (&none["object_totals"]["queues"], &none["object_totals"]["exchanges"]),
        (&json!(0), &json!(0))
    );
    assert!(none["queue_totals"]["messages"].as_u64().unwrap_or(0) == 0, "{none}");
    let monitored = overview(&monitor);
    assert!(monitored["object_totals"]["queues"].as_u64() >= Some(2), "{monitored}");
    assert!(monitored["object_totals"]["consumers"].is_u64());
    let short = mine.api.get("/api/overview?disable_stats=true");
    assert_eq!(
        (&short["object_totals"]["queues"], short.get("message_stats")),
        (&json!(2), None),
        "{short}"
    );
    for somebody in [mine, nobody, monitor] {
        somebody.delete();
    }
    assert_eq!(status("DELETE", &format!("/api/vhosts/{vhost}")), 204);
}

#[test]
fn lists_show_what_the_user_may_see() {
    let name = unique("tag-seen");
    assert_eq!(send("PUT", &format!("/api/queues/%2F/{name}"), json!({})).status, 201);
    let (inside, outside) = (Somebody::new("management", true), Somebody::new("management", false));
    let (monitor, administrator) = (
        Somebody::new("monitoring", false),
        Somebody::new("administrator", false),
    );
    let sees = |somebody: &Somebody, list: &str, of: &str| {
        let rows = somebody.api.get(list);
        rows.as_array().expect("rows").iter().any(|row| row["name"] == of)
    };
    // What is in a vhost is seen by who may enter it; monitors are told that it is there, and what is connected.
    for (list, of, monitored) in [
        ("/api/queues", name.as_str(), false),
        ("/api/queues/detailed", name.as_str(), false),
        ("/api/exchanges", "amq.topic", false),
        ("/api/vhosts", "/", true),
    ] {
        let seen = [&inside, &outside, &monitor, &administrator].map(|somebody| sees(somebody, list, of));
        assert_eq!(seen, [true, false, monitored, true], "{list}");
    }
    let mut client = client();
    call!(client, 1, exclusive(&unique("tag-open")) => QueueDeclareOk);
    let others = |somebody: &Somebody| {
        let rows = somebody.api.get("/api/connections");
        rows.as_array().expect("rows").iter().any(|row| row["user"] == "guest")
    };
    until("guest's connection is shown", FIGURES, || others(&monitor));
    assert!(!others(&inside));
    let refused = inside.asks("DELETE", "/api/connections/username/guest", Value::Null);
    assert_eq!(refused.status, 401, "{}", refused.body);
    client.close();
    for somebody in [inside, outside, monitor, administrator] {
        somebody.delete();
    }
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
}
