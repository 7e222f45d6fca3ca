//! What RabbitMQ 4.3.6 answered to each of these, word for word.

use super::*;
use leveret_amqp::ShortString;

fn table<const N: usize>(fields: [(&'static str, FieldValue); N]) -> FieldTable {
    let pair = |(name, value)| (ShortString::from_static(name), value);
    fields.into_iter().map(pair).collect()
}

/// The fault of a definition.
fn fault<const N: usize>(class: Class, definition: [(&'static str, FieldValue); N]) -> String {
    let fields = table([
        ("pattern", "x".into()),
        ("definition", FieldValue::Table(table(definition))),
    ]);
    let text = Policy::parse(class, "p", &fields).expect_err("a fault");
    let text = text.strip_prefix("Validation failed\n\n").expect("the head");
    text.strip_suffix('\n').expect("the end").to_owned()
}

fn refused(key: &'static str, value: impl Into<FieldValue>) -> String {
    fault(Class::User, [(key, value.into())])
}

#[test]
fn wrong_values_are_refused() {
    for (key, value, text) in [
        (
            "alternate-exchange",
            FieldValue::Long(5),
            "5 is not a valid alternate exchange name",
        ),
        (
            "consumer-disconnected-timeout",
            "x".into(),
            "<<\"x\">> is not a valid consumer disconnected timeout",
        ),
        ("consumer-timeout", (-1).into(), "-1 is not a valid consumer timeout"),
        (
            "dead-letter-exchange",
            5.into(),
            "5 is not a valid dead letter exchange name",
        ),
        (
            "dead-letter-routing-key",
            true.into(),
            "true is not a valid dead letter routing key",
        ),
        (
            "dead-letter-strategy",
            "x".into(),
            "<<\"x\">> is not a valid dead letter strategy",
        ),
        (
            "delayed-retry-max",
            0.into(),
            "0 is not a valid delayed retry maximum delay. Must be a positive integer",
        ),
        (
            "delayed-retry-min",
            0.into(),
            "0 is not a valid delayed retry minimum delay. Must be a positive integer",
        ),
        (
            "delayed-retry-type",
            "x".into(),
            "<<\"x\">> is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
        ),
        ("delivery-limit", "x".into(), "<<\"x\">> is not a valid delivery limit"),
        ("expires", 0.into(), "0 is not a valid queue expiry"),
        ("initial-cluster-size", (-1).into(), "-1 is not a valid cluster size"),
        ("max-age", "x".into(), "<<\"x\">> is not a valid max age"),
        (
            "max-in-memory-bytes",
            (-1).into(),
            "-1 is not a valid maximum memory in bytes",
        ),
        (
            "max-in-memory-length",
            (-1).into(),
            "-1 is not a valid maximum memory in bytes",
        ),
        (
            "max-length",
            FieldValue::Double(1.5),
            "1.5 is not a valid maximum length",
        ),
        (
            "max-length-bytes",
            FieldValue::Void,
            "null is not a valid maximum length in bytes",
        ),
        ("message-ttl", "5".into(), "<<\"5\">> is not a valid message TTL"),
        (
            "overflow",
            FieldValue::Array(vec![1.into(), "a".into()]),
            "[1,<<\"a\">>] is not a valid overflow value",
        ),
        (
            "queue-leader-locator",
            "x".into(),
            "<<\"x\">> is not a valid queue leader locator value",
        ),
        ("queue-mode", "x".into(), "<<\"x\">> is not a valid queue-mode value"),
        ("queue-version", 3.into(), "3 is not a valid queue-version value"),
        (
            "stream-filter-size-bytes",
            15.into(),
            "15 is not a valid filter size. Valid range is 16-255",
        ),
        (
            "stream-max-segment-size-bytes",
            3_000_000_001_i64.into(),
            "3000000001 is not a valid segment size",
        ),
        ("target-group-size", 0.into(), "0 is not a valid qq target count value"),
    ] {
        assert_eq!(refused(key, value), text);
    }
    let map = FieldValue::Table(table([("a", 1.into())]));
    assert_eq!(
        refused("max-length", map),
        "#{<<\"a\">> => 1} is not a valid maximum length"
    );
    let two = [("message-ttl", (-1).into()), ("expires", 0.into())];
    assert_eq!(fault(Class::User, two), "0 is not a valid queue expiry");
}

#[test]
fn retries_need_a_delay_and_a_right_one() {
    let text = "delayed-retry-min is required when delayed-retry-type is all";
    assert_eq!(refused("delayed-retry-type", "all"), text);
    let delays = [("delayed-retry-min", 10.into()), ("delayed-retry-max", 5.into())];
    let text = "delayed-retry-max (5) must not be smaller than delayed-retry-min (10)";
    assert_eq!(fault(Class::User, delays), text);
}

#[test]
fn unknown_keys_are_listed() {
    assert_eq!(
        refused("max-lenght", 5),
        "[{<<\"max-lenght\">>,5}] are not recognised policy settings"
    );
    let inner = FieldValue::Table(table([("d", 1.into())]));
    let list = FieldValue::Array(vec![1.into(), true.into(), FieldValue::Void, FieldValue::Double(1.5)]);
    let many = [
        ("max-lenght", 5.into()),
        ("b", "text".into()),
        ("c", inner),
        ("e", list),
    ];
    let text = "[{<<\"b\">>,<<\"text\">>},\n {<<\"c\">>,#{<<\"d\">> => 1}},\n {<<\"e\">>,[1,true,null,1.5]},\n \
                {<<\"max-lenght\">>,5}] are not recognised policy settings";
    assert_eq!(fault(Class::User, many), text);
    assert_eq!(fault(Class::User, []), "no policy provided");
}

#[test]
fn an_operator_policy_has_limits_only() {
    let text = "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings";
    let both = [("max-length", 5.into()), ("dead-letter-exchange", "x".into())];
    assert_eq!(fault(Class::Operator, both), text);
    let text = "-1 is not a valid message TTL";
    assert_eq!(fault(Class::Operator, [("message-ttl", (-1).into())]), text);
}

#[test]
fn all_faults_are_told_at_once() {
    let fields = table([
        ("pattern", 5.into()),
        ("definition", 5.into()),
        ("priority", "5".into()),
        ("apply-to", "none".into()),
    ]);
    let text = "Validation failed\n\ndefinition must be a dictionary: 5\napply-to 'none' unrecognised; should be one of: \
                'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'\n\
                pattern should be a binary but was 5\npriority should be a number, actually was <<\"5\">>\n";
    assert_eq!(Policy::parse(Class::User, "p", &fields), Err(text.to_owned()));
}

#[test]
fn two_definitions_are_merged_by_key() {
    let policy = table([
        ("dead-letter-exchange", "dlx".into()),
        ("delayed-retry-min", 10.into()),
        ("delivery-limit", (-1).into()),
        ("expires", 5.into()),
        ("message-ttl", 5.into()),
        ("overflow", "drop-head".into()),
        ("target-group-size", 3.into()),
    ]);
    let operator = table([
        ("delayed-retry-min", 20.into()),
        ("delivery-limit", 3.into()),
        ("max-length", 7.into()),
        ("message-ttl", 9.into()),
        ("overflow", "reject-publish".into()),
        ("target-group-size", 1.into()),
    ]);
    let expected = table([
        ("dead-letter-exchange", "dlx".into()),
        ("delayed-retry-min", 20.into()),
        ("delivery-limit", 3.into()),
        ("expires", 5.into()),
        ("max-length", 7.into()),
        ("message-ttl", 5.into()),
        ("overflow", "reject-publish".into()),
        ("target-group-size", 3.into()),
    ]);
    assert_eq!(keys::merge(&policy, &operator), expected);
}
