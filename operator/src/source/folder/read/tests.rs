//! Manifests, good and bad, and the line each fault is found at.

use super::*;

fn read_text(text: &str) -> Result<Manifests, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), text).expect("a file");
    let root = folder.path();
    let found = files(root).expect("files");
    read(root, &found).map_err(|problems| {
        let prefix = format!("{}/", root.display());
        problems
            .iter()
            .map(|problem| {
                problem
                    .to_string()
                    .replace(&prefix, "")
                    .replace(&root.display().to_string(), ".")
            })
            .collect()
    })
}

const QUEUE: &str =
    "apiVersion: leveret.dev/v1alpha1\nkind: Queue\nmetadata: { name: q }\nspec: { brokerRef: { name: main } }\n";

#[test]
fn a_stream_of_documents() {
    let text = format!(
        "# a comment\n---\n{QUEUE}---\n# nothing here\n--- # two\n{}...\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n",
        QUEUE.replace("name: q", "name: r, namespace: shop, annotations: {a: b}")
    );
    let manifests = read_text(&text).expect("manifests");
    let keys: Vec<String> = manifests.objects.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["Queue default/q", "Queue shop/r"]);
    assert_eq!(manifests.to_string(), "2 queues");
    assert_eq!(manifests.skipped.len(), 1);
    assert!(
        manifests.skipped[0].ends_with("a.yaml:16: ConfigMap of v1 is left alone"),
        "{:?}",
        manifests.skipped
    );
    let second = manifests.objects.values().nth(1).expect("two");
    assert_eq!(second.annotations.get("a").map(String::as_str), Some("b"));
}

#[test]
fn every_fault_is_one_line_with_its_place() {
    for (text, expected) in [
        (
            "a: [1,\nb: 2\n".to_owned(),
            "a.yaml:3:1: did not find expected ',' or ']'",
        ),
        (
            format!("---\n{QUEUE}---\nx: {{\n"),
            "a.yaml:8:1: did not find expected node content",
        ),
        (
            format!("{QUEUE}  maxLenght: 5\n"),
            "a.yaml:5:3: did not find expected key",
        ),
        (
            QUEUE.replace("main } }", "main }, maxLenght: 5 }"),
            "a.yaml:4: Queue q: unknown field \"spec.maxLenght\"; did you mean maxLength?",
        ),
        (
            QUEUE.replace("{ name: q }", "{ name: q, label: {} }"),
            "a.yaml:3: Queue q: unknown field \"metadata.label\"; did you mean labels?",
        ),
        (
            QUEUE.replace("{ name: q }", "{ name: Q_1 }"),
            "a.yaml:3: Queue Q_1: metadata.name: Invalid value: \"Q_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            QUEUE.replace("kind: Queue", "kind: Topic"),
            "a.yaml:2: kind: Topic is not known, only Broker, Vhost, User, OperatorPolicy, Policy, Exchange, Queue, Binding, ZeroMqSocket",
        ),
        (
            QUEUE.replace("v1alpha1", "v2"),
            "a.yaml:1: apiVersion: leveret.dev/v2 is not known, only leveret.dev/v1alpha1",
        ),
        (
            "foo: 1\n".to_owned(),
            "a.yaml:1: not a Kubernetes manifest: apiVersion or kind is missing",
        ),
        (
            QUEUE.replace("{ brokerRef: { name: main } }", "{ maxLength: 5 }"),
            "a.yaml:4: Queue q: spec.brokerRef: Required value",
        ),
        (
            QUEUE.replace("main } }", "main }, messageTtl: soon }"),
            "a.yaml:4: Queue q: spec.messageTtl: Invalid value: \"soon\": must be a duration like 500ms, 10s, 90m, 24h or 7d",
        ),
        (
            QUEUE.replace("main } }", "main }, maxLength: 5, arguments: { x-max-length: 5 } }"),
            "a.yaml:4: Queue q: spec: Invalid value: maxLength and arguments.x-max-length say the same thing: give only one of them",
        ),
        (
            QUEUE.replace("main } }", "main }, durable: yes please }"),
            "a.yaml:4: Queue q: spec.durable: Invalid value: \"string\": spec.durable in body must be of type boolean: \"string\"",
        ),
        (
            QUEUE.replace("{ name: q }", "{ name: q, annotations: { a: true } }"),
            "a.yaml:3: Queue q: metadata.annotations.a: must be a string: write \"true\" with quotes",
        ),
        (
            format!("{QUEUE}---\n{QUEUE}"),
            "a.yaml:6: Queue default/q is there twice, first in a.yaml:1",
        ),
        (
            QUEUE.replace("spec:", "spec: {}\nspec:"),
            "a.yaml:1:1: duplicate entry with key \"spec\"",
        ),
        (
            format!("---\n{}", QUEUE.replace("name: q", "name: {{ .Values.name }}")),
            "a.yaml:4: a template that has not been rendered: {{ .Values.name }}; for a chart: helm template CHART | leveret lint -",
        ),
        (
            format!("# by helm\n{{{{- if .Values.queue }}}}\n{QUEUE}{{{{- end }}}}\n"),
            "a.yaml:2: a template that has not been rendered: {{ if .Values.queue }}; for a chart: helm template CHART | leveret lint -",
        ),
        (
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- {}",
                QUEUE.replace('\n', "\n  ").replace("main }", "main, nmae: x }")
            ),
            "a.yaml:7: Queue q: unknown field \"spec.brokerRef.nmae\"; did you mean name?",
        ),
        (String::new(), ".: no manifests (*.yaml, *.yml) in this folder"),
        (
            "apiVersion: v1\nkind: Secret\n".to_owned(),
            ".: no manifest of leveret.dev/v1alpha1 in this folder",
        ),
    ] {
        match read_text(&text) {
            Ok(manifests) => panic!("{text}\ngave {manifests:?}"),
            Err(problems) => {
                let shown: Vec<String> = problems
                    .iter()
                    .map(|problem| problem.replace("first in ./", "first in "))
                    .collect();
                assert_eq!(shown, [expected], "{text}");
            }
        }
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = format!(
        "{}---\n{}",
        QUEUE.replace("kind: Queue", "kind: Topic"),
        QUEUE.replace("brokerRef", "broker")
    );
    let problems = read_text(&text).expect_err("faults");
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn folders_below_and_hidden_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, name) in [("a.yml", "a"), ("b/c.yaml", "c"), (".git/d.yaml", "d"), ("e.json", "e")] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, QUEUE.replace("name: q", &format!("name: {name}"))).expect("a file");
    }
    let manifests = read(folder.path(), &files(folder.path()).expect("files")).expect("manifests");
    let names: Vec<&str> = manifests.objects.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    let missing = files(&folder.path().join("nowhere")).expect_err("no such folder");
    assert!(
        missing.to_string().ends_with("nowhere: no such folder or file"),
        "{missing}"
    );
}

