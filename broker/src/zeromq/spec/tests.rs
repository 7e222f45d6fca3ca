use super::*;
use serde_json::json;

fn parsed(value: Value) -> Spec {
    Spec::parse(&value).expect("a socket")
}

fn refused(value: Value) -> String {
    Spec::parse(&value).expect_err("refused").to_string()
}

/// A socket with one field more, or another.
fn with(field: &str, value: Value) -> Value {
    let mut all = json!({"listen": "tcp://*:5555", "type": "pull", "queue": "jobs", "user": "feeder"});
    all[field] = value;
    all
}

#[test]
fn what_is_not_said_is_as_usual() {
    let spec = parsed(json!({"listen": "tcp://*:5555", "type": "pull", "queue": "jobs", "user": "feeder"}));
    let mechanism = Mechanism::Null {
        user: "feeder".into(),
        anywhere: false,
    };
    assert_eq!((spec.role, spec.mechanism), (Role::Pull, mechanism));
    assert_eq!(spec.target.route(), (&b""[..], &b"jobs"[..]));
    assert_eq!((spec.durable, spec.errors, spec.timeout), (false, false, None));
    assert_eq!((spec.hwm, spec.prefetch, spec.max_frames), (1000, 0, 64));
    assert_eq!((spec.max_message, spec.heartbeat), (None, None));
    let dealer = parsed(json!({"listen": "tcp://*:1", "type": "dealer", "queue": "rpc", "user": "u"}));
    assert_eq!(dealer.prefetch, 1);
}

#[test]
fn each_field_is_read() {
    let key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    let spec = parsed(json!({
        "listen": "tcp://127.0.0.1:0", "type": "pub", "exchange": "ticks", "mechanism": "curve",
        "curve-clients": {key: "reader"}, "hwm": 10, "max_message": 1000, "max-frames": 2, "heartbeat": 5,
    }));
    let Mechanism::Curve { clients } = &spec.mechanism else {
        panic!("{spec:?}")
    };
    assert_eq!(clients.values().collect::<Vec<_>>(), ["reader"]);
    assert_eq!(
        (spec.role, spec.hwm, spec.max_message, spec.max_frames),
        (Role::Xpub, 10, Some(1000), 2)
    );
    assert_eq!(spec.heartbeat, Some(Duration::from_secs(5)));
    let router = parsed(json!({
        "listen": "tcp://[::1]:7", "type": "router", "exchange": "x", "routing-key": "k", "mechanism": "plain",
        "timeout": 500, "errors": true, "durable": true,
    }));
    assert_eq!(router.target.route(), (&b"x"[..], &b"k"[..]));
    assert_eq!(
        (router.timeout, router.errors, router.durable),
        (Some(Duration::from_millis(500)), true, true)
    );
    assert_eq!(router.mechanism, Mechanism::Plain);
}

#[test]
fn what_is_wrong_is_named() {
    for (value, expected) in [
        (json!(3), "the value must be an object, actually was 3"),
        (
            with("prot", json!(1)),
            "field 'prot' is not known; known are anywhere, curve-clients, durable, errors, exchange, heartbeat, hwm, \
             listen, max-frames, max-message, mechanism, prefetch, queue, routing-key, timeout, type, user",
        ),
        (
            with("type", json!("pair")),
            "type 'pair' is not allowed; PAIR is for two sockets alone, not for a broker; it is one of pull, push, xsub, \
             sub, xpub, pub, router, dealer",
        ),
        (with("type", Value::Null), "field 'type' is missing"),
        (with("listen", Value::Null), "field 'listen' is missing"),
        (
            with("listen", json!("ipc:///tmp/x")),
            "listen 'ipc:///tmp/x' is not tcp://HOST:PORT, with an address, [::1] for one, or * for all of them as HOST",
        ),
        (
            with("replay", json!({})),
            "field 'replay' is not carried out by this version: subscribers get what comes from then on",
        ),
        (with("queue", Value::Null), "one of 'queue' and 'exchange' is missing"),
        (
            with("exchange", json!("x")),
            "there may be one of 'queue' and 'exchange', not both",
        ),
        (
            with("routing-key", json!("k")),
            "routing-key goes with 'exchange', not with 'queue'",
        ),
        (with("queue", json!("q".repeat(256))), "queue is longer than 255 bytes"),
        (with("queue", json!("")), "queue must have a name"),
        (
            with("user", Value::Null),
            "field 'user' is missing: with mechanism 'null' peers act as a user",
        ),
        (
            with("mechanism", json!("plain")),
            "user goes with mechanism 'null', not with 'plain'",
        ),
        (
            with("curve-clients", json!({})),
            "curve-clients goes with mechanism 'curve', not with 'null'",
        ),
        (
            with("anywhere", json!("yes")),
            "anywhere must be true or false, actually was \"yes\"",
        ),
        (
            with("max-frames", json!(0)),
            "max-frames must be a whole number from 1 to 65535, actually was 0",
        ),
        (
            with("max_message", json!(-1)),
            "max-message must be a whole number from 1 to 4294967295, actually was -1",
        ),
    ] {
        assert_eq!(refused(value), expected);
    }
    let twice = json!({"max-frames": 1, "max_frames": 1});
    assert!(refused(twice).ends_with("is given twice"));
    let curve = |clients: Value| {
        refused(json!({
            "listen": "tcp://*:1", "type": "push", "queue": "q", "mechanism": "curve", "curve-clients": clients,
        }))
    };
    assert_eq!(
        curve(json!({"short": "u"})),
        "curve-clients: 'short' is not a key: 40 characters in Z85"
    );
    assert_eq!(
        curve(Value::Null),
        "field 'curve-clients' is missing: public keys and their users"
    );
}
