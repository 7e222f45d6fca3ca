use super::*;

fn name() -> Name {
    Name::new("", "shop/till")
}

fn wanted(spec: Value) -> UserDefinition {
    let mut spec = spec;
    spec["brokerRef"] = json!({"name": "main"});
    UserDefinition::wanted(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn with_password(spec: Value, password: &str) -> UserDefinition {
    UserDefinition {
        password: Some(Hash::new("rabbit_password_hashing_sha256", password)),
        ..wanted(spec)
    }
}

fn lines(requests: &[Request]) -> Vec<String> {
    let line = |request: &Request| {
        let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
        format!("{:?} {} {body}", request.verb, request.path)
            .trim_end()
            .to_owned()
    };
    requests.iter().map(line).collect()
}

fn full() -> Value {
    json!({
        "tags": ["policymaker", "management"],
        "limits": {"maxConnections": 5},
        "permissions": [{"vhost": "shop", "configure": "^till", "write": ".*"}],
        "topicPermissions": [{"vhost": "shop", "exchange": "orders", "write": "^till\\."}],
    })
}

#[test]
fn a_new_user_is_made_with_all_its_parts() {
    let requests = with_password(full(), "aGFzaA==").puts(&name(), None);
    assert_eq!(
        lines(&requests),
        [
            "Put /api/users/shop%2Ftill {\"hashing_algorithm\":\"rabbit_password_hashing_sha256\",\
             \"limits\":{\"max-connections\":5},\"password_hash\":\"aGFzaA==\",\"tags\":\"management,policymaker\"}",
            "Put /api/permissions/shop/shop%2Ftill {\"configure\":\"^till\",\"read\":\"\",\"write\":\".*\"}",
            "Put /api/topic-permissions/shop/shop%2Ftill {\"exchange\":\"orders\",\"read\":\"\",\"write\":\"^till\\\\.\"}",
        ]
    );
}

#[test]
fn only_what_differs_is_written() {
    let found = with_password(full(), "aGFzaA==");
    assert_eq!(found.puts(&name(), Some(&found)), []);
    assert_eq!(found.differences(&found), Vec::<String>::new());
    let other = with_password(
        json!({
            "tags": ["policymaker", "management"],
            "permissions": [{"vhost": "shop", "configure": "^till", "write": ".*"}, {"vhost": "/", "read": "^a"}],
        }),
        "aGFzaA==",
    );
    assert_eq!(
        lines(&other.puts(&name(), Some(&found))),
        [
            "Put /api/users/shop%2Ftill {\"hashing_algorithm\":\"rabbit_password_hashing_sha256\",\
             \"password_hash\":\"aGFzaA==\",\"tags\":\"management,policymaker\"}",
            "Delete /api/user-limits/shop%2Ftill/max-connections",
            "Put /api/permissions/%2F/shop%2Ftill {\"configure\":\"\",\"read\":\"^a\",\"write\":\"\"}",
            "Delete /api/topic-permissions/shop/shop%2Ftill/orders",
        ]
    );
    assert_eq!(
        other.differences(&found),
        [
            "limits.maxConnections is 5 on the broker, wanted not set",
            "permission in vhost '/' is none on the broker, wanted configure \"\" write \"\" read \"^a\"",
            "topic permission for exchange 'orders' in vhost 'shop' is write \"^till\\.\" read \"\" on the broker, \
             wanted none",
        ]
    );
    let rotated = with_password(full(), "b3RoZXI=");
    assert_eq!(lines(&rotated.puts(&name(), Some(&found))).len(), 1);
    let told = rotated.differences(&found);
    assert_eq!(told, ["its password is another on the broker"]);
}

#[test]
fn what_was_made_in_part_is_completed() {
    let whole = with_password(full(), "aGFzaA==");
    let begun = UserDefinition {
        permissions: BTreeMap::new(),
        topics: BTreeMap::new(),
        ..whole.clone()
    };
    assert!(whole.completes(&begun) && whole.completes(&whole) && !begun.completes(&whole));
    let mut other = whole.clone();
    other
        .permissions
        .insert("shop".to_owned(), ["", "", ""].map(str::to_owned));
    assert!(!whole.completes(&other));
    assert!(!whole.completes(&with_password(full(), "b3RoZXI=")));
}

#[test]
fn either_form_of_a_password_is_right_and_leveret_gets_the_better_one() {
    let slow = Hash::new("argon2id", "c2xvdw==");
    let both = UserDefinition {
        slow: Some(slow.clone()),
        ..with_password(full(), "aGFzaA==")
    };
    let kept = |hash: &Hash| UserDefinition {
        password: Some(hash.clone()),
        ..with_password(full(), "")
    };
    for found in [kept(&slow), with_password(full(), "aGFzaA==")] {
        assert_eq!(both.differences(&found), Vec::<String>::new());
    }
    assert_eq!(both.differences(&kept(&Hash::none())).len(), 1);
    assert_eq!(both.clone().for_leveret().password, Some(slow));
    let usual = with_password(full(), "aGFzaA==");
    assert_eq!(usual.clone().for_leveret(), usual);
}

#[test]
fn a_password_that_is_not_known_is_not_compared() {
    let found = with_password(full(), "aGFzaA==");
    let planned = wanted(full());
    assert_eq!(planned.password, None);
    assert_eq!(planned.differences(&found), Vec::<String>::new());
}

#[test]
fn ways_without_a_secret_are_known_from_the_spec() {
    let token = wanted(json!({"serviceAccount": {"name": "till", "namespace": "shop"}}));
    assert_eq!(token.password, Some(Hash::none()));
    let put = token.put(&name()).unwrap();
    assert_eq!(put.body, Some(json!({"tags": "", "password_hash": ""})));
    let hash = json!({"passwordHash": {"value": "aGFzaA==", "algorithm": "rabbit_password_hashing_sha512"}});
    assert_eq!(
        wanted(hash).password,
        Some(Hash::new("rabbit_password_hashing_sha512", "aGFzaA=="))
    );
}

#[test]
fn parts_wait_for_what_they_are_in() {
    let mut user = wanted(full());
    let targets: Vec<String> = user.parts(None).iter().map(|need| need.target.to_string()).collect();
    assert_eq!(targets, ["vhost 'shop'", "exchange 'orders' in vhost 'shop'"]);
    assert_eq!(user.parts(Some(&user.clone())), []);
    user.without(&Target::new(Kind::Exchange, Name::new("shop", "orders")));
    assert!(user.topics.is_empty() && !user.permissions.is_empty());
    user.lose(&in_vhost("shop"));
    assert!(user.permissions.is_empty());
}

#[test]
fn rows_as_rabbitmq_writes_them() {
    let mut all = BTreeMap::new();
    for row in [
        json!({"name": "till", "password_hash": "aGFzaA==", "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["management"], "limits": {"max-channels": 7, "max-connections": -1}}),
        json!({"name": "old", "password_hash": "", "tags": "management,monitoring"}),
        json!({"user": "till", "vhost": "shop", "configure": "a", "write": "b", "read": "c"}),
        json!({"user": "till", "vhost": "shop", "exchange": "orders", "write": "d", "read": "e"}),
        json!({"user": "gone meanwhile", "vhost": "shop", "configure": "", "write": "", "read": ""}),
    ] {
        UserDefinition::take(serde_json::from_value(row).unwrap(), &mut all);
    }
    assert_eq!(all.len(), 2);
    let till = &all[&Name::new("", "till")];
    assert_eq!(till.tags, BTreeSet::from(["management".to_owned()]));
    assert_eq!((till.limits.max_channels, till.limits.max_connections), (Some(7), None));
    assert_eq!(till.permissions["shop"], ["a", "b", "c"]);
    assert_eq!(till.topics[&("shop".to_owned(), "orders".to_owned())], ["d", "e"]);
    let old = &all[&Name::new("", "old")];
    assert_eq!((old.tags.len(), &old.password), (2, &Some(Hash::none())));
}

#[test]
fn a_user_is_written_down_without_its_password() {
    let user = with_password(full(), "aGFzaA==");
    let again = wanted(Value::Object(user.spec()));
    assert_eq!(again.differences(&user), Vec::<String>::new());
    assert_eq!(user.way_in("till", false), None);
    let (field, way) = user.way_in("till", true).unwrap();
    assert_eq!((field, &way["value"]), ("passwordHash", &json!("aGFzaA==")));
    let token = with_password(json!({}), "");
    let (field, way) = token.way_in("system:serviceaccount:shop:till", false).unwrap();
    assert_eq!(
        (field, way),
        ("serviceAccount", json!({"name": "till", "namespace": "shop"}))
    );
    assert_eq!(token.way_in("till", false).unwrap().1["value"], json!(""));
}

#[test]
fn a_user_reaches_for_all_that_it_gives() {
    let tag = |tag: &str| Touch::Tag(tag.to_owned());
    let matching = |regex: &str| Touch::Matching {
        regex: regex.to_owned(),
        kinds: &[Kind::Exchange, Kind::Queue],
    };
    let exchange = Target::new(Kind::Exchange, Name::new("shop", "orders"));
    assert_eq!(
        wanted(full()).reaches(""),
        [
            Touch::Vhost("shop".to_owned()),
            Touch::Vhost("shop".to_owned()),
            matching("^till"),
            matching(".*"),
            Touch::Name(exchange),
            tag("management"),
            tag("policymaker"),
        ]
    );
}
