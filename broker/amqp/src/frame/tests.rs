use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::encode::{put_body, put_heartbeat, put_method_frame};
use crate::{method, strategy};

fn body_frame(channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_body(&mut out, channel, payload);
    out
}

#[test]
fn a_frame_is_known_by_its_literal_octets() {
    let bytes = [3, 0, 5, 0, 0, 0, 2, b'h', b'i', 0xCE, 8];
    let frame = next_frame(&bytes, 4096).unwrap().unwrap();
    assert_eq!(
        frame,
        FrameView {
            kind: FrameKind::Body,
            channel: 5,
            payload: b"hi"
        }
    );
    assert_eq!(frame.wire_len(), 10);
}

#[test]
fn an_incomplete_frame_says_how_long_it_will_be() {
    let bytes = body_frame(1, b"hello");
    for len in 0..7 {
        assert_eq!(frame_len(&bytes[..len], 4096), Ok(None));
        assert_eq!(next_frame(&bytes[..len], 4096), Ok(None));
    }
    for len in 7..bytes.len() {
        assert_eq!(frame_len(&bytes[..len], 4096), Ok(Some(13)));
        assert_eq!(next_frame(&bytes[..len], 4096), Ok(None));
    }
}

#[test]
fn a_frame_that_is_too_large_is_refused_by_its_head() {
    let head = [3, 0, 1, 0, 2, 0, 1];
    let error = FrameError::TooLarge {
        kind: 3,
        channel: 1,
        size: 131_073,
        max: 131_064,
    };
    assert_eq!(frame_len(&head, 131_072), Err(error));
    assert_eq!(next_frame(&head, 131_072), Err(error));
    assert_eq!(frame_len(&head, 0), Ok(Some(131_081)));
    assert_eq!(next_frame(&head, 0), Ok(None));
    assert_eq!(
        frame_len(&[3, 0, 1, 0xff, 0xff, 0xff, 0xff], 0),
        Ok(Some(0x1_0000_0007))
    );
}

#[test]
fn a_payload_of_frame_max_octets_passes_as_in_rabbitmq() {
    let bytes = body_frame(1, &[7; 4096]);
    assert!(next_frame(&bytes, 4096).unwrap().is_some());
    assert!(next_frame(&bytes, 4095).is_err());
}

#[test]
fn a_wrong_end_octet_is_refused() {
    let mut bytes = body_frame(1, b"hello");
    *bytes.last_mut().unwrap() = 65;
    let error = next_frame(&bytes, 4096).unwrap_err();
    assert_eq!(
        error.to_string(),
        "type 3, all octets = <<\"hello\">>: {invalid_frame_end_marker,65}"
    );
}

#[test]
fn unknown_kinds_and_heartbeats_with_payload_are_refused() {
    let mut bytes = body_frame(1, b"hello");
    for kind in (0..=u8::MAX).filter(|kind| ![1, 2, 3].contains(kind)) {
        bytes[0] = kind;
        assert!(matches!(next_frame(&bytes, 4096), Err(FrameError::UnknownKind { kind: found, .. }) if found == kind));
    }
    let mut heartbeat = Vec::new();
    put_heartbeat(&mut heartbeat);
    assert_eq!(heartbeat, [8, 0, 0, 0, 0, 0, 0, 0xCE]);
    let frame = next_frame(&heartbeat, 4096).unwrap().unwrap();
    assert_eq!(
        frame,
        FrameView {
            kind: FrameKind::Heartbeat,
            channel: 0,
            payload: &[]
        }
    );
}

proptest! {
    #[test]
    fn frames_come_out_as_they_were_put_in(
        methods in vec((any::<u16>(), method::strategy()), 1..5),
        payload in vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = Vec::new();
        for (channel, method) in &methods {
            put_method_frame(&mut bytes, *channel, method);
        }
        put_body(&mut bytes, 9, &payload);
        let mut rest = bytes.as_slice();
        for (channel, method) in &methods {
            let frame = next_frame(rest, 0).unwrap().unwrap();
            prop_assert_eq!(frame_len(rest, 0), Ok(Some(frame.wire_len())));
            prop_assert_eq!((frame.kind, frame.channel), (FrameKind::Method, *channel));
            prop_assert_eq!(&method::Method::parse(frame.payload).unwrap(), method);
            rest = &rest[frame.wire_len()..];
        }
        let frame = next_frame(rest, 0).unwrap().unwrap();
        prop_assert_eq!((frame.kind, frame.payload, frame.wire_len()), (FrameKind::Body, payload.as_slice(), rest.len()));
    }

    #[test]
    fn noise_never_panics(bytes in strategy::noise(), frame_max in any::<u32>()) {
        let len = frame_len(&bytes, frame_max);
        if let Ok(Some(frame)) = next_frame(&bytes, frame_max) {
            prop_assert_eq!(len, Ok(Some(frame.wire_len())));
        }
    }
}
