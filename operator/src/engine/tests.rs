use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::secret::credentials;
use super::*;
use crate::object::{Kind, Meta, Object, ObjectKey};
use crate::resource::BrokerSpec;

fn broker(spec: Value) -> Object<BrokerSpec> {
    Object {
        meta: Meta {
            uid: "u1".to_owned(),
            ..Meta::fresh(ObjectKey::new(Kind::Broker, "shop", "main"))
        },
        spec: serde_json::from_value(spec).expect("a spec"),
    }
}

fn set(spec: Value) -> Value {
    let broker = broker(spec);
    let settings = config::settings(&broker, None).expect("settings");
    statefulset::stateful_set(&broker, "leveret:1", &settings, None).manifest
}

fn pod(spec: Value) -> Value {
    set(spec)["spec"]["template"]["spec"].take()
}

#[test]
fn the_pod_is_restricted() {
    let pod = pod(json!({}));
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "leveret:1");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{probe}");
    }
    let data = pod["volumes"]
        .as_array()
        .and_then(|all| all.iter().find(|volume| volume["name"] == "data"));
    assert_eq!(data, Some(&json!({"name": "data", "emptyDir": {}})));
}

#[test]
fn what_people_override() {
    let spec = json!({
        "image": "mine:2",
        "resources": {"limits": {"memory": "1Gi"}},
        "settings": {"shutdown_timeout": "1m"},
        "annotations": {"a": "b"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"topologyKey": "zone"}],
        "priorityClassName": "high",
        "podTemplate": {"spec": {"containers": [{"name": "broker", "imagePullPolicy": "Never"}]}},
    });
    let set = set(spec.clone());
    let template = &set["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["containers"][0]["image"], "mine:2");
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "Never");
    assert_eq!(pod["containers"][0]["resources"], spec["resources"]);
    assert_eq!(pod["terminationGracePeriodSeconds"], 80);
    for field in [
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
    ] {
        assert_eq!(pod[field], spec[field], "{field}");
    }
    assert_eq!(template["metadata"]["annotations"]["a"], "b");
    assert_eq!(set["metadata"]["annotations"]["a"], "b");
}

