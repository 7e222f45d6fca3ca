use super::*;

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn read(given: &[&str]) -> Terms {
    terms(&lines(given)).expect("right settings").expect("some")
}

fn refused(given: &[&str]) -> String {
    terms(&lines(given)).expect_err("refused").to_string()
}

#[test]
fn one_issuer_is_what_most_have() {
    let read = read(&[
        "resource_server_id=rabbitmq",
        "jwks_uri=https://idp/keys",
        "algorithms.1=RS256",
    ]);
    let (server, issuer) = (&read.servers[0], &read.issuers[0]);
    assert_eq!(
        (server.id.as_str(), server.scope_prefix.as_str()),
        ("rabbitmq", "rabbitmq.")
    );
    assert_eq!(
        (server.verify_aud, server.require_exp, server.authz),
        (true, true, Authz::Scopes)
    );
    assert_eq!(server.user_claims, ["sub", "client_id"]);
    assert_eq!(issuer.source, Source::Url("https://idp/keys".into()));
    assert_eq!(
        (issuer.name.as_str(), issuer.algorithms.as_deref()),
        ("default", Some(&[Algorithm::Rs256][..]))
    );
    assert_eq!(terms(&[]).map(|terms| terms.is_none()).ok(), Some(true));
}

#[test]
fn several_issuers_have_names() {
    let read = read(&[
        "scope_prefix=x.",
        "preferred_username_claims.2=sub",
        "preferred_username_claims.1=email",
        "scope_aliases.admin=x.tag:administrator x.read:*/*",
        "resource_servers.cluster.authz=internal",
        "resource_servers.cluster.oauth_provider_id=k8s",
        "resource_servers.cluster.verify_aud=false",
        "resource_servers.shop.id=https://shop",
        "resource_servers.shop.oauth_provider_id=idp",
        "resource_servers.shop.scope_aliases.1.alias=dev.read",
        "resource_servers.shop.scope_aliases.1.scope=x.read:dev/*",
        "oauth_providers.k8s.issuer=https://kubernetes.default.svc/",
        "oauth_providers.k8s.https.cacertfile=/ca",
        "oauth_providers.k8s.https.token_file=/token",
        "oauth_providers.idp.jwks_file=/keys",
    ]);
    let [cluster, shop] = read.servers.as_slice() else {
        panic!("two: {read:?}")
    };
    assert_eq!(
        (cluster.id.as_str(), cluster.authz, cluster.verify_aud),
        ("cluster", Authz::Users, false)
    );
    assert_eq!(cluster.scope_aliases["admin"], ["x.tag:administrator", "x.read:*/*"]);
    assert_eq!(
        (shop.id.as_str(), shop.scope_prefix.as_str(), shop.verify_aud),
        ("https://shop", "x.", true)
    );
    assert_eq!(
        shop.scope_aliases,
        HashMap::from([("dev.read".into(), vec!["x.read:dev/*".into()])])
    );
    assert_eq!(shop.user_claims, ["email", "sub"]);
    let of = |server: &ResourceServer| read.issuers[server.issuer].source.clone();
    let discovered = "https://kubernetes.default.svc/.well-known/openid-configuration";
    assert_eq!(of(cluster), Source::Discovery(discovered.into()));
    assert_eq!(of(shop), Source::File("/keys".into()));
    assert_eq!(read.issuers[cluster.issuer].token, Some("/token".into()));
}

#[test]
fn what_is_not_supported_is_refused() {
    for (given, words) in [
        (
            &["token_endpoint=https://idp/"][..],
            "auth_oauth2.token_endpoint: 'https://idp/' is not allowed; there is no such",
        ),
        (&["resource_servers.x.issuer=y"], "there is no such setting here"),
        (&["oauth_providers.x.verify_aud=true"], "there is no such setting here"),
        (&["nonsense"], "allowed is NAME=VALUE"),
        (
            &["https.verify=verify_none"],
            "auth_oauth2.https.verify: 'verify_none' is not allowed; allowed is verify_peer",
        ),
        (&["scope_pattern_syntax=regex"], "allowed is wildcard"),
        (&["resource_server_id="], "a text that isn't empty"),
        (
            &["jwks_file=/keys"],
            "auth_oauth2.resource_server_id: '' is not allowed",
        ),
        (&["resource_server_id=x"], "an address of keys"),
        (
            &["resource_server_id=x", "jwks_uri=http://idp/"],
            "allowed is https://...",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "algorithms.1=HS256"],
            "'HS256' is not allowed; allowed is RS256",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "algorithms.1=none"],
            "'none' is not allowed",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "verify_aud=perhaps"],
            "allowed is true or false",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "authz=ldap"],
            "allowed is oauth2 or internal",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "jwks_uri=https://b/"],
            "where there is no jwks_uri",
        ),
        (
            &["resource_server_id=x", "jwks_file=/a", "scope_aliases.1.alias=y"],
            "together with its scope",
        ),
        (
            &["resource_server_id=x", "default_oauth_provider=y", "jwks_file=/a"],
            "one of oauth_providers",
        ),
        (
            &["resource_server_id=x", "signing_keys.a=/nowhere"],
            "a file with a public key in PEM",
        ),
    ] {
        let refused = refused(given);
        assert!(refused.contains(words), "{given:?}: {refused}");
    }
}

#[test]
fn every_row_is_taken() {
    let all = SERVER.iter().chain(&ISSUER).chain(&ONCE);
    for row in all {
        let value = match row.range {
            "verify_peer" | "wildcard" => row.range,
            _ => "x",
        };
        assert!(check(&row.name.replace('*', "n"), value).is_ok(), "{}", row.name);
    }
    assert_eq!(parts(r#"signing_keys."a.b""#), ["signing_keys", "a.b"]);
    assert_eq!(joined(&parts(r#"signing_keys."a.b""#)), r#"signing_keys."a.b""#);
}

/// A row of docs/settings.md.
fn written(prefix: &str, row: &Row) -> String {
    format!(
        "| `auth_oauth2.{prefix}{}` | {} | {} |",
        row.name.replace('*', "NAME"),
        row.about,
        row.range
    )
}

#[test]
fn the_document_has_every_name() {
    let document = include_str!("../../../../docs/settings.md");
    let found: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `auth_oauth2."))
        .collect();
    let stated: Vec<String> = ONCE
        .iter()
        .chain(&SERVER)
        .chain(&ISSUER)
        .map(|row| written("", row))
        .collect();
    assert_eq!(found, stated, "docs/settings.md should have:\n{}", stated.join("\n"));
}
