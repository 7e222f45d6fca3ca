//! What only shows when all manifests are seen together.

use super::*;

fn problems(text: &str, partial: bool) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), text).expect("a file");
    let args = LintArgs {
        folder: folder.path().to_owned(),
        partial,
    };
    let prefix = format!("{}/", folder.path().display());
    match run(&args) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect(),
    }
}

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: leveret.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec:\n  brokerRef: {{ name: main }}\n{spec}"
    )
}

#[test]
fn a_whole_folder_is_fine() {
    let text = [
        manifest("Exchange", "orders", "  alternateExchange: amq.fanout\n"),
        manifest("Queue", "invoices", "  deadLetter: { exchange: orders }\n"),
        manifest("Binding", "b", "  source: orders\n  destination: { queue: invoices }\n"),
        manifest(
            "Binding",
            "c",
            "  source: amq.topic\n  destination: { exchange: orders }\n",
        ),
    ];
    assert_eq!(problems(&text.concat(), false), Vec::<String>::new());
}

#[test]
fn references_that_lead_nowhere() {
    let text = [
        manifest("Exchange", "orders", "  alternateExchange: nix\n"),
        manifest(
            "Queue",
            "invoices",
            "  maxLength: 5\n  deadLetter: { exchange: dead }\n",
        ),
        manifest("Binding", "b", "  source: order\n  destination: { queue: invoice }\n"),
    ]
    .concat();
    assert_eq!(
        problems(&text, false),
        [
            "a.yaml:7: Exchange orders: exchange 'nix' is not declared in this folder",
            "a.yaml:15: Queue invoices: exchange 'dead' is not declared in this folder",
            "a.yaml:22: Binding b: exchange 'order' is not declared in this folder",
            "a.yaml:23: Binding b: queue 'invoice' is not declared in this folder",
        ]
    );
    assert_eq!(problems(&text, true), Vec::<String>::new());
}

#[test]
fn the_same_twice_and_a_broker_that_is_missing() {
    let text = [
        manifest("Queue", "a", "  name: jobs\n"),
        manifest("Queue", "b", "  name: jobs\n"),
        "---\napiVersion: leveret.dev/v1alpha1\nkind: Broker\nmetadata: { name: other }\nspec: {}\n".to_owned(),
    ];
    assert_eq!(
        problems(&text.concat(), false),
        [
            "a.yaml:6: Queue a: Broker default/main does not exist in this folder",
            "a.yaml:9: Queue b: queue 'jobs' belongs to Queue default/a already",
            "a.yaml:13: Queue b: Broker default/main does not exist in this folder",
        ]
    );
}

#[test]
fn rules_of_the_crds() {
    let found = problems(
        &manifest("Queue", "q", "  maxLength: 5\n  arguments: { x-max-length: 6 }\n"),
        false,
    );
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("say the same thing"), "{found:?}");
}

#[test]
fn what_leads_nowhere_is_told_together_with_what_cannot_be_read() {
    let text = [
        manifest("Exchange", "orders", "  type: topics\n"),
        manifest("Binding", "b", "  source: orders\n  destination: { queue: invoces }\n"),
        manifest("Queue", "invoices", "  maxLength: -1\n"),
    ];
    let said = problems(&text.concat(), false);
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said.iter()
            .any(|line| line.starts_with("a.yaml:7: ") && line.contains("type must be")),
        "{said:#?}"
    );
    let nowhere = "a.yaml:15: Binding b: queue 'invoces' is not declared in this folder";
    assert!(said.iter().any(|line| line == nowhere), "{said:#?}");
}

#[test]
fn a_misspelt_broker_is_told_where_no_broker_is() {
    let mut text = [
        manifest("Exchange", "orders", ""),
        manifest("Queue", "invoices", ""),
        manifest("Queue", "late", "").replace("main", "mian"),
    ];
    assert_eq!(
        problems(&text.concat(), false),
        [
            "a.yaml:18: Queue late: Broker default/mian is named here, and Broker default/main elsewhere: one is misspelt"
        ]
    );
    text[2] = text[2].replace("mian", "other");
    assert_eq!(problems(&text.concat(), false), Vec::<String>::new(), "another one");
    for (one, other, nearly) in [
        ("main", "mian", true),
        ("main", "man", true),
        ("main", "maine", true),
        ("main", "mein", true),
        ("main", "main", false),
        ("main", "other", false),
        ("a", "b", true),
        ("main-1", "mian-2", false),
    ] {
        assert_eq!(
            (is_nearly(one, other), is_nearly(other, one)),
            (nearly, nearly),
            "{one} {other}"
        );
    }
}

