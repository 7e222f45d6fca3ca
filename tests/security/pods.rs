//! Pods that log in with their ServiceAccount: a real API server makes the tokens, and says by which keys.
//!
//! In: a namespace with ServiceAccounts. Out: who gets in, as which user, and for how long. There is no password in it
//! but that of who makes the users.

use std::fs;
use std::time::Duration;

use harness::api_server::api_server;
use harness::http::Http;
use harness::requests::{declare, start_ok};
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, GetParams, PostParams};
use kube::config::Kubeconfig;
use kube::core::Request;
use serde_json::{Value, json};

const REFUSED: &str =
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";

fn begun(broker: &Broker, token: &str) -> Client {
    let mut client = Client::raw(broker.amqp());
    client.start();
    client.send(0, start_ok("PLAIN", format!("\0\0{token}").as_bytes()));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_logs_in_with_its_projected_token() {
    let Some(cluster) = api_server() else { return };
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, "pods").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    for name in ["orders", "stranger"] {
        let account = serde_json::from_value(json!({"metadata": {"name": name}})).expect("an account");
        accounts.create(&PostParams::default(), &account).await.expect("made");
    }
    let token =
        |account: &'static str, audience: Option<&'static str>| cluster.token(&client, &namespace, account, audience);
    let asked = Request::new("/.well-known").get("openid-configuration", &GetParams::default());
    let known: Value = client.request(asked.expect("a request")).await.expect("an answer");
    let issuer = known["issuer"].as_str().expect("an issuer").to_owned();
    // As a broker in a pod has them: the authority and a token, in files.
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).expect("a kubeconfig");
    let server = kubeconfig.clusters[0].cluster.clone().expect("a cluster");
    let authority = match (server.certificate_authority_data, server.certificate_authority) {
        (Some(data), _) => base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data).expect("base64"),
        (None, file) => fs::read(file.expect("an authority")).expect("a file"),
    };
    fs::write(path("ca.crt"), authority).expect("written");
    fs::write(path("token"), token("stranger", None).await).expect("written");
    let settings = [
        "resource_servers.leveret.oauth_provider_id=cluster".to_owned(),
        "resource_servers.leveret.authz=internal".to_owned(),
        format!("oauth_providers.cluster.issuer={issuer}"),
        format!(
            "oauth_providers.cluster.jwks_uri={}/openid/v1/jwks",
            server.server.expect("an address")
        ),
        format!("oauth_providers.cluster.https.cacertfile={}", path("ca.crt")),
        format!("oauth_providers.cluster.https.token_file={}", path("token")),
    ];
    let settings: Vec<String> = settings
        .into_iter()
        .map(|line| format!("--auth-oauth2={line}"))
        .collect();
    let settings = settings.iter().map(String::as_str);
    let arguments: Vec<&str> = ["--auth-backends=internal,oauth2"]
        .into_iter()
        .chain(settings)
        .collect();
    let broker = Broker::start_with(&arguments);
    until("the cluster's keys are read", Duration::from_secs(20), || {
        broker.stderr().contains("signing keys were read")
    });
    let user = format!("system:serviceaccount:{namespace}:orders");
    let projected = token("orders", Some("leveret")).await;
    begun(&broker, &projected).connection_error(403, REFUSED);
    // The user, as the operator makes it: it has a name, rights, and no password.
    let http = Http::new(broker.http());
    let put = |path: String, body: Value| {
        let answer = http.request("PUT", &path, Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.body);
    };
    put(format!("/api/users/{user}"), json!({"password_hash": "", "tags": ""}));
    let rights = json!({"configure": "^orders", "write": "^orders", "read": "^orders"});
    put(format!("/api/permissions/%2F/{user}"), rights);
    let mut pod = begun(&broker, &projected);
    let tune = expect!(pod, 0, ConnectionTune);
    pod.accept(&tune);
    pod.open("/");
    pod.open_channel(1);
    call!(pod, 1, declare("orders") => QueueDeclareOk);
    pod.send(1, declare("invoices"));
    let text = format!("ACCESS_REFUSED - configure access to queue 'invoices' in vhost '/' refused for user '{user}'");
    pod.channel_error(1, 403, &text);
    // Nobody gets in with the name alone, nor with a token for others, or of another.
    for (name, password) in [
        (user.as_str(), String::new()),
        (user.as_str(), "x".to_owned()),
        (user.as_str(), token("orders", None).await),
        (user.as_str(), token("orders", Some("elsewhere")).await),
        (user.as_str(), token("stranger", Some("leveret")).await),
    ] {
        let mut client = Client::raw(broker.amqp());
        client.start();
        client.send(0, start_ok("PLAIN", format!("\0{name}\0{password}").as_bytes()));
        client.connection_error(403, REFUSED);
    }
    // With the user go its connections.
    assert_eq!(http.request("DELETE", &format!("/api/users/{user}"), None).status, 204);
    pod.connection_error(320, &format!("CONNECTION_FORCED - user '{user}' is deleted"));
    begun(&broker, &projected).connection_error(403, REFUSED);
}
