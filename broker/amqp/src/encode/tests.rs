use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::{FrameView, next_frame};
use crate::method::BasicPublish;
use crate::properties::parse_header;
use crate::short_string::ShortString;
use crate::strategy;
use crate::views::{parse_ack, parse_publish};

fn framed(channel: u16, method: impl Into<Method>) -> Vec<u8> {
    let mut out = Vec::new();
    put_method_frame(&mut out, channel, &method.into());
    out
}

fn payload(method: impl Into<Method>) -> Vec<u8> {
    let mut out = Vec::new();
    method.into().encode(&mut out);
    out
}

fn frames(mut bytes: &[u8]) -> Vec<FrameView<'_>> {
    let mut frames = Vec::new();
    while let Some(frame) = next_frame(bytes, 0).unwrap() {
        bytes = &bytes[frame.wire_len()..];
        frames.push(frame);
    }
    assert!(bytes.is_empty());
    frames
}

#[test]
fn an_empty_body_has_no_body_frame() {
    let mut out = Vec::new();
    put_content(&mut out, 1, 4096, 60, &[0, 0], b"");
    assert_eq!(
        out,
        [2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xCE]
    );
}

#[test]
fn a_body_is_cut_to_frame_max() {
    let body: Vec<u8> = (0..10_000_u32).map(|octet| octet as u8).collect();
    for (frame_max, expected) in [
        (4096, vec![4088, 4088, 1824]),
        (0, vec![10_000]),
        (10_008, vec![10_000]),
    ] {
        let mut out = Vec::new();
        put_content(&mut out, 1, frame_max, 60, &[0, 0], &body);
        let frames = frames(&out);
        let header = parse_header(frames[0].payload).unwrap();
        assert_eq!(
            (header.class_id, header.body_size, header.properties),
            (60, 10_000, [0, 0].as_slice())
        );
        let lengths: Vec<usize> = frames[1..].iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(lengths, expected);
        let pieces: Vec<&[u8]> = frames[1..].iter().map(|frame| frame.payload).collect();
        assert_eq!(pieces.concat(), body);
    }
}

#[test]
fn an_absurd_frame_max_still_makes_progress() {
    let mut out = Vec::new();
    put_content(&mut out, 1, 5, 60, &[0, 0], b"abc");
    assert_eq!(frames(&out).len(), 4);
}

#[test]
fn hot_path_readers_leave_other_methods_alone() {
    assert!(parse_publish(&payload(BasicAck::default())).is_none());
    assert!(parse_ack(&payload(BasicPublish::default())).is_none());
    assert!(parse_publish(&[0, 60, 0]).is_none());
    assert!(parse_ack(&[]).is_none());
    assert!(parse_publish(&[0, 60, 0, 40]).unwrap().is_err());
}

#[test]
fn over_long_strings_are_cut_on_the_hot_path() {
    let mut out = Vec::new();
    put_deliver(&mut out, 1, &[b'a'; 300], 1, false, b"", b"");
    let frame = frames(&out)[0];
    let Method::BasicDeliver(deliver) = Method::parse(frame.payload).unwrap() else {
        panic!("another method")
    };
    assert_eq!(deliver.consumer_tag.len(), ShortString::MAX_LEN);
}

proptest! {
    #[test]
    fn hot_path_writers_agree_with_the_structs(
        channel in any::<u16>(), tag in strategy::short_octets(), delivery_tag in any::<u64>(),
        one in any::<bool>(), other in any::<bool>(), exchange in strategy::text(), key in strategy::short_octets(),
    ) {
        let mut out = Vec::new();
        put_deliver(&mut out, channel, &tag, delivery_tag, one, &exchange, &key);
        let deliver = BasicDeliver { consumer_tag: tag, delivery_tag, redelivered: one, exchange, routing_key: key };
        prop_assert_eq!(out, framed(channel, deliver));
        let mut out = Vec::new();
        put_ack(&mut out, channel, delivery_tag, one);
        prop_assert_eq!(out, framed(channel, BasicAck { delivery_tag, multiple: one }));
        let mut out = Vec::new();
        put_nack(&mut out, channel, delivery_tag, one, other);
        prop_assert_eq!(out, framed(channel, BasicNack { delivery_tag, multiple: one, requeue: other }));
    }

    #[test]
    fn hot_path_readers_agree_with_the_structs(
        bytes in prop_oneof![
            strategy::mutated(
                (strategy::text(), strategy::short_octets(), any::<bool>(), any::<bool>()).prop_map(
                    |(exchange, routing_key, mandatory, immediate)| {
                        payload(BasicPublish { exchange, routing_key, mandatory, immediate })
                    },
                ),
            ),
            strategy::mutated(
                any::<(u64, bool)>().prop_map(|(delivery_tag, multiple)| payload(BasicAck { delivery_tag, multiple })),
            ),
            strategy::noise(),
        ],
    ) {
        let whole = Method::parse(&bytes);
        match parse_publish(&bytes) {
            Some(Ok(view)) => {
                let same = BasicPublish {
                    exchange: ShortString::try_from(view.exchange).unwrap(),
                    routing_key: ShortString::try_from(view.routing_key).unwrap(),
                    mandatory: view.mandatory,
                    immediate: view.immediate,
                };
                prop_assert_eq!(whole.clone(), Ok(same.into()));
            }
            Some(Err(error)) => prop_assert_eq!(whole.clone(), Err(error)),
            None => prop_assert!(!matches!(whole, Ok(Method::BasicPublish(_)))),
        }
        match parse_ack(&bytes) {
            Some(Ok((delivery_tag, multiple))) => {
                prop_assert_eq!(whole, Ok(BasicAck { delivery_tag, multiple }.into()));
            }
            Some(Err(error)) => prop_assert_eq!(whole, Err(error)),
            None => prop_assert!(!matches!(whole, Ok(Method::BasicAck(_)))),
        }
    }

    #[test]
    fn contents_come_out_as_they_were_put_in(
        body in vec(any::<u8>(), 0..5000), properties in vec(any::<u8>(), 0..50), frame_max in 9_u32..5000,
    ) {
        let mut out = Vec::new();
        put_content(&mut out, 3, frame_max, 60, &properties, &body);
        let frames = frames(&out);
        let header = parse_header(frames[0].payload).unwrap();
        prop_assert_eq!((header.body_size, header.properties), (body.len() as u64, properties.as_slice()));
        prop_assert!(frames[1..].iter().all(|frame| frame.wire_len() <= frame_max as usize));
        let pieces: Vec<&[u8]> = frames[1..].iter().map(|frame| frame.payload).collect();
        prop_assert_eq!(pieces.concat(), body);
    }
}
