use super::*;
use std::path::Path;

fn flags() -> Flags {
    let mut flags = Flags::default();
    flags.set("data_dir", "/data");
    flags
}

/// The refusal of one setting with this text, beside a right `data_dir`.
fn refused(key: &'static str, text: &str) -> String {
    let mut flags = flags();
    flags.set(key, text);
    flags.check().expect_err("refused").to_string()
}

#[test]
fn the_defaults_listen_on_both_loopbacks() {
    let config = flags().check().expect("defaults");
    let listens = config.listen.iter().map(|listen| {
        let addresses: Vec<String> = listen.addresses.iter().map(ToString::to_string).collect();
        (listen.service.name, addresses.join(","), listen.defaults)
    });
    let expected = [
        ("amqp", "127.0.0.1:5672,[::1]:5672"),
        ("http", "127.0.0.1:15672,[::1]:15672"),
        ("prometheus", "127.0.0.1:15692,[::1]:15692"),
    ];
    let expected = expected.map(|(name, addresses)| (name, addresses.to_owned(), true));
    assert_eq!(listens.collect::<Vec<_>>(), expected);
    assert_eq!(config.offer.limits.frame_max, 131_072);
    assert_eq!(config.segment_bytes, 64 << 20);
    assert_eq!(config.disk_free_limit_bytes, None);
    assert_eq!(config.max_message_bytes, 128 << 20);
    assert_eq!(config.most, Most::default());
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    assert_eq!(
        refused("heartbeat", "2h"),
        "setting heartbeat: '2h' is not allowed; allowed is a time with a unit (ms, s, m, h) from 0s to 3600s"
    );
    assert_eq!(
        refused("channel_max", "0"),
        "setting channel_max: '0' is not allowed; allowed is a whole number from 1 to 65535"
    );
    assert_eq!(
        refused("connection_max", "0"),
        "setting connection_max: '0' is not allowed; allowed is a whole number from 1 to 4294967295, or infinity"
    );
    assert!(refused("frame_max", "1KiB").contains("from 4KiB to 64MiB"));
    assert!(refused("amqp_listen", "localhost").contains("127.0.0.1:5672"));
    assert!(refused("memory_watermark", "95%").contains("1% to 90%"));
    assert!(refused("log_format", "xml").contains("allowed is text or json"));
    assert!(refused("guest_loopback_only", "perhaps").contains("allowed is true or false"));
    // Below that the log could fill the disk before any publisher is stopped.
    assert!(refused("disk_free_limit", "100MiB").contains("from 192MiB to 16TiB"));
    let nothing = Flags::default().check().expect_err("refused").to_string();
    assert!(nothing.contains("--data-dir"), "{nothing}");
    assert!(refused("data_dir", "").contains("--data-dir"));
}

#[test]
fn the_file_fills_what_flags_leave_open() {
    let mut given = flags();
    given.set("heartbeat", "10s");
    let file = "heartbeat = \"20s\"\nchannel_max = 10\namqp_listen = [\"0.0.0.0:1\"]\nguest_loopback_only = false\n";
    given.fill(Path::new("x.toml"), file).expect("a right file");
    let config = given.check().expect("right values");
    assert_eq!(
        (config.offer.limits.heartbeat_seconds, config.offer.limits.channel_max),
        (10, 10)
    );
    let listen = config.listen.first().expect("AMQP");
    assert_eq!(
        (&listen.addresses, listen.defaults),
        (&vec!["0.0.0.0:1".parse().expect("address")], false)
    );
    assert!(matches!(
        config.users,
        Users::Guest {
            loopback_only: false,
            made: true
        }
    ));
}

#[test]
fn definitions_are_loaded_in_place_of_guest() {
    let mut given = flags();
    let file = "load_definitions = \"/etc/definitions.json\"\n\
                definitions.skip_if_unchanged = true\n\
                [management.http]\n\
                max_body_size = 1000000\n";
    given
        .fill(Path::new("x.toml"), file)
        .expect("a right file, by RabbitMQ's names");
    let config = given.check().expect("right values");
    let definitions = config.definitions.expect("definitions");
    assert_eq!(definitions.path, Path::new("/etc/definitions.json"));
    assert!(definitions.skip_if_unchanged);
    assert_eq!((definitions.max_bytes, config.max_body_bytes), (1_000_000, 1_000_000));
    assert!(matches!(config.users, Users::Guest { made: false, .. }));
    assert!(flags().check().is_ok_and(|config| config.definitions.is_none()));
}

#[test]
fn only_what_is_written_differently_is_a_difference() {
    let (mut before, mut after) = (flags(), flags());
    assert_eq!(before.differences(&after), [""; 0]);
    before.set("heartbeat", "10s");
    after.set("heartbeat", "11s");
    after.set("log", "debug");
    assert_eq!(before.differences(&after), ["heartbeat", "log"]);
    assert!(is_live("heartbeat") && !is_live("threads") && !is_live("nothing"));
}

