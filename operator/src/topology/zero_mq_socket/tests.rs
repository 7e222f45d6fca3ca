use super::*;

/// libzmq's test keys.
const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

fn name() -> Name {
    Name::new("/", "in.1")
}

fn spec(spec: Value) -> ZeroMqSocketSpec {
    let mut spec = spec;
    spec["brokerRef"] = json!({"name": "main"});
    serde_json::from_value(spec).expect("a spec")
}

fn wanted(given: Value) -> ZeroMqSocketDefinition {
    ZeroMqSocketDefinition::wanted(&spec(given)).expect("a definition")
}

fn found(value: Value, state: Option<Value>) -> ZeroMqSocketDefinition {
    let mut rows = vec![json!({"component": COMPONENT, "vhost": "/", "name": "in.1", "value": value})];
    rows.extend(state);
    let mut all = BTreeMap::new();
    for row in rows {
        ZeroMqSocketDefinition::take(serde_json::from_value(row).expect("a row"), &mut all);
    }
    all.remove(&name()).expect("the socket")
}

fn lines(requests: &[Request]) -> Vec<String> {
    let line = |request: &Request| {
        let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
        format!("{:?} {} {body}", request.verb, request.path)
    };
    requests.iter().map(line).collect()
}

fn curve() -> Value {
    json!({"type": "pull", "port": 5555, "queue": "q", "mechanism": "Curve",
        "curve": {"clients": [{"publicKey": PUBLIC, "user": "till"}]}})
}

#[test]
fn a_parameter_as_the_broker_reads_it() {
    let full = wanted(json!({
        "type": "router", "port": 5555, "address": "::1", "exchange": "x", "routingKey": "k", "user": "guest",
        "anywhere": true, "durable": true, "hwm": 5, "timeout": "1m", "errors": true, "maxMessage": 4096,
        "maxFrames": 3, "heartbeat": "30s"
    }));
    let put = full.put(&name()).expect("a request");
    assert_eq!(put.path, "/api/parameters/zeromq-socket/%2F/in%2E1");
    let value = json!({
        "listen": "tcp://[::1]:5555", "type": "router", "exchange": "x", "routing-key": "k", "user": "guest",
        "anywhere": true, "durable": true, "hwm": 5, "timeout": 60000, "errors": true, "max-message": 4096,
        "max-frames": 3, "heartbeat": 30
    });
    assert_eq!(put.body, Some(json!({ "value": value })));
    let fan = wanted(json!({
        "type": "pub", "port": 5556, "exchange": "x", "user": "guest"
    }));
    let value = json!({
        "listen": "tcp://*:5556", "type": "xpub", "exchange": "x", "user": "guest"
    });
    assert_eq!(
        fan.put(&name()).and_then(|put| put.body),
        Some(json!({ "value": value }))
    );
}

#[test]
fn what_is_so_without_a_word_is_no_difference() {
    let dealer = wanted(json!({"type": "dealer", "port": 5555, "queue": "q", "user": "guest"}));
    let usual = found(
        json!({"listen": "tcp://*:5555", "type": "dealer", "queue": "q", "user": "guest", "mechanism": "null",
            "anywhere": false, "hwm": 1000, "prefetch": 1.0, "errors": false, "durable": false, "max-frames": 64,
            "heartbeat": 0, "exchange": null}),
        None,
    );
    assert_eq!(dealer.differences(&usual), [""; 0]);
    assert_eq!(dealer.puts(&name(), Some(&usual)), []);
    let fan = json!({"type": "pub", "port": 1, "exchange": "x", "user": "u", "maxFrames": 3});
    let stands = json!({"listen": "tcp://*:1", "type": "pub", "exchange": "x", "user": "u", "max_frames": 3});
    assert_eq!(wanted(fan).differences(&found(stands, None)), [""; 0]);
    let mut other = dealer.clone();
    other.value.insert(PREFETCH, &json!(7));
    assert_eq!(
        other.differences(&usual),
        ["prefetch is not set on the broker, wanted 7"]
    );
    assert_eq!(other.puts(&name(), Some(&usual)).len(), 1);
}

