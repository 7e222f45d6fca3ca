//! Logins by token: an identity provider of the test's own signs them, and serves its keys.
//!
//! In: tokens, right ones and each that must not be taken. Out: who gets in, with which rights, for how long, and what
//! is said to whom. Texts are those of a RabbitMQ 4.3.6.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::http::Http;
use harness::issuer::{Answer, Issuer, Key, claims, now, set, unsigned, with_secret};
use harness::requests::{consume, declare, open, start_ok};
use harness::scripted_client::short;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::{ConnectionTuneOk, ConnectionUpdateSecret};
use serde_json::{Value, json};

const REFUSED: &str =
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
/// Time in which something that is to happen at once has happened.
const SOON: Duration = Duration::from_secs(10);

fn broker(issuer: &Issuer, extra: &[&str]) -> Broker {
    let settings = issuer.settings();
    let arguments: Vec<&str> = settings
        .iter()
        .map(String::as_str)
        .chain(extra.iter().copied())
        .collect();
    let broker = Broker::start_with(&arguments);
    until("the keys are read", SOON, || {
        broker.stderr().contains("signing keys were read")
    });
    broker
}

/// A connection on which a token was sent in the place of a password.
fn begun(address: SocketAddr, token: &str) -> Client {
    let mut client = Client::raw(address);
    client.start();
    client.send(0, start_ok("PLAIN", format!("\0whoever\0{token}").as_bytes()));
    client
}

/// A connection that a token has opened, with channel 1.
fn opened(address: SocketAddr, token: &str) -> Client {
    let mut client = begun(address, token);
    let tune = expect!(client, 0, ConnectionTune);
    client.accept(&tune);
    client.open("/");
    client.open_channel(1);
    client
}

fn update(client: &mut Client, token: &str) {
    let new_secret = token.as_bytes().to_vec().into();
    let reason = short("r");
    client.send(0, ConnectionUpdateSecret { new_secret, reason });
}

#[test]
fn a_token_is_a_login_and_its_scopes_are_its_rights() {
    let issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let scope = "rabbitmq.read:*/q* rabbitmq.write:*/q* rabbitmq.configure:%2F/q* rabbitmq.write:*/amq.default \
                 rabbitmq.write:*/amq.topic/a.* rabbitmq.tag:management other.configure:*/*";
    let token = issuer.key().token(&claims("someone", scope, 600));
    let mut client = opened(broker.amqp(), &token);
    call!(client, 1, declare("q1") => QueueDeclareOk);
    client.publish(1, "", "q1", b"x");
    client.publish(1, "amq.topic", "a.b", b"x");
    until("the message is there", SOON, || client.get(1, "q1", true).is_some());
    client.publish(1, "amq.topic", "b.a", b"x");
    let text =
        "ACCESS_REFUSED - write access to topic 'b.a' in exchange 'amq.topic' in vhost '/' refused for user 'someone'";
    client.channel_error(1, 403, text);
    client.open_channel(2);
    client.send(2, declare("zzz"));
    client.channel_error(
        2,
        403,
        "ACCESS_REFUSED - configure access to queue 'zzz' in vhost '/' refused for user 'someone'",
    );
    // As in RabbitMQ, a scope without a routing key is no right to publish with one.
    let two_parts = issuer.key().token(&claims("u", "rabbitmq.write:*/*", 600));
    let mut other = opened(broker.amqp(), &two_parts);
    other.publish(1, "amq.topic", "a.b", b"x");
    let text = "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'amq.topic' in vhost '/' refused for user 'u'";
    other.channel_error(1, 403, text);
    let elsewhere = issuer.key().token(&claims("u", "rabbitmq.read:other/*", 600));
    let mut nowhere = begun(broker.amqp(), &elsewhere);
    let tune = expect!(nowhere, 0, ConnectionTune);
    nowhere.accept(&tune);
    nowhere.send(0, open("/"));
    nowhere.connection_error(530, "NOT_ALLOWED - access to vhost '/' refused for user 'u'");
    // Over HTTP in either form; the name before a token doesn't matter.
    let who = json!({"name": "someone", "tags": ["management"], "is_internal_user": false});
    for http in [
        Http::with_token(broker.http(), &token),
        Http::with_credentials(broker.http(), "guest", &token),
    ] {
        assert_eq!(http.get("/api/whoami"), who);
        assert_eq!(http.get("/api/vhosts?columns=name"), json!([{"name": "/"}]));
        assert_eq!(http.request("GET", "/api/users", None).status, 401);
    }
    let plain = Http::with_token(broker.http(), &two_parts).request("GET", "/api/whoami", None);
    let not_management = json!({"error": "not_authorised", "reason": "Not management user"});
    assert_eq!((plain.status, plain.json()), (401, not_management));
    let seen = Http::new(broker.http()).get("/api/connections?columns=user,auth_mechanism");
    assert!(
        seen.as_array()
            .expect("rows")
            .contains(&json!({"user": "someone", "auth_mechanism": "PLAIN"})),
        "{seen}"
    );
    assert_eq!(Http::new(broker.http()).get("/api/whoami")["is_internal_user"], true);
}

