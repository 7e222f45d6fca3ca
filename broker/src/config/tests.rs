use super::*;

fn flags() -> Flags {
    Flags {
        data_dir: Some("/data".into()),
        ..Flags::default()
    }
}

fn refused(change: impl FnOnce(&mut Flags)) -> String {
    let mut flags = flags();
    change(&mut flags);
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
    ];
    let expected = expected.map(|(name, addresses)| (name, addresses.to_owned(), true));
    assert_eq!(listens.collect::<Vec<_>>(), expected);
    assert_eq!(config.limits.frame_max, 131_072);
    assert_eq!(config.segment_bytes, 64 << 20);
    assert_eq!(config.disk_free_limit_bytes, None);
    assert_eq!(config.max_message_bytes, 128 << 20);
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    assert_eq!(
        refused(|flags| flags.heartbeat = Some("2h".into())),
        "setting heartbeat: '2h' is not allowed; allowed is a time with a unit (ms, s, m, h) from 0s to 3600s"
    );
    assert_eq!(
        refused(|flags| flags.channel_max = Some("0".into())),
        "setting channel_max: '0' is not allowed; allowed is a whole number from 1 to 65535"
    );
    assert!(refused(|flags| flags.frame_max = Some("1KiB".into())).contains("from 4KiB to 64MiB"));
    assert!(refused(|flags| flags.amqp_listen = vec!["localhost".into()]).contains("127.0.0.1:5672"));
    assert!(refused(|flags| flags.memory_watermark = Some("95%".into())).contains("1% to 90%"));
    // Below that the log could fill the disk before anybody is stopped.
    assert!(refused(|flags| flags.disk_free_limit = Some("100MiB".into())).contains("from 192MiB to 16TiB"));
    assert!(refused(|flags| flags.data_dir = None).contains("--data-dir"));
}

#[test]
fn the_file_fills_what_flags_leave_open() {
    let mut given = Flags {
        heartbeat: Some("10s".into()),
        ..flags()
    };
    let file = "heartbeat = \"20s\"\nchannel_max = 10\namqp_listen = [\"0.0.0.0:1\"]\nguest_loopback_only = false\n";
    given.fill(Path::new("x.toml"), file).expect("a right file");
    let config = given.check().expect("right values");
    assert_eq!((config.limits.heartbeat_seconds, config.limits.channel_max), (10, 10));
    let listen = config.listen.first().expect("AMQP");
    assert_eq!(
        (&listen.addresses, listen.defaults),
        (&vec!["0.0.0.0:1".parse().expect("address")], false)
    );
    assert!(matches!(config.users, Users::Guest { loopback_only: false }));
}

#[test]
fn an_unknown_key_and_a_broken_file_are_refused() {
    let unknown = flags()
        .fill(Path::new("x.toml"), "heartbeats = 3")
        .expect_err("unknown key")
        .to_string();
    assert!(
        unknown.contains("heartbeats") && unknown.contains("x.toml") && unknown.contains("heartbeat,"),
        "{unknown}"
    );
    let broken = flags()
        .fill(Path::new("x.toml"), "heartbeat = ")
        .expect_err("broken")
        .to_string();
    assert!(
        broken.contains("x.toml") && broken.contains("line 1, column"),
        "{broken}"
    );
    assert!(!broken.contains('\n'));
}

#[test]
fn files_that_belong_together_are_asked_for_together() {
    assert!(refused(|flags| flags.tls_cert = Some("a.pem".into())).contains("tls_key"));
    assert!(refused(|flags| flags.tls_ca = Some("ca.pem".into())).contains("tls_cert"));
    assert!(refused(|flags| flags.amqps_listen = vec!["127.0.0.1:5671".into()]).contains("tls_cert"));
    assert!(refused(|flags| flags.admin_user_file = Some("user".into())).contains("admin_password_file"));
    let missing = refused(|flags| {
        flags.admin_user_file = Some("/nowhere/user".into());
        flags.admin_password_file = Some("/nowhere/password".into());
    });
    assert!(missing.contains("/nowhere/user"), "{missing}");
}
