//! A broker that lets nobody in without a certificate, the operator included.

use std::path::Path;

use harness::Broker;
use harness::certificates::openssl;
use harness::operator_process::free_address;
use serde_json::{Value, json};

use super::{Companion, bare, main_broker};
use crate::{SOON, manifest};

/// An authority, and certificates of it for the broker and for the operator.
fn certificates(folder: &Path) {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!(
            "req -x509 {KEY} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt -addext basicConstraints=critical,CA:TRUE"
        ),
    );
    for name in ["server", "operator"] {
        std::fs::write(folder.join("extensions"), "subjectAltName=IP:127.0.0.1\n").expect("written");
        openssl(
            folder,
            &format!("req {KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.crt"
            ),
        );
    }
}

fn secret(name: &str, folder: &Path, files: &[(&str, &str)]) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "annotations": {"leveret.dev/broker": "main"}}, "stringData": {}});
    for (key, file) in files {
        secret["stringData"][key] = json!(std::fs::read_to_string(folder.join(file)).expect("it was made"));
    }
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_shows_a_certificate_of_its_own() {
    let Some(bare) = bare("mutual").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let (amqps, https) = (free_address(), free_address());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let companion = Companion::start_with(|user, password| {
        let arguments = [
            "--admin-user-file",
            user,
            "--admin-password-file",
            password,
            "--amqps-listen",
            &amqps.to_string(),
            "--https-listen",
            &https.to_string(),
            "--tls-cert",
            &path("server.crt"),
            "--tls-key",
            &path("server.key"),
            "--tls-ca",
            &path("ca.crt"),
        ];
        Broker::start_with(&arguments)
    });
    let pair = |name: &str| [format!("{name}.crt"), format!("{name}.key")];
    let [server, server_key] = pair("server");
    let [operator, operator_key] = pair("operator");
    for secret in [
        secret(
            "cert",
            folder.path(),
            &[("tls.crt", &server), ("tls.key", &server_key), ("ca.crt", "ca.crt")],
        ),
        secret(
            "operator",
            folder.path(),
            &[("tls.crt", &operator), ("tls.key", &operator_key)],
        ),
        secret("people", folder.path(), &[("ca.crt", "ca.crt")]),
    ] {
        bare.apply(&secret).await;
    }
    let tls = json!({"secretRef": {"name": "cert"}, "plain": "Disabled", "operatorSecretRef": {"name": "operator"},
        "clientAuth": {"caSecretRef": {"name": "people"}}});
    let mut broker = main_broker(json!({"tls": tls}));
    broker["metadata"]["annotations"] = json!({
        "leveret.dev/amqp-uri": format!("amqps://{amqps}"),
        "leveret.dev/management-uri": format!("https://{https}"),
    });
    bare.apply(&broker).await;
    let password = bare.password("").await;
    companion.takes(&password);
    bare.apply(&manifest("Queue", "one", json!({"brokerRef": {"name": "main"}})))
        .await;
    bare.resources.becomes("Queue", "one", "True", "Synced", SOON).await;
}