#[test]
fn words_that_are_read_differently_are_refused_with_their_place() {
    let text = manifest(
        "Queue",
        "q",
        "  arguments: { n: 5, x-a: off }\n  name: \"no\"\n  maxLength: 1_000\n",
    );
    let said = problems(&text, true);
    let of = |place: &str, word: &str| {
        let found = said
            .iter()
            .any(|line| line.starts_with(place) && line.contains(&format!(": {word} is ")));
        assert!(found, "{place} {word}: {said:#?}");
    };
    of("a.yaml:7:16", "n");
    of("a.yaml:7:27", "off");
    of("a.yaml:9:14", "1_000");
    assert!(
        said[0].contains("n is false in YAML 1.1 (kubectl, Helm, Argo CD, Flux) and a text in YAML 1.2: quote it"),
        "{said:#?}"
    );
}

const RULED: &str = "---
apiVersion: leveret.dev/v1alpha1
kind: Broker
metadata: { name: main, namespace: messaging }
spec:
  allowedNamespaces:
    from: All
    rules: [{ WHOSE, vhosts: [web], kinds: [Queue, Policy], maxObjects: { Queue: 1 } }]
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: a, namespace: web }
spec: { brokerRef: { name: main, namespace: messaging }, vhost: web }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: b, namespace: web }
spec: { brokerRef: { name: main, namespace: messaging }, vhost: shop }
---
apiVersion: leveret.dev/v1alpha1
kind: Vhost
metadata: { name: web, namespace: web }
spec: { brokerRef: { name: main, namespace: messaging } }
";

#[test]
fn rules_of_a_broker_are_held() {
    let place = "Broker messaging/main does not allow this from namespace web";
    assert_eq!(
        problems(&RULED.replace("WHOSE", "namespaces: [web]"), false),
        [
            format!("a.yaml:15: Queue b: {place}: vhost 'shop' is not one of web (its allowedNamespaces.rules[0])"),
            format!(
                "a.yaml:20: Vhost web: {place}: kind Vhost is not one of Queue, Policy (its allowedNamespaces.rules[0])"
            ),
        ]
    );
    let by_labels = RULED.replace("WHOSE", "selector: { matchLabels: { team: web } }");
    assert_eq!(problems(&by_labels, false), [""; 0], "labels show only in a cluster");
}

#[test]
fn the_example_of_tenants_is_fine_and_each_of_its_rules_is_needed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tenants");
    let texts = ["platform", "shop", "billing"].map(|name| {
        let path = folder.join(format!("{name}.yaml"));
        std::fs::read_to_string(path).expect("the example")
    });
    let text = texts.join("\n---\n");
    assert_eq!(problems(&text, false), [""; 0]);
    for rule in [
        "vhosts: [shop]",
        "vhosts: [billing]",
        "sources: [\"public.*\"]",
        "User: [\"shop-*\"",
    ] {
        let nothing = rule.split_once('[').map_or("", |(field, _)| field).to_owned() + "[nothing]";
        let nothing = if rule.contains("User") {
            "User: [nothing"
        } else {
            &nothing
        };
        assert!(!problems(&text.replace(rule, nothing), false).is_empty(), "{rule}");
    }
}

#[test]
fn a_service_account_needs_a_broker_that_takes_its_tokens() {
    let user = manifest("User", "till", "  serviceAccount: { name: till, namespace: shop }\n");
    let of = |spec: &str| {
        let broker =
            format!("---\napiVersion: leveret.dev/v1alpha1\nkind: Broker\nmetadata: {{ name: main }}\nspec: {spec}\n");
        problems(&format!("{user}{broker}"), false)
    };
    let said = of("{}");
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("a.yaml:7:")
            && said[0].ends_with("takes no tokens of service accounts: it has no serviceAccountTokens"),
        "{said:?}"
    );
    assert_eq!(of("{ serviceAccountTokens: {} }"), Vec::<String>::new());
    assert_eq!(
        of("{ settings: { auth_oauth2: { issuer: https://a } } }"),
        Vec::<String>::new()
    );
    let both = of("{ serviceAccountTokens: {}, settings: { auth_backends: [internal] } }");
    assert!(
        both[0].ends_with("settings.auth_backends: serviceAccountTokens needs oauth2 in it"),
        "{both:?}"
    );
}

#[test]
fn the_example_without_a_password_is_fine() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/service-account.yaml");
    let text = std::fs::read_to_string(file).expect("the example");
    assert_eq!(problems(&text, false), Vec::<String>::new());
}
