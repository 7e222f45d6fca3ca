use proptest::prelude::*;

use super::raw::Property;
use super::*;
use crate::error::Reason;
use crate::reply_code::ReplyCode;
use crate::strategy;

#[test]
fn a_header_is_known_by_its_literal_octets() {
    let payload = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x10, 0, 2];
    let header = parse_header(&payload).unwrap();
    assert_eq!(
        header,
        HeaderView {
            class_id: 60,
            body_size: 256,
            properties: &[0x10, 0, 2]
        }
    );
    assert_eq!(raw::delivery_mode(header.properties), Some(2));
}

#[test]
fn bad_headers_get_rabbitmqs_texts() {
    let error = parse_header(&[0, 60]).unwrap_err();
    assert_eq!(error.to_string(), "type 2, all octets = <<0,60>>: unknown_frame");
    assert_eq!(error.reply_code(), ReplyCode::FrameError);
    let error = parse_header(&[0, 60, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected content header for class 60, got non content header frame instead"
    );
    assert_eq!(error.reply_code(), ReplyCode::UnexpectedFrame);
}

#[test]
fn flags_and_list_have_to_fit() {
    let reason = |raw: &[u8]| validate(raw).map_err(|error| error.reason);
    assert_eq!(reason(&[0, 0]), Ok(()));
    // RabbitMQ ignores the two flags that belong to no property, the one for more flags included.
    assert_eq!(reason(&[0, 3]), Ok(()));
    assert_eq!(reason(&[]), Err(Reason::Truncated));
    assert_eq!(reason(&[0x80]), Err(Reason::Truncated));
    assert_eq!(reason(&[0x80, 0]), Err(Reason::Truncated));
    assert_eq!(reason(&[0x80, 0, 1, b'a', 0]), Err(Reason::TrailingBytes));
    assert_eq!(reason(b"\x20\0\0\0\0\x03\x01aZ"), Err(Reason::UnknownFieldType(b'Z')));
    assert_eq!(reason(b"\x80\0\x01\xff"), Ok(()));
}

#[test]
fn single_properties_are_found_and_missed() {
    let table = FieldTable(vec![(ShortString::from_static("k"), crate::field::FieldValue::Int(7))]);
    let properties = BasicProperties {
        content_type: Some(ShortString::from_static("text/plain")),
        headers: Some(table.clone()),
        priority: Some(9),
        expiration: Some(ShortString::from_static("60000")),
        timestamp: Some(1_700_000_000),
        user_id: Some(ShortString::from_static("guest")),
        ..BasicProperties::default()
    };
    let octets = properties.to_bytes();
    assert_eq!(raw::content_type(&octets), Some(b"text/plain".as_slice()));
    assert_eq!(FieldTable::parse(raw::headers(&octets).unwrap()), Ok(table));
    assert_eq!(raw::priority(&octets), Some(9));
    assert_eq!(raw::expiration(&octets), Some(b"60000".as_slice()));
    assert_eq!(raw::timestamp(&octets), Some(1_700_000_000));
    assert_eq!(raw::user_id(&octets), Some(b"guest".as_slice()));
    assert_eq!(raw::delivery_mode(&octets), None);
    assert_eq!(raw::reply_to(&octets), None);
    assert!(raw::is_set(&octets, Property::Headers));
    assert!(!raw::is_set(&octets, Property::AppId));
    assert_eq!(raw::user_id(&octets[..octets.len() - 1]), None);
}

/// Every property as the single readers see it.
fn one_by_one(raw: &[u8]) -> BasicProperties {
    let short = |octets: Option<&[u8]>| octets.map(|octets| ShortString::try_from(octets).unwrap());
    BasicProperties {
        content_type: short(raw::content_type(raw)),
        content_encoding: short(raw::content_encoding(raw)),
        headers: raw::headers(raw).map(|table| FieldTable::parse(table).unwrap()),
        delivery_mode: raw::delivery_mode(raw),
        priority: raw::priority(raw),
        correlation_id: short(raw::correlation_id(raw)),
        reply_to: short(raw::reply_to(raw)),
        expiration: short(raw::expiration(raw)),
        message_id: short(raw::message_id(raw)),
        timestamp: raw::timestamp(raw),
        kind: short(raw::kind(raw)),
        user_id: short(raw::user_id(raw)),
        app_id: short(raw::app_id(raw)),
        cluster_id: short(raw::cluster_id(raw)),
    }
}

proptest! {
    #[test]
    fn properties_survive_the_wire(properties in strategy::properties(strategy::short_octets, strategy::table)) {
        let octets = properties.to_bytes();
        prop_assert_eq!(validate(&octets), Ok(()));
        prop_assert_eq!(BasicProperties::parse(&octets), Ok(properties.clone()));
        prop_assert_eq!(one_by_one(&octets), properties);
    }

    #[test]
    fn mutations_are_judged_alike_by_all_readers(
        octets in prop_oneof![
            strategy::mutated(
                strategy::properties(strategy::short_octets, strategy::table).prop_map(|all| all.to_bytes().to_vec()),
            ),
            strategy::noise(),
        ],
    ) {
        let parsed = BasicProperties::parse(&octets);
        prop_assert_eq!(parsed.clone().err(), validate(&octets).err());
        match parsed {
            Ok(properties) => prop_assert_eq!(one_by_one(&octets), properties),
            // They must not panic on what is malformed either.
            Err(_) => for property in Property::ALL {
                let _ = (raw::is_set(&octets, property), raw::headers(&octets), raw::cluster_id(&octets));
            },
        }
    }

    #[test]
    fn noise_in_a_header_never_panics(payload in strategy::noise()) {
        if let Ok(header) = parse_header(&payload) {
            prop_assert_eq!(header.properties.len() + 12, payload.len());
        }
    }
}