#[test]
fn a_token_that_must_not_be_taken_is_refused_as_a_wrong_password_is() {
    let issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let key = issuer.key();
    let right = claims("intruder", "rabbitmq.read:*/* rabbitmq.tag:administrator", 600);
    let with = |name: &str, value: Value| {
        let mut claims = right.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = right.clone();
        claims.as_object_mut().expect("a map").remove(name);
        claims
    };
    let header = |algorithm: &str| json!({"alg": algorithm, "kid": "1", "typ": "JWT"});
    let public = BASE64_URL_SAFE_NO_PAD
        .decode(key.public()["x"].as_str().expect("a key"))
        .expect("a key");
    let whole = key.token(&right);
    let (start, _) = whole.rsplit_once('.').expect("a token");
    let stranger = Key::new("1");
    let swapped = format!(
        "{}.{}",
        unsigned(&header("ES256"), &with("sub", json!("guest"))),
        whole.rsplit('.').next().expect("a signature")
    );
    let attacks = [
        ("expired", key.token(&with("exp", json!(now() - 1)))),
        ("without an end", key.token(&without("exp"))),
        ("with an end that is no number", key.token(&with("exp", json!("never")))),
        ("not valid yet", key.token(&with("nbf", json!(now() + 600)))),
        ("unsigned", format!("{start}.")),
        ("none", format!("{}.", unsigned(&header("none"), &right))),
        ("none, signed", key.sign(&header("none"), &right)),
        (
            "HS256 with the public key",
            with_secret(&public, &header("HS256"), &right),
        ),
        (
            "HS256 with the set of keys",
            with_secret(set(&[key]).as_bytes(), &header("HS256"), &right),
        ),
        ("RS256 by a key of a curve", key.sign(&header("RS256"), &right)),
        (
            "of another issuer, with the id of the right key",
            stranger.token(&right),
        ),
        (
            "of another issuer by name",
            key.token(&with("iss", json!("https://elsewhere.example"))),
        ),
        ("of no issuer", key.token(&without("iss"))),
        ("by a key that nobody knows", Key::new("7").token(&right)),
        ("for others", key.token(&with("aud", json!(["other", "rabbitmq2"])))),
        ("for nobody", key.token(&without("aud"))),
        (
            "with critical extensions",
            key.sign(&json!({"alg": "ES256", "kid": "1", "crit": ["x"], "x": 1}), &right),
        ),
        ("with other claims than were signed", swapped),
        ("encrypted", format!("{whole}.x.y")),
        ("none at all", "not.a.token".to_owned()),
    ];
    let body = json!({"error": "not_authorized", "reason": "Not_Authorized"});
    for (what, token) in &attacks {
        begun(broker.amqp(), token).connection_error(403, REFUSED);
        for http in [
            Http::with_token(broker.http(), token),
            Http::with_credentials(broker.http(), "guest", token),
        ] {
            let answer = http.request("GET", "/api/whoami", None);
            assert_eq!((answer.status, answer.json()), (401, body.clone()), "{what}");
        }
    }
    // One that is larger than any: the frame is refused by its size, and the head of the request.
    let huge = key.token(&with("more", json!("x".repeat(100_000))));
    let answer = Http::with_token(broker.http(), &huge).try_request("GET", "/api/whoami", None);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 431));
    assert!(matches!(begun(broker.amqp(), &huge).frame(), None | Some(_)));
    // The right one is right still, and nothing of the others is anywhere.
    drop(opened(broker.amqp(), &key.token(&right)));
    let log = broker.stderr();
    assert!(
        log.contains("Authentication using an OAuth 2/JWT token failed: signature_invalid"),
        "{log}"
    );
    assert!(log.contains("Provided JWT token has expired at timestamp"), "{log}");
    let metrics = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
    for (what, token) in &attacks {
        for part in token.split('.').filter(|part| part.len() > 12) {
            assert!(!log.contains(part) && !metrics.contains(part), "{what}");
        }
    }
    assert!(!metrics.contains("intruder"));
    let attempts = Http::new(broker.http()).get("/api/auth/attempts/leveret@localhost/source");
    let failed: u64 = attempts
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["auth_attempts_failed"].as_u64())
        .sum();
    assert!(failed >= 3 * (attacks.len() as u64), "{attempts}");
}

