//! Permissions: which right each method needs, and RabbitMQ's words for whoever lacks it.

use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, Method};
use serde_json::{Value, json};

/// The API as guest.
fn http() -> Http {
    Http::new(Broker::shared().http())
}

/// A user with the password `geheim`, as long as the test runs.
struct Tenant(String);

impl Tenant {
    fn new(what: &str, tags: &str) -> Self {
        let tenant = Self(unique(what));
        tenant.put("users", json!({"password": "geheim", "tags": tags}));
        tenant
    }

    fn put(&self, list: &str, body: Value) {
        let path = match list {
            "users" => format!("/api/users/{}", self.0),
            list => format!("/api/{list}/%2F/{}", self.0),
        };
        let answer = http().request("PUT", &path, Some(&body));
        assert!(matches!(answer.status, 201 | 204), "{path}: {}", answer.body);
    }

    fn permit(&self, [configure, write, read]: [&str; 3]) {
        self.put(
            "permissions",
            json!({"configure": configure, "write": write, "read": read}),
        );
    }

    fn log_in(&self) -> Client {
        let mut client = Client::raw(Broker::shared().amqp());
        client.start();
        client.send(0, start_ok("PLAIN", format!("\0{}\0geheim", self.0).as_bytes()));
        let tune = expect!(client, 0, ConnectionTune);
        client.accept(&tune);
        client
    }

    fn connect(&self) -> Client {
        let mut client = self.log_in();
        client.open("/");
        client.open_channel(1);
        client
    }

    fn delete(&self) {
        let path = format!("/api/users/{}", self.0);
        assert_eq!(http().request("DELETE", &path, None).status, 204);
    }
}

/// The names that an operation is about.
struct Names {
    /// A queue and an exchange that don't exist yet.
    new: String,
    queue: String,
    topic: String,
    direct: String,
}

impl Names {
    /// With all of them but `new` declared by somebody else.
    fn new() -> Self {
        let name = |what| unique(&format!("perm-{what}"));
        let (new, queue, topic, direct) = (name("new"), name("queue"), name("topic"), name("direct"));
        let mut client = Client::with_channel(Broker::shared().amqp());
        call!(client, 1, durable(&queue) => QueueDeclareOk);
        call!(client, 1, exchange(&topic, "topic") => ExchangeDeclareOk);
        call!(client, 1, exchange(&direct, "direct") => ExchangeDeclareOk);
        client.close();
        Self {
            new,
            queue,
            topic,
            direct,
        }
    }

    fn delete(&self) {
        let mut client = Client::with_channel(Broker::shared().amqp());
        for name in [&self.new, &self.queue] {
            call!(client, 1, delete(name) => QueueDeleteOk);
        }
        for name in [&self.new, &self.topic, &self.direct] {
            call!(client, 1, delete_exchange(name) => ExchangeDeleteOk);
        }
        client.close();
    }
}

/// A need: the right, the kind of object, and which one.
type Need = (&'static str, &'static str, fn(&Names) -> &str);
type Operation = fn(&mut Client, &Names);

const NEW: fn(&Names) -> &str = |names| &names.new;
const QUEUE: fn(&Names) -> &str = |names| &names.queue;
const TOPIC: fn(&Names) -> &str = |names| &names.topic;
const DIRECT: fn(&Names) -> &str = |names| &names.direct;
const DEFAULT: fn(&Names) -> &str = |_| "amq.default";

fn with<T: From<FieldTable>>(name: &str, value: &str) -> T {
    table([(name, value.into())])
}

fn publish_confirmed(client: &mut Client, exchange: &str, key: &str) {
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish(1, exchange, key, b"");
}

