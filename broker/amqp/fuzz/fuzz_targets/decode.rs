//! Octets from a connection: every frame in them, its method or properties, and the same octets again.
#![no_main]

use leveret_amqp::encode::{put_body, put_header};
use leveret_amqp::{
    BasicProperties, FrameKind, FrameView, Method, frame_len, next_frame, parse_header, put_heartbeat, put_method_frame,
};
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: u32 = 131_072;

fuzz_target!(|octets: &[u8]| {
    let mut rest = octets;
    while let Ok(Some(frame)) = next_frame(rest, FRAME_MAX) {
        assert_eq!(frame_len(rest, FRAME_MAX), Ok(Some(frame.wire_len())));
        let Some(whole) = rest.get(..frame.wire_len()) else {
            panic!("a frame longer than its octets")
        };
        check(frame, whole);
        rest = rest.get(frame.wire_len()..).unwrap_or_default();
    }
});

fn check(frame: FrameView<'_>, whole: &[u8]) {
    let mut again = Vec::new();
    match frame.kind {
        FrameKind::Method => {
            let Ok(method) = Method::parse(frame.payload) else {
                return;
            };
            // Reserved arguments are written as zero, so only the values must be the same.
            put_method_frame(&mut again, frame.channel, &method);
            let Ok(Some(second)) = next_frame(&again, 0) else {
                panic!("no frame in {again:?}")
            };
            assert_eq!(Method::parse(second.payload), Ok(method));
        }
        FrameKind::Header => {
            let Ok(header) = parse_header(frame.payload) else {
                return;
            };
            put_header(
                &mut again,
                frame.channel,
                header.class_id,
                header.body_size,
                header.properties,
            );
            assert_eq!(again, whole);
            if let Ok(properties) = BasicProperties::parse(header.properties) {
                assert_eq!(BasicProperties::parse(&properties.to_bytes()), Ok(properties));
            }
        }
        FrameKind::Body => {
            put_body(&mut again, frame.channel, frame.payload);
            assert_eq!(again, whole);
        }
        FrameKind::Heartbeat if frame.channel == 0 => {
            put_heartbeat(&mut again);
            assert_eq!(again, whole);
        }
        FrameKind::Heartbeat => {}
    }
}