#[test]
fn a_connection_ends_with_its_token_unless_that_is_renewed() {
    let issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let token = |user: &str, scope: &str, seconds| issuer.key().token(&claims(user, scope, seconds));
    let all = "rabbitmq.read:*/* rabbitmq.write:*/* rabbitmq.configure:*/*";
    let (mut ends, mut lasts) = (
        opened(broker.amqp(), &token("u", all, 5)),
        opened(broker.amqp(), &token("u", all, 5)),
    );
    update(&mut lasts, &token("u", all, 600));
    expect!(lasts, 0, ConnectionUpdateSecretOk);
    let began = Instant::now();
    ends.connection_error(320, "CONNECTION_FORCED - credential expired");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    thread::sleep(Duration::from_secs(6).saturating_sub(began.elapsed()));
    call!(lasts, 1, declare("renewed") => QueueDeclareOk);
    // A shorter one counts as well.
    update(&mut lasts, &token("u", all, 4));
    expect!(lasts, 0, ConnectionUpdateSecretOk);
    lasts.connection_error(320, "CONNECTION_FORCED - credential expired");
    let refused = "NOT_ALLOWED - New secret was refused by one of the backends";
    for (newer, text) in [
        (token("another", all, 600), refused),
        (Key::new("1").token(&claims("u", all, 600)), refused),
        ("nonsense".to_owned(), "NOT_ALLOWED - Secret update failed"),
        (
            token("u", "rabbitmq.read:other/*", 600),
            "NOT_ALLOWED - access to vhost '/' refused for user 'u'",
        ),
    ] {
        let mut client = opened(broker.amqp(), &token("u", all, 600));
        update(&mut client, &newer);
        client.connection_error(530, text);
    }
    let mut client = opened(broker.amqp(), &token("u", all, 600));
    update(&mut client, &issuer.key().token(&claims("u", all, 0)));
    let close = client.connection_close(530);
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'u', backend rabbit_auth_backend_oauth2 returned an error: \
                \"Provided JWT token has expired at timestamp ";
    assert!(close.reply_text.to_str_lossy().starts_with(text), "{close:?}");
    // Whoever has logged in by password is in no need of it.
    let mut guest = Client::connect(broker.amqp());
    update(&mut guest, "guest");
    expect!(guest, 0, ConnectionUpdateSecretOk);
}

