//! A Broker whose address, certificate or port is wrong: the status names the address, what is wrong there, and what to
//! do about it.

use std::path::Path;

use harness::Broker;
use harness::certificates::openssl;
use harness::operator_process::free_address;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{SOON, manifest, stage};

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority's certificate, and one of it for another host.
fn certificates() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let at = folder.path();
    let authority = "-subj /CN=authority -addext basicConstraints=critical,CA:TRUE -addext subjectAltName=IP:127.0.0.1";
    openssl(
        at,
        &format!("req -x509 {KEY} -days 2 {authority} -keyout ca.key -out ca.crt"),
    );
    std::fs::write(at.join("other.ext"), "subjectAltName=DNS:rabbit.example.com\n").expect("written");
    openssl(
        at,
        &format!("req {KEY} -subj /CN=other -keyout other.key -out other.csr"),
    );
    openssl(
        at,
        "x509 -req -in other.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile other.ext -out other.crt",
    );
    folder
}

/// A broker that also speaks TLS, with the certificate `name`: and its addresses for that.
fn over_tls(folder: &Path, name: &str) -> (Broker, [String; 2]) {
    let path = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    let (amqps, https) = (free_address().to_string(), free_address().to_string());
    let (certificate, key) = (path("crt"), path("key"));
    let flags = [
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--amqps-listen",
        &amqps,
        "--https-listen",
        &https,
    ];
    (Broker::start_with(&flags), [amqps.clone(), https.clone()])
}

/// A Broker on 127.0.0.1, and the words of its status.
struct Case {
    name: &'static str,
    amqp: String,
    management: String,
    /// The authority is trusted.
    trusts: bool,
    words: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_the_address_and_what_to_do() {
    let Some(stage) = stage("connecting").await else { return };
    let folder = certificates();
    let (authority, [amqps, https]) = over_tls(folder.path(), "ca");
    let (_other, [_, https_other]) = over_tls(folder.path(), "other");
    let nobody = free_address();
    let (amqp, http) = (
        format!("amqp://{}", authority.amqp()),
        format!("http://{}", authority.http()),
    );
    let case = |name, amqp: &str, management: &str, trusts, words: &[&str]| Case {
        name,
        amqp: amqp.to_owned(),
        management: management.to_owned(),
        trusts,
        words: words.iter().map(|words| (*words).to_owned()).collect(),
    };
    let plain_http = format!("https://{}", authority.http());
    let plain_amqp = format!("amqps://{}", authority.amqp());
    let (tls_http, tls_amqp) = (format!("http://{https}"), format!("amqp://{amqps}"));
    let (is_amqp, is_http) = (
        format!("http://{}", authority.amqp()),
        format!("amqp://{}", authority.http()),
    );
    let (tls, other) = (format!("https://{https}"), format!("https://{https_other}"));
    let prefix = format!("{http}/prefix");
    let (closed, closed_amqp) = (format!("http://{nobody}"), format!("amqp://{nobody}"));
    let cases = [
        case(
            "prefix",
            &amqp,
            &prefix,
            false,
            &[
                "404 Not Found from management API",
                &format!("{prefix}/api/overview"),
                "path prefix of managementUri",
            ],
        ),
        case(
            "authority",
            &amqp,
            &tls,
            true,
            &[&tls, "CA:TRUE", "issue the server a certificate of its own"],
        ),
        case("stranger", &amqp, &tls, false, &[&tls, "authority"]),
        case(
            "name",
            &amqp,
            &other,
            true,
            &[&other, "not for this host", "rabbit.example.com"],
        ),
        case(
            "no-tls",
            &amqp,
            &plain_http,
            false,
            &[&plain_http, "does not speak TLS", "use http://"],
        ),
        case(
            "no-amqps",
            &plain_amqp,
            &http,
            false,
            &[&plain_amqp, "TLS", "use amqp://"],
        ),
        case("is-tls", &amqp, &tls_http, false, &[&tls_http, "is not it", "15671"]),
        case("is-amqps", &tls_amqp, &http, false, &[&tls_amqp, "is not it", "5671"]),
        case(
            "is-amqp",
            &amqp,
            &is_amqp,
            false,
            &[&is_amqp, "is not it", "usually 15672"],
        ),
        case(
            "is-http",
            &is_http,
            &http,
            false,
            &[&is_http, "is not it", "usually 5672"],
        ),
        case(
            "closed",
            &amqp,
            &closed,
            false,
            &[&closed, "nothing listens there", "that the broker is up"],
        ),
        case(
            "closed-amqp",
            &closed_amqp,
            &http,
            false,
            &[&closed_amqp, "nothing listens there"],
        ),
        case(
            "host",
            &amqp,
            "http://rabbit.invalid:15672",
            false,
            &[
                "http://rabbit.invalid:15672",
                "name is not known",
                "SERVICE.NAMESPACE.svc",
            ],
        ),
    ];
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    let ca = std::fs::read_to_string(folder.path().join("ca.crt")).expect("it was made");
    for secret in [
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"username": "guest", "password": "guest"},
            "metadata": {"name": "login", "annotations": {"leveret.dev/broker": names.join(",")}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "stringData": {"ca.crt": ca}}),
    ] {
        stage.apply(&secret).await;
    }
    for Case {
        name,
        amqp,
        management,
        trusts,
        ..
    } in &cases
    {
        let mut external = json!({"uri": amqp, "managementUri": management, "credentialsSecretRef": {"name": "login"}});
        if *trusts {
            external["caSecretRef"] = json!({"name": "ca", "key": "ca.crt"});
        }
        stage
            .apply(&manifest(
                "Broker",
                name,
                json!({"engine": "External", "external": external}),
            ))
            .await;
    }
    let mut wrong = Vec::new();
    for Case { name, words, .. } in &cases {
        let [first, ..] = words.as_slice() else { continue };
        let message = stage.resources.says("Broker", name, first, SOON).await.message;
        wrong.extend(
            words
                .iter()
                .filter(|words| !message.contains(*words))
                .map(|words| format!("{name}: {words}: {message}")),
        );
    }
    assert_eq!(wrong, [""; 0]);
    // What refers to it is told where to look.
    let queue: Value = manifest("Queue", "waits", json!({"brokerRef": {"name": "closed"}}));
    stage.apply(&queue).await;
    stage
        .resources
        .says("Queue", "waits", "its status says why", SOON)
        .await;
}