#[test]
fn the_key_goes_by_itself_and_after_the_parameter() {
    let mut socket = wanted(curve());
    assert!(socket.is_curve());
    socket.key = CurveKey::read(SECRET);
    let expected = [
        format!(
            "Put /api/parameters/zeromq-socket/%2F/in%2E1 {{\"value\":{{\"curve-clients\":{{\"{PUBLIC}\":\"till\"}},\
             \"listen\":\"tcp://*:5555\",\"mechanism\":\"curve\",\"queue\":\"q\",\"type\":\"pull\"}}}}"
        ),
        format!("Put /api/zeromq/keys/%2F/in%2E1 {{\"secret_key\":\"{SECRET}\"}}"),
    ];
    assert_eq!(lines(&socket.puts(&name(), None)), expected);
    let state = |key: &str| json!({"vhost": "/", "name": "in.1", "state": "running", "curve_server_key": key});
    let value: BTreeMap<String, Value> = socket.value.clone().into();
    let other = found(json!(value), Some(state("theirs")));
    let said = format!("its public key is theirs on the broker, wanted {PUBLIC}");
    assert_eq!(socket.differences(&other), [said]);
    assert_eq!(lines(&socket.puts(&name(), Some(&other))), expected[1..]);
    let same = found(json!(value), Some(state(PUBLIC)));
    assert_eq!(
        (socket.differences(&same), socket.puts(&name(), Some(&same))),
        (vec![], vec![])
    );
    // It was declared a moment ago, and the broker has not been asked yet.
    assert_eq!(socket.differences(&found(json!(value), None)), [""; 0]);
}

#[test]
fn users_come_by_their_resources() {
    let mut given = curve();
    given["curve"]["clients"][0] = json!({"publicKey": PUBLIC, "userRef": {"name": "till"}});
    let mut socket = wanted(given);
    assert_eq!(socket.referred().collect::<Vec<_>>(), ["till"]);
    socket.name_users(&[("till".to_owned(), "shop-till".to_owned())].into());
    assert_eq!(socket.acts(), BTreeSet::from(["shop-till".to_owned()]));
    let mut null = wanted(json!({"type": "pull", "port": 1, "queue": "q", "userRef": {"name": "till"}}));
    null.name_users(&[("till".to_owned(), "shop-till".to_owned())].into());
    assert_eq!(null.acts(), socket.acts());
    let needs: Vec<_> = null
        .demands()
        .needs
        .into_iter()
        .map(|need| need.target.to_string())
        .collect();
    assert_eq!(needs, ["user 'shop-till'"]);
}

#[test]
fn it_reaches_for_what_it_names() {
    let reaches = |given: Value| {
        let touches = wanted(given).reaches("shop");
        touches
            .iter()
            .map(|touch| format!("{touch:?}").chars().take_while(|c| *c != '(').collect())
            .collect::<Vec<String>>()
    };
    assert_eq!(
        reaches(json!({"type": "pull", "port": 1, "queue": "q", "user": "u"})),
        ["Name"]
    );
    assert_eq!(
        reaches(json!({"type": "xsub", "port": 1, "exchange": "x", "user": "u"})),
        ["Name"]
    );
    assert_eq!(
        reaches(json!({"type": "xpub", "port": 1, "exchange": "x", "user": "u"})),
        ["Source"]
    );
}

#[test]
fn what_stands_is_written_down_so_that_it_is_wanted_again() {
    for given in [
        json!({"type": "pull", "port": 5555, "queue": "q", "user": "guest", "durable": true, "maxMessage": 5}),
        json!({"type": "router", "port": 0, "address": "127.0.0.1", "exchange": "x", "routingKey": "k", "user": "u",
            "timeout": "1500ms", "heartbeat": "2m", "errors": true, "anywhere": true, "maxFrames": 2}),
        curve(),
        json!({"type": "xpub", "port": 1, "exchange": "x", "mechanism": "Plain", "hwm": 3}),
    ] {
        let socket = wanted(given);
        let again = wanted(Value::Object(socket.spec()));
        assert_eq!(again, socket);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |given: Value| ZeroMqSocketDefinition::wanted(&spec(given)).expect_err("refused");
    let pull = |field: &str, value: Value| {
        let mut given = json!({"type": "pull", "port": 1, "queue": "q", "user": "u"});
        given[field] = value;
        given
    };
    assert_eq!(
        refused(pull("address", json!("1.2.3"))),
        "address '1.2.3' is no IP address"
    );
    assert_eq!(
        refused(pull("heartbeat", json!("1500ms"))),
        "heartbeat is in whole seconds, not 1500ms"
    );
    let twice = json!({"publicKey": PUBLIC, "user": "u"});
    let mut given = curve();
    given["curve"]["clients"] = json!([twice, twice]);
    assert_eq!(refused(given), format!("two clients with public key {PUBLIC}"));
}

#[test]
fn sockets_of_settings_are_no_parameters() {
    let mut all = BTreeMap::new();
    let row = json!({"vhost": "/", "name": "set", "state": "running", "declared_by": "settings"});
    ZeroMqSocketDefinition::take(serde_json::from_value(row).expect("a row"), &mut all);
    assert!(all.is_empty());
}