#[test]
fn a_newer_token_counts_at_once_on_open_channels() {
    let issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let token = |scope: &str| issuer.key().token(&claims("u", scope, 600));
    let all = "rabbitmq.read:*/* rabbitmq.write:*/* rabbitmq.configure:*/*";
    let mut client = opened(broker.amqp(), &token(all));
    client.open_channel(2);
    call!(client, 1, declare("lost") => QueueDeclareOk);
    call!(client, 1, declare("kept") => QueueDeclareOk);
    call!(client, 1, consume("lost", "to-lose") => BasicConsumeOk);
    call!(client, 1, consume("kept", "to-keep") => BasicConsumeOk);
    client.publish(2, "", "kept", b"1");
    assert_eq!(&client.delivery(1).body[..], b"1");
    update(&mut client, &token("rabbitmq.read:*/kept rabbitmq.write:*/amq.default"));
    // RabbitMQ cancels what may not be read any more, too.
    let cancelled = expect!(client, 1, BasicCancel);
    assert_eq!(
        (cancelled.consumer_tag.to_str_lossy().as_ref(), cancelled.no_wait),
        ("to-lose", true)
    );
    expect!(client, 0, ConnectionUpdateSecretOk);
    client.publish(2, "", "kept", b"2");
    assert_eq!(&client.delivery(1).body[..], b"2");
    update(&mut client, &token("rabbitmq.read:*/kept"));
    expect!(client, 0, ConnectionUpdateSecretOk);
    // It was allowed a moment ago, and the route is known.
    client.publish(2, "", "kept", b"3");
    let text = "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'u'";
    client.channel_error(2, 403, text);
}

#[test]
fn keys_that_cannot_be_had_keep_out_nobody_with_a_password() {
    let issuer = Issuer::start();
    issuer.answer(Answer::Body("x".repeat(2 << 20)));
    let settings = issuer.settings();
    let arguments: Vec<&str> = settings.iter().map(String::as_str).collect();
    let broker = Broker::start_with(&arguments);
    let told = |words: &str| {
        until(words, Duration::from_secs(30), || broker.stderr().contains(words));
        let began = Instant::now();
        drop(Client::connect(broker.amqp()));
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "a password takes as long as ever"
        );
    };
    told("signing keys can't be read");
    told("length limit exceeded");
    let token = issuer.key().token(&claims("u", "rabbitmq.read:*/*", 600));
    begun(broker.amqp(), &token).connection_error(403, REFUSED);
    issuer.answer(Answer::Silence(Duration::from_secs(20)));
    told("no answer within 5 s");
    issuer.answer(Answer::Body(set(&[issuer.key()])));
    told("signing keys were read");
    drop(opened(broker.amqp(), &token));
}

#[test]
fn keys_come_and_go_with_those_who_sign() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, first, second) = (folder.path().join("keys"), Key::new("1"), Key::new("2"));
    let put = |keys: &[&Key]| {
        let newer = folder.path().join("newer");
        std::fs::write(&newer, set(keys)).expect("written");
        std::fs::rename(&newer, &path).expect("renamed");
    };
    put(&[&first]);
    let file = format!("--auth-oauth2=jwks_file={}", path.display());
    let broker = Broker::start_with(&[
        "--auth-backends=oauth2,internal",
        "--auth-oauth2=resource_server_id=rabbitmq",
        &file,
    ]);
    let gets_in = |key: &Key| {
        let token = key.token(&claims("u", "rabbitmq.tag:management", 600));
        Http::with_token(broker.http(), &token)
            .request("GET", "/api/whoami", None)
            .status
            == 200
    };
    until("the first key", SOON, || gets_in(&first));
    put(&[&first, &second]);
    until("the second key", SOON, || gets_in(&second));
    assert!(gets_in(&first));
    // A token that was taken a moment ago is none any more.
    put(&[&second]);
    until("the first key has gone", SOON, || !gets_in(&first));
    assert!(gets_in(&second));
}

#[test]
fn keys_that_nobody_knows_cause_no_storm_of_requests() {
    let mut issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let (before, began) = (issuer.asked(), Instant::now());
    let address = broker.amqp();
    thread::scope(|scope| {
        for attacker in 0..4 {
            scope.spawn(move || {
                for number in 0..12 {
                    let token = Key::new(&format!("{attacker}-{number}")).token(&claims("u", "", 600));
                    begun(address, &token).connection_error(403, REFUSED);
                }
            });
        }
    });
    let asked = issuer.asked() - before;
    let most = 1 + began.elapsed().as_secs() as usize / 10;
    assert!(asked <= most, "48 tokens, and {asked} requests, more than {most}");
    // A key that is new is had, a little later.
    issuer.rotate("2");
    let token = issuer.key().token(&claims("u", "rabbitmq.tag:management", 600));
    until("the new key", Duration::from_secs(30), || {
        thread::sleep(Duration::from_secs(1));
        Http::with_token(broker.http(), &token)
            .request("GET", "/api/whoami", None)
            .status
            == 200
    });
}

