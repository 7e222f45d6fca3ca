//! The payload of a method frame: parsed, written, parsed to the same; and the hot path agrees.
#![no_main]

use leveret_amqp::{Method, parse_ack, parse_publish};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let parsed = Method::parse(payload);
    if let Some(hot) = parse_publish(payload) {
        assert_eq!(hot.is_ok(), matches!(parsed, Ok(Method::BasicPublish(_))));
    }
    if let Some(hot) = parse_ack(payload) {
        assert_eq!(hot.is_ok(), matches!(parsed, Ok(Method::BasicAck(_))));
    }
    match parsed {
        Ok(method) => {
            let mut again = Vec::new();
            method.encode(&mut again);
            assert_eq!(Method::parse(&again), Ok(method));
        }
        Err(error) => assert!(error.reply_code().text(&error.explanation(payload)).len() <= 255),
    }
});