#[test]
fn an_unknown_key_and_a_broken_file_are_refused() {
    let refused = |text: &str| {
        let filled = flags().fill(Path::new("x.toml"), text);
        filled.expect_err("refused").to_string()
    };
    let unknown = refused("heartbeats = 3");
    assert!(
        unknown.contains("heartbeats") && unknown.contains("x.toml") && unknown.contains("heartbeat,"),
        "{unknown}"
    );
    let broken = refused("heartbeat = ");
    assert!(
        broken.contains("x.toml") && broken.contains("line 1, column"),
        "{broken}"
    );
    assert!(!broken.contains('\n'));
    assert!(refused("heartbeat = [\"1s\", \"2s\"]").contains("one value, not a list"));
}

#[test]
fn names_below_names_are_taken_as_rabbitmq_writes_them() {
    let file = r#"
        auth_backends.2 = "internal"
        auth_backends.1 = "oauth2"
        auth_mechanisms = ["PLAIN"]
        auth_oauth2.resource_server_id = "rabbitmq"
        auth_oauth2.verify_aud = false
        auth_oauth2.preferred_username_claims.1 = "email"
        auth_oauth2.preferred_username_claims.2 = "sub"
        [auth_oauth2.oauth_providers."a.b"]
        jwks_uri = "https://idp/keys"
        https.cacertfile = "/ca"
    "#;
    let mut given = flags();
    given.fill(Path::new("x.toml"), file).expect("a right file");
    let config = given.check().expect("right values");
    assert!(config.backends.internal && config.offer.mechanisms.plain && !config.offer.mechanisms.amqplain);
    let terms = config.backends.tokens.expect("tokens");
    assert_eq!(
        (terms.servers[0].verify_aud, terms.issuers[0].name.as_str()),
        (false, "a.b")
    );
    assert_eq!(terms.servers[0].user_claims, ["email", "sub"]);
    let refused = |text: &str| {
        let mut given = flags();
        let filled = given.fill(Path::new("x.toml"), text);
        let checked = filled.and_then(|()| given.check().map(drop));
        checked.expect_err("refused").to_string()
    };
    for (text, words) in [
        (
            "auth_backends.1 = \"ldap\"",
            "setting auth_backends: 'ldap' is not allowed; allowed is internal, oauth2",
        ),
        ("auth_backends.1.authn = \"internal\"", "setting auth_backends"),
        ("auth_backends.1 = \"oauth2\"", "oauth2 only together with auth_oauth2"),
        ("auth_mechanisms.1 = \"EXTERNAL\"", "EXTERNAL only together with tls_ca"),
        (
            "auth_oauth2.jwks_file = \"x\"\nauth_oauth2.resource_server_id = \"x\"",
            "only together with oauth2 in auth_backends",
        ),
        (
            "auth_oauth2.nothing = 1",
            "setting auth_oauth2.nothing: '1' is not allowed; there is no such setting here",
        ),
        (
            "ssl_cert_login_san_type = \"other_name\"",
            "allowed is dns or ip or email or uri",
        ),
    ] {
        let refused = refused(text);
        assert!(refused.contains(words), "{text}: {refused}");
    }
}

#[test]
fn files_that_belong_together_are_asked_for_together() {
    assert!(refused("tls_cert", "a.pem").contains("tls_key"));
    assert!(refused("tls_ca", "ca.pem").contains("tls_cert"));
    assert!(refused("amqps_listen", "127.0.0.1:5671").contains("tls_cert"));
    assert!(refused("admin_user_file", "user").contains("admin_password_file"));
    let mut flags = flags();
    flags.set("admin_user_file", "/nowhere/user");
    flags.set("admin_password_file", "/nowhere/password");
    let missing = flags.check().expect_err("refused").to_string();
    assert!(missing.contains("/nowhere/user"), "{missing}");
}

/// A row of docs/settings.md.
fn row(setting: &dyn Described) -> String {
    let (repeatable, commas) = if setting.repeatable() {
        (", repeatable", ", by commas")
    } else {
        ("", "")
    };
    let (key, flag, variable) = (setting.key(), setting.flag(), setting.variable());
    let (about, default, range) = (setting.about(), setting.default_words(), setting.range());
    let effect = if setting.live() { "at once" } else { "at the next start" };
    format!("| `{key}` | `--{flag}`{repeatable} | `{variable}`{commas} | {about} | {default} | {range} | {effect} |")
}

#[test]
fn the_document_has_the_table() {
    let document = include_str!("../../../docs/settings.md");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    // These have a table of their own.
    let own = ["| `auth_oauth2.", "| `zeromq."];
    let written: Vec<&str> = rows
        .filter(|line| !own.iter().any(|own| line.starts_with(own)))
        .collect();
    let stated: Vec<String> = table::all().map(row).collect();
    assert_eq!(written, stated, "docs/settings.md should have:\n{}", stated.join("\n"));
}

/// The same for other programs. The operator makes its schema of it and checks by it what is to be rolled out.
#[test]
fn the_document_for_programs_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.json");
    let rows = table::schema();
    let rows: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
    let stated = format!("[\n{}\n]\n", rows.join(",\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &stated).expect("it can be written");
    }
    let written = std::fs::read_to_string(&path).expect("the document");
    assert_eq!(
        written, stated,
        "UPDATE_DOCS=1 cargo test -p leveret-broker the_document_for_programs writes it anew"
    );
}