#[test]
fn a_volume_is_kept_unless_it_shall_go() {
    let kept = set(json!({"storage": {"size": "10Gi", "storageClassName": "fast"}}));
    let claim = &kept["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "10Gi");
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert_eq!(claim["metadata"].get("ownerReferences"), None);
    assert_eq!(
        kept["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"],
        "Retain"
    );
    let goes = set(json!({"storage": {"size": "10Gi", "deletionPolicy": "Delete"}}));
    assert_eq!(
        goes["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"],
        "Delete"
    );
    let broker = broker(json!({"storage": {"size": "20Gi"}}));
    let settings = config::settings(&broker, None).expect("settings");
    let grown = statefulset::stateful_set(&broker, "i", &settings, Some(&json!("10Gi"))).manifest;
    let claim = &grown["spec"]["volumeClaimTemplates"][0];
    assert_eq!(
        claim["spec"]["resources"]["requests"]["storage"], "10Gi",
        "it must not change"
    );
}

#[test]
fn a_setting_replaces_the_pod_and_a_label_of_the_broker_does_not() {
    let hash = |spec: Value| set(spec)["spec"]["template"]["metadata"]["annotations"]["leveret.dev/settings"].take();
    let before = hash(json!({}));
    assert_ne!(before, hash(json!({"settings": {"threads": 2}})));
    let live = json!({"settings": {"log": "debug", "heartbeat": "10s", "frame_max": "64KiB", "channel_max": 9}});
    assert_eq!(before, hash(live), "read again by the broker");
    assert_eq!(before, hash(json!({"service": {"type": "NodePort"}})));
    let tls = |name: &str| hash(json!({"tls": {"secretRef": {"name": name}}}));
    assert_eq!(tls("a"), tls("b"), "certificates are read again by the broker");
    assert_eq!(fingerprint("leveret"), "8037a1517cf0cb92", "it must never change");
}

#[test]
fn a_new_process_waits_for_the_one_before() {
    let environment = |spec: Value| pod(spec)["containers"][0]["env"].take();
    let waits = json!([{"name": "LEVERET_LOCK_TIMEOUT", "value": "30s"}]);
    assert_eq!(environment(json!({})), waits);
    assert_eq!(
        environment(json!({"settings": {"lock_timeout": "1m"}})),
        Value::Null,
        "the file says it"
    );
}

#[test]
fn the_settings_file() {
    let text = |spec: Value| config::settings(&broker(spec), None).map(|settings| settings.file);
    let plain =
        text(json!({"settings": {"log": "info,[s{f=\"v\"}]=debug", "threads": 2, "guest_loopback_only": false}}));
    assert_eq!(
        plain.expect("settings"),
        "data_dir = \"/var/lib/leveret\"\n\
         amqp_listen = [\"0.0.0.0:5672\"]\n\
         http_listen = [\"0.0.0.0:15672\"]\n\
         prometheus_listen = [\"0.0.0.0:15692\"]\n\
         admin_user_file = \"/etc/leveret/admin/username\"\n\
         admin_password_file = \"/etc/leveret/admin/password\"\n\
         guest_loopback_only = false\n\
         log = \"info,[s{f=\\\"v\\\"}]=debug\"\n\
         threads = 2\n"
    );
    let tokens = text(json!({"settings": {
        "auth_backends": ["oauth2"], "auth_oauth2": {"resource_server_id": "a\"b", "algorithms": ["RS256"], "https": {"verify": "verify_peer"}},
    }}));
    let tokens = tokens.expect("settings");
    let end = "auth_backends = [\"oauth2\"]\n\
               auth_oauth2 = { \"algorithms\" = [\"RS256\"], \"https\" = { \"verify\" = \"verify_peer\" }, \
               \"resource_server_id\" = \"a\\\"b\" }\n";
    assert!(tokens.ends_with(end), "{tokens}");
    let secure = text(json!({"tls": {"secretRef": {"name": "cert"}, "plain": "Disabled"}})).expect("settings");
    assert!(secure.contains("amqp_listen = [\"127.0.0.1:5672\"]\n"), "{secure}");
    assert!(secure.contains("amqps_listen = [\"0.0.0.0:5671\"]\n"), "{secure}");
    assert!(!secure.contains("tls_ca"), "{secure}");
    for (settings, why) in [
        (json!({"data_dir": "/"}), "settings.data_dir is made by the operator"),
        (json!({"a b": 1}), "settings.a b: there is no such setting"),
        (
            json!({"threads": {"y": 1}}),
            "setting threads: '{\"y\":1}' is not allowed; one value, not a list",
        ),
    ] {
        assert_eq!(text(json!({"settings": settings})), Err(why.to_owned()));
    }
}

#[test]
fn certificates_are_mounted_and_served() {
    let tls = json!({"secretRef": {"name": "cert"}, "clientAuth": {"caSecretRef": {"name": "people", "key": "ca"}}});
    let pod = pod(json!({"tls": tls}));
    let volumes = pod["volumes"].as_array().expect("volumes");
    let secret = |name: &str| {
        let volume = volumes.iter().find(|volume| volume["name"] == name);
        volume.map(|volume| {
            (
                volume["secret"]["secretName"].clone(),
                volume["secret"]["items"].clone(),
            )
        })
    };
    let files = json!([{"key": "tls.crt", "path": "tls.crt"}, {"key": "tls.key", "path": "tls.key"}]);
    assert_eq!(secret("tls"), Some((json!("cert"), files)));
    assert_eq!(
        secret("client-ca"),
        Some((json!("people"), json!([{"key": "ca", "path": "ca.crt"}])))
    );
    let only = broker(json!({"tls": {"secretRef": {"name": "cert"}, "plain": "Disabled"}}));
    let service = network::client_service(&only, &BTreeSet::new()).manifest;
    let ports: Vec<(&str, u64, &str)> = service["spec"]["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| {
            let text = |field: &str| port[field].as_str().unwrap_or_default();
            (
                text("name"),
                port["port"].as_u64().unwrap_or_default(),
                text("targetPort"),
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("amqps", 5671, "amqps"),
            ("https", 15671, "https"),
            ("metrics", 15692, "metrics")
        ]
    );
}

fn data(child: &Child, key: &str) -> String {
    let bytes: ByteString = serde_json::from_value(child.manifest["data"][key].clone()).expect("bytes");
    String::from_utf8(bytes.0).expect("text")
}

#[test]
fn credentials_are_made_once_and_kept() {
    let broker = broker(json!({}));
    let made = credentials(None);
    assert_eq!((made.username.as_str(), made.password.len()), ("admin", 32));
    assert!(made.password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert!(credentials(None) != made, "at random");
    let child = secret::secret(&broker, &made, None);
    for (key, value) in [
        ("type", "rabbitmq"),
        ("provider", "leveret"),
        ("host", "main.shop.svc"),
        ("port", "5672"),
        ("username", "admin"),
        ("vhost", "/"),
    ] {
        assert_eq!(data(&child, key), value);
    }
    assert_eq!(
        data(&child, "uri"),
        format!("amqp://admin:{}@main.shop.svc:5672/%2F", made.password)
    );
    let mut there: Secret = serde_json::from_value(child.manifest.clone()).expect("a Secret");
    assert!(credentials(Some(&there)) == made, "kept");
    there.data.as_mut().expect("data").remove("password");
    let rotated = credentials(Some(&there));
    assert_eq!(rotated.username, "admin");
    assert!(rotated.password != made.password, "made again");
    there.type_ = Some("Opaque".to_owned());
    assert_eq!(
        secret::secret(&broker, &rotated, Some(&there)).manifest["type"],
        "Opaque"
    );
}

#[test]
fn credentials_of_ones_own_are_escaped_in_the_uri() {
    let own = secret::Credentials {
        username: "me@home".to_owned(),
        password: "a/b c".to_owned(),
    };
    let child = secret::secret(&broker(json!({})), &own, None);
    assert_eq!(data(&child, "uri"), "amqp://me%40home:a%2Fb%20c@main.shop.svc:5672/%2F");
}

fn operator() -> network::OperatorPods {
    network::OperatorPods {
        namespace: "leveret".to_owned(),
        instance: Some("release".to_owned()),
    }
}

#[test]
fn a_network_policy_on_request() {
    assert_eq!(
        network::network_policy(&broker(json!({})), Some(&operator()), &BTreeSet::new()),
        None
    );
    let asked = broker(json!({"networkPolicy": {}}));
    let policy = network::network_policy(&asked, Some(&operator()), &BTreeSet::new()).expect("a policy");
    let ingress = &policy.manifest["spec"]["ingress"][0];
    assert_eq!(
        ingress["from"],
        json!([
            {"podSelector": {}},
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "leveret"}},
                "podSelector": {"matchLabels": {
                    "app.kubernetes.io/name": "leveret-operator", "app.kubernetes.io/instance": "release"}},
            }
        ])
    );
    assert_eq!(ingress["ports"].as_array().map(Vec::len), Some(2));
    let outside = network::network_policy(&asked, None, &BTreeSet::new()).expect("a policy");
    assert_eq!(
        outside.manifest["spec"]["ingress"][0]["from"],
        json!([{"podSelector": {}}]),
        "labels alone let nobody in"
    );
}