/// As editors on Windows write it, and as `kubectl get -o yaml` prints several.
#[test]
fn a_byte_order_mark_and_lists_are_read() {
    let manifests = read_text(&format!(
        "\u{feff}{QUEUE}---\n\u{feff}{}",
        QUEUE.replace("name: q", "name: r")
    ));
    assert_eq!(manifests.expect("manifests").to_string(), "2 queues");
    let item = |name: &str| {
        format!(
            "- apiVersion: leveret.dev/v1alpha1\n  kind: Queue\n  metadata:\n    creationTimestamp: \"2026-01-01T00:00:00Z\"\n    \
             generation: 1\n    managedFields: []\n    name: {name}\n    namespace: shop\n    resourceVersion: \"5\"\n    uid: u\n  spec:\n    \
             brokerRef:\n      name: main\n  status:\n    observedGeneration: 1\n"
        )
    };
    let list = format!(
        "apiVersion: v1\nitems:\n{}{}- apiVersion: v1\n  kind: ConfigMap\nkind: List\nmetadata:\n  resourceVersion: \"\"\n",
        item("a"),
        item("b")
    );
    let manifests = read_text(&list).expect("manifests");
    assert_eq!(manifests.to_string(), "2 queues");
    let lines: Vec<String> = manifests.places.values().map(|place| place.of("brokerRef")).collect();
    assert!(
        lines.len() == 2 && lines[0].ends_with("a.yaml:14") && lines[1].ends_with("a.yaml:29"),
        "{lines:?}"
    );
    assert!(
        manifests.skipped[0].ends_with("a.yaml:33: ConfigMap of v1 is left alone"),
        "{:?}",
        manifests.skipped
    );
}

/// The loader's time grows with the product of depth and size: it must not get what is deep.
#[test]
fn deep_nesting_is_refused_at_its_place() {
    for (text, place) in [
        ("[".repeat(200_000), "a.yaml:1:"),
        (format!("a: {}", "{a: ".repeat(200_000)), "a.yaml:1:"),
        ("- ".repeat(200_000), "a.yaml:1:"),
        (
            format!("---\n{}{}", "[\n".repeat(100_000), "]\n".repeat(100_000)),
            "a.yaml:",
        ),
        // What the first parser does not read, the loader gets only if it cannot be deep.
        (format!("a: \"\\q\"\nb: {}", "[".repeat(200_000)), "a.yaml:1:"),
    ] {
        let started = std::time::Instant::now();
        let problems = read_text(&text).expect_err("too deep");
        let shown: String = text.chars().take(20).collect();
        assert!(
            problems.len() == 1 && problems[0].starts_with(place),
            "{shown}: {problems:?}"
        );
        let deep = "lists and maps are nested more than 64 deep";
        assert!(
            text.starts_with("a: \"") || problems[0].ends_with(deep),
            "{shown}: {problems:?}"
        );
        assert!(
            started.elapsed() < std::time::Duration::from_secs(5),
            "{shown}: {:?}",
            started.elapsed()
        );
    }
    let flat = format!("a: {}1{}\n", "[".repeat(60), "]".repeat(60));
    let problems = read_text(&flat).expect_err("no manifest");
    assert_eq!(
        problems,
        ["a.yaml:1: not a Kubernetes manifest: apiVersion or kind is missing"]
    );
}

#[test]
fn a_document_with_many_faults_names_the_first() {
    let fields: String = (0..2_000).map(|number| format!(", f{number}: 1")).collect();
    let problems = read_text(&QUEUE.replace("main } }", &format!("main }}{fields} }}"))).expect_err("faults");
    assert_eq!(problems.len(), 51);
    assert_eq!(problems[50], "a.yaml:1: Queue q: 1950 more faults");
}
