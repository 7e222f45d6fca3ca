//! The management API of a broker that answers as the test wants.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, Method as AskedBy, StatusCode as Status, Uri as Asked};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::broker::budget::Limits;

const LIMITS: Limits = Limits {
    answer: 1024 * 1024,
    memory: 16 * 1024 * 1024,
    remedy: "raise it",
};

fn manage(connection: &Connection) -> Management {
    let hosts = Arc::new(Hosts::any());
    Management::new(connection, &hosts, &Budget::new(LIMITS)).unwrap()
}

/// A management API that gives `answer` to whatever it is asked.
async fn says(status: Status, answer: String) -> Management {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move || async move { (status, answer) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    manage(&at(address))
}

fn at(address: SocketAddr) -> Connection {
    Connection {
        amqp_uri: String::new(),
        management_uri: format!("http://{address}"),
        user: "guest".to_owned(),
        password: "guest".to_owned(),
        ca: None,
        identity: None,
        via: Via::Address,
    }
}

/// A management API that answers each path by the status in its last segment, and keeps what it was asked.
async fn api() -> (Management, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let answer = move |method: AskedBy, target: Asked, body: String| async move {
        let status = target.path().rsplit('/').next().and_then(|last| last.parse().ok());
        heard.lock().push(format!("{method} {target} {body}"));
        let status = status
            .and_then(|status: u16| Status::from_u16(status).ok())
            .unwrap_or(Status::CREATED);
        (status, r#"{"error":"bad_request","reason":"no"}"#)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (manage(&at(address)), asked)
}

/// RabbitMQ 4.3 sets limits for those who take an answer that is no JSON.
#[tokio::test]
async fn an_answer_that_is_no_json_is_taken() {
    let answer = |headers: HeaderMap| async move {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        match accept {
            Some(accept) if accept.contains("*/*") => Status::NO_CONTENT,
            _ => Status::NOT_ACCEPTABLE,
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let limit = Request {
        verb: Verb::Put,
        path: "/api/vhost-limits/shop/max-queues".to_owned(),
        body: Some(json!({"value": 5})),
    };
    assert_eq!(manage(&at(address)).write(limit).await, Ok(()));
}

#[tokio::test]
async fn each_write_has_its_own_answer() {
    let (management, asked) = api().await;
    let request = |verb, name: &str, body| Request {
        verb,
        path: format!("/api/vhosts/{name}"),
        body,
    };
    let results = management
        .execute(vec![
            vec![request(Verb::Put, "shop", Some(json!({"tags": "a"})))],
            vec![
                request(Verb::Put, "405", Some(json!({}))),
                request(Verb::Put, "never", None),
            ],
            vec![request(Verb::Put, "401", None)],
            vec![request(Verb::Delete, "404", None), request(Verb::Delete, "503", None)],
            Vec::new(),
        ])
        .await;
    let codes: Vec<Option<i32>> = results
        .iter()
        .map(|result| match result {
            Err(Error::Refused { code, .. }) => Some(i32::from(*code)),
            // What comes before it was done.
            Err(Error::Partly(error)) => match error.as_ref() {
                Error::Refused { code, .. } => Some(-i32::from(*code)),
                other => panic!("{other}"),
            },
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        })
        .collect();
    assert_eq!(codes, [None, Some(405), Some(401), Some(-503), None]);
    assert!(!asked.lock().iter().any(|asked| asked.contains("never")));
    assert!(
        asked
            .lock()
            .contains(&r#"PUT /api/vhosts/shop {"tags":"a"}"#.to_owned())
    );
    let refused = management.get::<serde_json::Value>("/api/401").await;
    assert!(matches!(refused, Err(Error::Credentials(_))), "{refused:?}");
}

#[tokio::test]
async fn only_rabbitmqs_own_words_are_repeated() {
    for (answer, text) in [
        (r#"{"error":"bad_request","reason":"no such thing"}"#, "no such thing"),
        ("{\"error\":\"bad_request\",\"reason\":\"a\\nb\"}", "a b"),
        (r#"{"error":"x","reason":"y","AccessKeyId":"secret"}"#, "Forbidden"),
        (r#"{"reason":"secret"}"#, "Forbidden"),
        ("<html>secret</html>", "Forbidden"),
        ("", "Forbidden"),
    ] {
        let management = says(Status::FORBIDDEN, answer.to_owned()).await;
        let refused = management.get::<serde_json::Value>("/api/x").await;
        let expected = Error::Refused {
            code: 403,
            text: text.to_owned(),
        };
        assert_eq!(refused, Err(expected), "{answer}");
    }
    let long = format!(r#"{{"error":"x","reason":"{}"}}"#, "y".repeat(10_000));
    let refused = says(Status::FORBIDDEN, long)
        .await
        .get::<serde_json::Value>("/api/x")
        .await;
    assert!(matches!(refused, Err(Error::Refused { text, .. }) if text.len() == MOST_WORDS));
    // What doesn't fit is not repeated either.
    let management = says(Status::OK, r#"["secret"]"#.to_owned()).await;
    let about = management.about().await.expect_err("no overview").to_string();
    let listed = management.list().await.expect_err("no list").to_string();
    assert!(!about.contains("secret") && about.contains("/api/overview"), "{about}");
    assert!(
        !listed.contains("secret") && listed.contains("no JSON list of objects"),
        "{listed}"
    );
}

#[tokio::test]
async fn what_a_broker_says_of_itself_is_short() {
    let overview = json!({"product_name": format!("a\u{7}{}", "b".repeat(1000)), "product_version": "c".repeat(1000)});
    let about = says(Status::OK, overview.to_string())
        .await
        .about()
        .await
        .expect("an overview");
    assert_eq!(about.version.len(), 2 * MOST_NAME + 1);
    assert!(!about.version.contains('\u{7}'));
    let management = says(Status::OK, format!("\"{}\"", "x".repeat(MOST_OCTETS))).await;
    let much = management.get::<serde_json::Value>("/api/x").await;
    assert!(
        matches!(&much, Err(Error::Unreachable(text)) if text.contains("more than 256 KiB")),
        "{much:?}"
    );
}

#[tokio::test]
async fn a_list_is_read_within_its_limits() {
    let row =
        |name: usize| json!({"name": format!("q{name}"), "vhost": "/", "arguments": {"x-max-length": 5}}).to_string();
    let rows = |count: usize| format!("[{}]", (0..count).map(row).collect::<Vec<_>>().join(","));
    let management = says(Status::OK, rows(100)).await;
    let found: Vec<serde_json::Value> = management.rows("/api/queues").await.expect("a list");
    assert_eq!((found.len(), &found[99]["name"]), (100, &json!("q99")));
    // More octets than one answer may have.
    let refused = says(Status::OK, rows(20_000))
        .await
        .rows::<serde_json::Value>("/api/queues?columns=x")
        .await;
    let Err(Error::TooMuch(text)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(text, "its answer to /api/queues has more than 1 MiB; raise it");
    // Few octets that take much memory.
    let row = format!("{{\"arguments\":{{{}\"\":1}}}}", "\"\":1,".repeat(20_000));
    let greedy = format!("[{}]", vec![row; 10].join(","));
    let refused = says(Status::OK, greedy)
        .await
        .rows::<serde_json::Value>("/api/queues")
        .await;
    let Err(Error::TooMuch(text)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        text.contains("have 16 MiB together") && text.ends_with("raise it"),
        "{text}"
    );
}

/// An address needs no looking up, so the check cannot hang on that.
#[tokio::test]
async fn hosts_that_are_not_allowed_hear_nothing() {
    let asked: Arc<Mutex<usize>> = Arc::default();
    let heard = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            *heard.lock() += 1;
        }
    });
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let connection = Connection {
            management_uri: format!("http://{host}:{port}"),
            ..at(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let hosts = Arc::new(Hosts::guarded(Vec::new()));
        let management = Management::new(&connection, &hosts, &Budget::new(LIMITS)).unwrap();
        let refused = management.check_host().await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{host}: {refused:?}");
        assert!(management.about().await.is_err(), "{host}");
    }
    assert_eq!(*asked.lock(), 0);
}