/// Every method that needs a right, with all that it needs in the order in which it is asked for.
const OPERATIONS: [(&str, &[Need], Operation); 19] = [
    (
        "exchange.declare",
        &[("configure", "exchange", NEW)],
        |client, names| {
            client.send(1, exchange(&names.new, "direct"));
        },
    ),
    (
        "exchange.declare that asks",
        &[("configure", "exchange", TOPIC)],
        |client, names| {
            client.send(1, passive_exchange(&names.topic));
        },
    ),
    (
        "exchange.declare with an alternate",
        &[
            ("configure", "exchange", NEW),
            ("read", "exchange", NEW),
            ("write", "exchange", DIRECT),
        ],
        |client, names| {
            let arguments = with("alternate-exchange", &names.direct);
            client.send(
                1,
                ExchangeDeclare {
                    arguments,
                    ..exchange(&names.new, "direct")
                },
            );
        },
    ),
    (
        "exchange.delete",
        &[("configure", "exchange", DIRECT)],
        |client, names| {
            client.send(1, delete_exchange(&names.direct));
        },
    ),
    (
        "exchange.bind",
        &[("write", "exchange", DIRECT), ("read", "exchange", TOPIC)],
        |client, names| client.send(1, bind_exchange(&names.direct, &names.topic, "a")),
    ),
    (
        "exchange.unbind",
        &[("write", "exchange", DIRECT), ("read", "exchange", TOPIC)],
        |client, names| client.send(1, unbind_exchange(&names.direct, &names.topic, "a")),
    ),
    ("queue.declare", &[("configure", "queue", NEW)], |client, names| {
        client.send(1, durable(&names.new));
    }),
    (
        "queue.declare of what is there",
        &[("configure", "queue", QUEUE)],
        |client, names| {
            client.send(1, durable(&names.queue));
        },
    ),
    (
        "queue.declare that asks",
        &[("configure", "queue", QUEUE)],
        |client, names| {
            client.send(1, passive(&names.queue));
        },
    ),
    (
        "queue.declare with a dead-letter exchange",
        &[
            ("configure", "queue", NEW),
            ("read", "queue", NEW),
            ("write", "exchange", DIRECT),
        ],
        |client, names| {
            let arguments = with("x-dead-letter-exchange", &names.direct);
            client.send(
                1,
                QueueDeclare {
                    arguments,
                    ..durable(&names.new)
                },
            );
        },
    ),
    (
        "queue.bind",
        &[("write", "queue", QUEUE), ("read", "exchange", TOPIC)],
        |client, names| client.send(1, bind(&names.queue, &names.topic, "a")),
    ),
    (
        "queue.unbind",
        &[("write", "queue", QUEUE), ("read", "exchange", TOPIC)],
        |client, names| client.send(1, unbind(&names.queue, &names.topic, "a")),
    ),
    ("queue.purge", &[("read", "queue", QUEUE)], |client, names| {
        client.send(1, purge(&names.queue));
    }),
    ("queue.delete", &[("configure", "queue", QUEUE)], |client, names| {
        client.send(1, delete(&names.queue));
    }),
    ("basic.consume", &[("read", "queue", QUEUE)], |client, names| {
        client.send(1, consume(&names.queue, "c"));
    }),
    ("basic.get", &[("read", "queue", QUEUE)], |client, names| {
        client.send(1, get(&names.queue));
    }),
    ("basic.publish", &[("write", "exchange", TOPIC)], |client, names| {
        publish_confirmed(client, &names.topic, "a");
    }),
    (
        "basic.publish by the default exchange",
        &[("write", "exchange", DEFAULT)],
        |client, names| {
            publish_confirmed(client, "", &names.queue);
        },
    ),
    (
        "basic.publish in a transaction",
        &[("write", "exchange", DIRECT)],
        |client, names| {
            call!(client, 1, TxSelect::default() => TxSelectOk);
            client.publish(1, &names.direct, "a", b"");
            client.send(1, TxCommit::default());
        },
    ),
];

/// Patterns for exactly these needs.
fn patterns(needs: &[&Need], names: &Names) -> [String; 3] {
    ["configure", "write", "read"].map(|right| {
        let of_right = needs.iter().filter(|need| need.0 == right);
        let objects: Vec<String> = of_right.map(|need| (need.2)(names).replace('.', "\\.")).collect();
        if objects.is_empty() {
            String::new()
        } else {
            format!("^({})$", objects.join("|"))
        }
    })
}

#[test]
fn each_method_needs_its_rights_and_no_other() {
    let tenant = Tenant::new("perm-each", "");
    let user = &tenant.0;
    for (what, needs, operation) in OPERATIONS {
        let permit = |names: &Names, needs: &[&Need]| {
            let patterns = patterns(needs, names);
            tenant.permit(patterns.each_ref().map(String::as_str));
        };
        for missing in needs {
            let names = Names::new();
            // One object may be needed for two rights: each is taken away alone.
            let others: Vec<&Need> = needs
                .iter()
                .filter(|need| (need.0, need.2(&names)) != (missing.0, missing.2(&names)))
                .collect();
            permit(&names, &others);
            let mut client = tenant.connect();
            operation(&mut client, &names);
            let (right, kind, name) = (missing.0, missing.1, missing.2(&names));
            let text =
                format!("ACCESS_REFUSED - {right} access to {kind} '{name}' in vhost '/' refused for user '{user}'");
            let close = expect!(client, 1, ChannelClose);
            let told = close.reply_text.to_str_lossy().into_owned();
            assert_eq!((close.reply_code, told), (403, text), "{what} without {right}");
            client.send(1, ChannelCloseOk::default());
            client.close();
            names.delete();
        }
        let names = Names::new();
        permit(&names, &needs.iter().collect::<Vec<_>>());
        let mut client = tenant.connect();
        operation(&mut client, &names);
        let answer = client.method(1);
        assert!(!matches!(answer, Method::ChannelClose(_)), "{what}: {answer:?}");
        client.close();
        names.delete();
    }
    tenant.delete();
}

