use std::collections::HashSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::field::{FieldTable, FieldValue};
use crate::short_string::ShortString;
use crate::strategy as values;

fn encoded(method: &Method) -> Vec<u8> {
    let mut out = Vec::new();
    method.encode(&mut out);
    out
}

#[test]
fn ids_and_names_are_unique() {
    assert_eq!(ALL.len(), 66);
    assert_eq!(ALL.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), ALL.len());
    assert_eq!(
        ALL.iter().map(|(_, name)| name).collect::<HashSet<_>>().len(),
        ALL.len()
    );
    assert!(ALL.is_sorted());
    assert_eq!(name_of(50, 11), Some("queue.declare-ok"));
    assert_eq!(name_of(60, 100), Some("basic.recover-async"));
    assert_eq!(name_of(60, 41), None);
}

#[test]
fn a_declare_is_known_by_its_literal_octets() {
    let declare = QueueDeclare {
        queue: ShortString::from_static("q"),
        durable: true,
        no_wait: true,
        arguments: FieldTable(vec![(ShortString::from_static("x-max-length"), FieldValue::Int(5))]).into(),
        ..QueueDeclare::default()
    };
    let mut bytes = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0b1_0010, 0, 0, 0, 18, 12];
    bytes.extend_from_slice(b"x-max-lengthI\0\0\0\x05");
    assert_eq!(encoded(&declare.clone().into()), bytes);
    assert_eq!(Method::parse(&bytes), Ok(declare.into()));
}

#[test]
fn bits_start_again_after_another_argument() {
    let open = encoded(
        &ConnectionOpen {
            virtual_host: ShortString::from_static("/"),
        }
        .into(),
    );
    assert_eq!(open, [0, 10, 0, 40, 1, b'/', 0, 0]);
    let get_ok = BasicGetOk {
        delivery_tag: 1,
        redelivered: true,
        message_count: 2,
        ..BasicGetOk::default()
    };
    let bytes = [0, 60, 0, 71, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 2];
    assert_eq!(encoded(&get_ok.into()), bytes);
}

#[test]
fn unused_bits_and_reserved_arguments_are_ignored() {
    let publish = Method::parse(&[0, 60, 0, 40, 0xff, 0xff, 0, 1, b'q', 0xfd]).unwrap();
    let expected = BasicPublish {
        routing_key: ShortString::from_static("q"),
        mandatory: true,
        ..BasicPublish::default()
    };
    assert_eq!(publish, expected.into());
    assert!(Method::parse(b"\0\x0a\0\x28\x01/\x03abc\x01").is_ok());
}

#[test]
fn text_has_to_be_utf8_unless_content_follows() {
    let not_utf8 = ShortString::try_from([0xff].as_slice()).unwrap();
    let publish = BasicPublish {
        routing_key: not_utf8.clone(),
        ..BasicPublish::default()
    };
    assert_eq!(Method::parse(&encoded(&publish.clone().into())), Ok(publish.into()));
    let delete = encoded(
        &QueueDelete {
            queue: not_utf8,
            ..QueueDelete::default()
        }
        .into(),
    );
    assert_eq!(Method::parse(&delete).unwrap_err().reason, Reason::NotUtf8);
}

#[test]
fn errors_say_where() {
    let error = |payload: &[u8]| {
        let error = Method::parse(payload).unwrap_err();
        (error.class_id, error.method_id, error.offset, error.reason)
    };
    assert_eq!(error(&[0, 50]), (0, 0, 2, Reason::Truncated));
    assert_eq!(error(&[0, 99, 0, 10]), (99, 10, 4, Reason::UnknownMethod));
    assert_eq!(error(&[0, 50, 0, 10, 0, 0, 5, b'q']), (50, 10, 7, Reason::Truncated));
    assert_eq!(error(&[0, 60, 0, 11, 9]), (60, 11, 4, Reason::TrailingBytes));
}

#[test]
fn long_strings_are_octets() {
    let response = Bytes::from_static(b"\0guest\0guest");
    let start_ok = ConnectionStartOk {
        response: response.clone(),
        ..ConnectionStartOk::default()
    };
    let Method::ConnectionStartOk(parsed) = Method::parse(&encoded(&start_ok.into())).unwrap() else {
        panic!("another method");
    };
    assert_eq!(parsed.response, response);
}

proptest! {
    #[test]
    fn every_method_survives_the_wire(method in strategy()) {
        let bytes = encoded(&method);
        prop_assert_eq!(Method::parse(&bytes), Ok(method.clone()));
        prop_assert_eq!(name_of(method.id().0, method.id().1), Some(method.name()));
    }

    #[test]
    fn mutations_never_panic(bytes in values::mutated(strategy().prop_map(|method| encoded(&method)))) {
        match Method::parse(&bytes) {
            Ok(method) => prop_assert_eq!(Method::parse(&encoded(&method)), Ok(method)),
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert!(error.reply_code().text(&error.explanation(&bytes)).len() <= 255);
            }
        }
    }

    #[test]
    fn noise_in_every_method_never_panics(mut bytes in values::noise(), place in any::<prop::sample::Index>()) {
        let ((class_id, method_id), _) = ALL[place.index(ALL.len())];
        bytes.splice(0..0, [class_id.to_be_bytes(), method_id.to_be_bytes()].concat());
        if let Ok(method) = Method::parse(&bytes) {
            prop_assert_eq!(Method::parse(&encoded(&method)), Ok(method));
        }
    }
}