#[test]
fn failed_tokens_slow_down_where_they_come_from() {
    let issuer = Issuer::start();
    let broker = broker(&issuer, &[]);
    let token = issuer.key().token(&claims("u", "", 0));
    let http = Http::with_token(broker.http(), &token);
    let began = Instant::now();
    for _ in 0..60 {
        let status = http.request("GET", "/api/whoami", None).status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    assert!(
        began.elapsed() > Duration::from_millis(500),
        "ten a second beyond fifty: {:?}",
        began.elapsed()
    );
    assert!(broker.stderr().contains("many logins from this address have failed"));
}

#[test]
fn two_issuers_are_told_apart_by_whom_their_tokens_are_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (company, cluster) = (Key::new("1"), Key::new("1"));
    let file = |name: &str, key: &Key| {
        std::fs::write(folder.path().join(name), set(&[key])).expect("written");
        folder.path().join(name).display().to_string()
    };
    let settings = [
        "resource_servers.rabbitmq.oauth_provider_id=company".to_owned(),
        "resource_servers.rabbitmq.preferred_username_claims.1=email".to_owned(),
        "resource_servers.pods.oauth_provider_id=cluster".to_owned(),
        "resource_servers.pods.authz=internal".to_owned(),
        format!("oauth_providers.company.jwks_file={}", file("company", &company)),
        format!("oauth_providers.cluster.jwks_file={}", file("cluster", &cluster)),
    ];
    let settings: Vec<String> = settings
        .into_iter()
        .map(|line| format!("--auth-oauth2={line}"))
        .collect();
    let arguments: Vec<&str> = ["--auth-backends=internal,oauth2"]
        .into_iter()
        .chain(settings.iter().map(String::as_str))
        .collect();
    let broker = Broker::start_with(&arguments);
    let whoami = |key: &Key, audience: &str| {
        let mut claims = claims("system:serviceaccount:shop:orders", "rabbitmq.tag:management", 600);
        claims["aud"] = json!(audience);
        claims["email"] = json!("ann@example.com");
        let answer = Http::with_token(broker.http(), &key.token(&claims)).request("GET", "/api/whoami", None);
        (answer.status, answer.json()["name"].as_str().map(str::to_owned))
    };
    until("the keys are read", SOON, || {
        broker.stderr().matches("signing keys were read").count() == 2
    });
    assert_eq!(whoami(&company, "rabbitmq"), (200, Some("ann@example.com".to_owned())));
    assert_eq!(whoami(&company, "pods").0, 401, "its keys are no keys of the cluster's");
    assert_eq!(whoami(&cluster, "rabbitmq").0, 401);
    assert_eq!(whoami(&cluster, "pods").0, 401, "there is no user of that name");
    assert_eq!(whoami(&cluster, "pods rabbitmq").0, 401, "for both is for none");
    let user = "/api/users/system:serviceaccount:shop:orders";
    let put = Http::new(broker.http()).request("PUT", user, Some(&json!({"password_hash": "", "tags": "monitoring"})));
    assert_eq!(put.status, 201, "{}", put.body);
    assert_eq!(
        whoami(&cluster, "pods"),
        (200, Some("system:serviceaccount:shop:orders".to_owned()))
    );
    assert_eq!(whoami(&company, "pods").0, 401);
}

#[test]
fn tune_is_answered_by_who_has_a_token_only() {
    // Without settings of tokens, one is a password like any other.
    let broker = Broker::start();
    let token = Key::new("1").token(&claims("guest", "rabbitmq.read:*/*", 600));
    let mut client = begun(broker.amqp(), &token);
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 9,
            frame_max: 131_072,
            heartbeat: 0,
        },
    );
    client.connection_error(403, REFUSED);
    assert_eq!(
        Http::with_token(broker.http(), &token)
            .request("GET", "/api/whoami", None)
            .status,
        401
    );
}