#[test]
fn the_ports_of_sockets_are_open_and_the_pod_stays_as_it_is() {
    let broker = broker(json!({"networkPolicy": {}}));
    // One of them cannot be.
    let sockets = BTreeSet::from([5555, 5672]);
    for service in [
        network::client_service(&broker, &sockets),
        network::headless_service(&broker, &sockets),
    ] {
        let ports = service.manifest["spec"]["ports"].as_array().cloned().expect("ports");
        assert_eq!(ports.len(), 4, "{ports:?}");
        let socket = json!({"name": "zmq-5555", "port": 5555, "targetPort": 5555, "protocol": "TCP"});
        assert_eq!(ports.last(), Some(&socket));
    }
    let policy = network::network_policy(&broker, None, &BTreeSet::from([5555])).expect("a policy");
    let ports = &policy.manifest["spec"]["ingress"][0]["ports"];
    assert_eq!(
        ports.as_array().and_then(|ports| ports.last()),
        Some(&json!({"port": 5555, "protocol": "TCP"}))
    );
    let settings = config::settings(&broker, None).expect("settings");
    let set = statefulset::stateful_set(&broker, "i", &settings, None)
        .manifest
        .to_string();
    assert!(!set.contains("5555"), "{set}");
}

/// Neither the kubelet nor Prometheus has a certificate or password to show, and they need none.
#[test]
fn a_broker_that_asks_everybody_for_a_certificate_is_probed_and_measured_without() {
    let tls = json!({"tls": {"secretRef": {"name": "cert"}, "plain": "Disabled", "operatorSecretRef": {"name": "o"},
        "clientAuth": {"caSecretRef": {"name": "people"}}}});
    let monitor = network::service_monitor(&broker(tls.clone())).manifest;
    let endpoint = json!({"port": "metrics", "path": "/metrics"});
    assert_eq!(monitor["spec"]["endpoints"], json!([endpoint]));
    let pod = pod(tls);
    for (probe, path) in [
        ("startupProbe", "/readyz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        let wanted = json!({"path": path, "port": "metrics"});
        assert_eq!(pod["containers"][0][probe]["httpGet"], wanted, "{probe}");
    }
}

/// Everything goes with its Broker, and is found again by its labels.
#[test]
fn every_object_belongs_to_its_broker() {
    let broker = broker(json!({"networkPolicy": {}, "annotations": {"a": "b"}}));
    let settings = config::settings(&broker, None).expect("settings");
    let children = [
        secret::secret(&broker, &credentials(None), None),
        config::config_map(&broker, &settings),
        network::headless_service(&broker, &BTreeSet::new()),
        network::client_service(&broker, &BTreeSet::new()),
        network::disruption_budget(&broker),
        network::network_policy(&broker, None, &BTreeSet::new()).expect("a policy"),
        network::service_monitor(&broker),
        statefulset::stateful_set(&broker, "i", &settings, None),
    ];
    for child in children {
        let metadata = &child.manifest["metadata"];
        assert_eq!(metadata["name"], child.name);
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u1");
        assert_eq!(metadata["ownerReferences"][0]["controller"], true);
        assert_eq!(metadata["labels"]["leveret.dev/broker"], "main");
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "leveret-operator");
        assert_eq!(metadata["annotations"]["a"], "b");
    }
}