#[test]
fn other_methods_need_no_right_in_the_vhost() {
    let tenant = Tenant::new("perm-other", "");
    tenant.permit(["", "", ""]);
    let mut client = tenant.connect();
    call!(client, 1, prefetch(5) => BasicQosOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.open_channel(2);
    call!(client, 2, TxSelect::default() => TxSelectOk);
    call!(client, 2, TxCommit::default() => TxCommitOk);
    call!(client, 2, TxRollback::default() => TxRollbackOk);
    client.send(1, declare(""));
    let close = expect!(client, 1, ChannelClose);
    let told = close.reply_text.to_str_lossy();
    assert!(
        told.starts_with("ACCESS_REFUSED - configure access to queue 'amq.gen-"),
        "{told}"
    );
    client.send(1, ChannelCloseOk::default());
    client.close();
    tenant.delete();
}

#[test]
fn any_right_is_enough_to_ask_whether_something_is_there() {
    let (tenant, names) = (Tenant::new("perm-passive", ""), Names::new());
    for at in 0..3 {
        let mut patterns = ["", "", ""];
        patterns[at] = "perm-";
        tenant.permit(patterns);
        let mut client = tenant.connect();
        call!(client, 1, passive(&names.queue) => QueueDeclareOk);
        call!(client, 1, passive_exchange(&names.topic) => ExchangeDeclareOk);
        client.close();
    }
    names.delete();
    tenant.delete();
}

#[test]
fn a_vhost_is_entered_with_a_permission_there_only() {
    let tenant = Tenant::new("perm-vhost", "administrator");
    let mut client = tenant.log_in();
    client.send(0, open("/"));
    let user = &tenant.0;
    client.connection_error(
        530,
        &format!("NOT_ALLOWED - access to vhost '/' refused for user '{user}'"),
    );
    tenant.permit(["", "", ""]);
    tenant.connect().close();
    tenant.delete();
}

#[test]
fn keys_of_a_topic_exchange_are_permitted_by_pattern() {
    let (tenant, names) = (Tenant::new("perm-topic", ""), Names::new());
    let (user, exchange) = (&tenant.0, &names.topic);
    tenant.permit([".*", ".*", ".*"]);
    let refused = |client: &mut Client, right: &str, key: &str| {
        let text = format!(
            "ACCESS_REFUSED - {right} access to topic '{key}' in exchange '{exchange}' in vhost '/' refused for user '{user}'"
        );
        client.channel_error(1, 403, &text);
        client.open_channel(1);
    };
    let topic = json!({"exchange": exchange, "write": "^{username}\\.", "read": "^(r|{vhost})"});
    tenant.put("topic-permissions", topic);
    let mut client = tenant.connect();
    let allowed = format!("{user}.a");
    for key in [&allowed, &allowed] {
        publish_confirmed(&mut client, exchange, key);
        expect!(client, 1, BasicAck);
    }
    client.publish(1, exchange, "a", b"");
    refused(&mut client, "write", "a");
    let carbon_copy = BasicProperties {
        headers: Some(table([("CC", FieldValue::Array(vec!["other".into()]))])),
        ..BasicProperties::default()
    };
    client.publish_with(1, publish(exchange, &allowed), &properties(&carbon_copy), b"");
    refused(&mut client, "write", "other");
    call!(client, 1, bind(&names.queue, exchange, "r.#") => QueueBindOk);
    call!(client, 1, bind(&names.queue, exchange, "/") => QueueBindOk);
    client.send(1, bind(&names.queue, exchange, "a"));
    refused(&mut client, "read", "a");
    client.send(1, unbind(&names.queue, exchange, "a"));
    refused(&mut client, "read", "a");
    // Other exchanges, and those of other types, are not concerned.
    publish_confirmed(&mut client, &names.direct, "a");
    expect!(client, 1, BasicAck);
    tenant.put(
        "topic-permissions",
        json!({"exchange": names.direct, "write": "", "read": ""}),
    );
    publish_confirmed(&mut client, &names.direct, "a");
    expect!(client, 1, BasicAck);
    client.close();

    tenant.put(
        "topic-permissions",
        json!({"exchange": exchange, "write": "", "read": "^{client_id}$"}),
    );
    let mut client = tenant.connect();
    publish_confirmed(&mut client, exchange, "");
    expect!(client, 1, BasicAck);
    client.publish(1, exchange, "a", b"");
    refused(&mut client, "write", "a");
    call!(client, 1, bind(&names.queue, exchange, "{client_id}") => QueueBindOk);
    client.close();
    names.delete();
    tenant.delete();
}

#[test]
fn another_name_in_a_message_needs_a_tag() {
    let (tenant, names) = (Tenant::new("perm-user-id", ""), Names::new());
    tenant.permit([".*", ".*", ".*"]);
    let of_guest = properties(&BasicProperties {
        user_id: Some(short("guest")),
        ..BasicProperties::default()
    });
    let mut client = tenant.connect();
    client.publish_with(1, publish("", &names.queue), &of_guest, b"");
    let user = &tenant.0;
    let text = format!("PRECONDITION_FAILED - user_id property set to 'guest' but authenticated user was '{user}'");
    client.channel_error(1, 406, &text);
    client.close();
    tenant.put("users", json!({"password": "geheim", "tags": "impersonator"}));
    let mut client = tenant.connect();
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_with(1, publish("", &names.queue), &of_guest, b"");
    expect!(client, 1, BasicAck);
    client.close();
    names.delete();
    tenant.delete();
}

#[test]
fn a_change_holds_for_connections_that_are_open() {
    let (tenant, names) = (Tenant::new("perm-change", ""), Names::new());
    tenant.permit([".*", ".*", ".*"]);
    let mut client = tenant.connect();
    publish_confirmed(&mut client, &names.topic, "a");
    expect!(client, 1, BasicAck);
    tenant.permit([".*", "^other", ".*"]);
    if Broker::shared().is_external() {
        // RabbitMQ remembers what it has allowed, for a while.
        return;
    }
    let user = &tenant.0;
    let topic = &names.topic;
    client.publish(1, topic, "a", b"");
    let text = format!("ACCESS_REFUSED - write access to exchange '{topic}' in vhost '/' refused for user '{user}'");
    client.channel_error(1, 403, &text);
    client.open_channel(1);
    call!(client, 1, passive(&names.queue) => QueueDeclareOk);
    let path = format!("/api/permissions/%2F/{user}");
    assert_eq!(http().request("DELETE", &path, None).status, 204);
    client.send(1, get(&names.queue));
    let queue = &names.queue;
    let text = format!("ACCESS_REFUSED - read access to queue '{queue}' in vhost '/' refused for user '{user}'");
    client.channel_error(1, 403, &text);
    client.close();
    names.delete();
    tenant.delete();
}

#[test]
fn the_connections_of_a_deleted_user_are_closed() {
    let tenant = Tenant::new("perm-deleted", "");
    tenant.permit([".*", ".*", ".*"]);
    let mut client = tenant.connect();
    let begin = Instant::now();
    tenant.delete();
    client.connection_error(320, &format!("CONNECTION_FORCED - user '{}' is deleted", tenant.0));
    assert!(begin.elapsed() < Duration::from_secs(2));
    let mut client = Client::raw(Broker::shared().amqp());
    client.start();
    client.send(0, start_ok("PLAIN", format!("\0{}\0geheim", tenant.0).as_bytes()));
    client.refusal(
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN",
    );
    assert_eq!(
        Http::with_credentials(Broker::shared().http(), &tenant.0, "geheim")
            .request("GET", "/api/whoami", None)
            .status,
        401
    );
}

#[test]
fn a_user_has_so_many_connections_and_channels() {
    let tenant = Tenant::new("perm-limits", "");
    let user = &tenant.0;
    tenant.permit(["", "", ""]);
    let limit = |name: &str, most: i64| {
        let path = format!("/api/user-limits/{user}/{name}");
        let answer = http().request("PUT", &path, Some(&json!({"value": most})));
        assert_eq!(answer.status, 204, "{}", answer.body);
    };
    limit("max-connections", 1);
    limit("max-channels", 2);
    let mut client = tenant.connect();
    let mut second = tenant.log_in();
    second.send(0, open("/"));
    let text = format!("NOT_ALLOWED - connection refused for user '{user}': user connection limit (1) is reached");
    second.connection_error(530, &text);
    client.open_channel(2);
    client.send(3, ChannelOpen::default());
    let text = format!(
        "NOT_ALLOWED - number of channels opened for user '{user}' has reached the maximum allowed user limit of 2"
    );
    client.connection_error(530, &text);
    limit("max-connections", -1);
    let mut both = [tenant.connect(), tenant.connect()];
    limit("max-channels", 3);
    both.iter_mut().take(1).for_each(|client| client.open_channel(2));
    both.into_iter().for_each(Client::close);
    tenant.delete();
}
