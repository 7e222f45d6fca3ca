//! The texts here were taken from RabbitMQ 4.3.6, by sending it these payloads.

use super::*;
use crate::method::Method;

fn unknown(payload: &[u8]) -> String {
    FrameError::unknown(9, 1, payload).to_string()
}

#[test]
fn payloads_are_shown_as_text_if_printable() {
    assert_eq!(unknown(b""), "type 9, all octets = <<>>: unknown_frame");
    assert_eq!(unknown(b"hello"), "type 9, all octets = <<\"hello\">>: unknown_frame");
    assert_eq!(
        unknown(b"hello world 12345"),
        "type 9, first 16 octets = <<\"hello world 1234\">>: unknown_frame"
    );
    assert_eq!(
        unknown("\u{e9}".as_bytes()),
        "type 9, all octets = <<\"\u{e9}\"/utf8>>: unknown_frame"
    );
    assert_eq!(
        unknown("\u{20ac}".as_bytes()),
        "type 9, all octets = <<\"\u{20ac}\"/utf8>>: unknown_frame"
    );
    assert_eq!(unknown(b"\xe9"), "type 9, all octets = <<\"\u{e9}\">>: unknown_frame");
    assert_eq!(
        unknown(b"a\"b\\c"),
        "type 9, all octets = <<\"a\\\"b\\\\c\">>: unknown_frame"
    );
    assert_eq!(
        unknown(b"a\nb\t\x1b"),
        "type 9, all octets = <<\"a\\nb\\t\\e\">>: unknown_frame"
    );
    assert_eq!(
        unknown(b"\x08\x0c\x0b\r"),
        "type 9, all octets = <<\"\\b\\f\\v\\r\">>: unknown_frame"
    );
}

#[test]
fn payloads_are_shown_as_numbers_if_not() {
    assert_eq!(unknown(b"a\x80b"), "type 9, all octets = <<97,128,98>>: unknown_frame");
    assert_eq!(unknown(b"a\x7f"), "type 9, all octets = <<97,127>>: unknown_frame");
    assert_eq!(
        unknown(&[0; 16]),
        "type 9, all octets = <<0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0>>: unknown_frame"
    );
}

#[test]
fn long_numbers_are_wrapped() {
    let all: Vec<u8> = (128..144).collect();
    let expected = "type 9, all octets = <<128,129,130,131,132,133,134,135,136,137,138,139,140,141,\n                       \
                    142,143>>: unknown_frame";
    assert_eq!(unknown(&all), expected);
    let first: Vec<u8> = (128..145).collect();
    let expected = "type 9, first 16 octets = <<128,129,130,131,132,133,134,135,136,137,138,139,\n                     \
                    \x20      140,141,142,143>>: unknown_frame";
    assert_eq!(unknown(&first), expected);
    let mixed: Vec<u8> = [vec![128; 13], vec![1; 3]].concat();
    let expected = "type 9, all octets = <<128,128,128,128,128,128,128,128,128,128,128,128,128,1,1,\n                       \
                    1>>: unknown_frame";
    assert_eq!(unknown(&mixed), expected);
}

#[test]
fn fatal_frame_errors_name_their_numbers() {
    let large = FrameError::TooLarge {
        kind: 1,
        channel: 1,
        size: 131_073,
        max: 131_064,
    };
    assert_eq!(
        large.to_string(),
        "type 1, all octets = <<>>: {frame_too_large,131073,131064}"
    );
    let end = FrameError::BadEnd {
        kind: 1,
        channel: 1,
        end: 65,
        snippet: Snippet::new(b"hello"),
    };
    assert_eq!(
        end.to_string(),
        "type 1, all octets = <<\"hello\">>: {invalid_frame_end_marker,65}"
    );
    assert_eq!(unexpected_frame(8, b""), "type 8, all octets = <<>>");
}

fn refused(payload: &[u8]) -> (ReplyCode, String, (u16, u16)) {
    let error = Method::parse(payload).unwrap_err();
    (
        error.reply_code(),
        error.reply_code().text(&error.explanation(payload)).to_string(),
        error.blamed(),
    )
}

#[test]
fn malformed_methods_are_explained() {
    let short = refused(&[0, 1]);
    assert_eq!(short.1, "FRAME_ERROR - type 1, all octets = <<0,1>>: unknown_frame");
    assert_eq!(short.2, (0, 0));
    let trailing = refused(b"\x00\x32\x00\x0a\0\0\x01q\0\0\0\0\0x");
    assert_eq!(trailing.1, "FRAME_ERROR - cannot decode <<0,0,1,113,0,0,0,0,0,120>>");
    assert_eq!(trailing.2, (50, 10));
    let bad_text = refused(b"\x00\x32\x00\x0a\0\0\x02q\xff\0\0\0\0\0");
    assert_eq!(bad_text.1, "FRAME_ERROR - Malformed UTF-8 in shortstr");
    assert_eq!(bad_text.2, (0, 0));
    let unknown = refused(&[0, 60, 0, 77]);
    assert_eq!(unknown.0, ReplyCode::NotImplemented);
    assert_eq!(unknown.1, "NOT_IMPLEMENTED - method 60.77 does not exist");
}

#[test]
fn structure_is_judged_before_text() {
    let both = refused(b"\x00\x32\x00\x0a\0\0\x02q\xff\0\0\0\0");
    assert_eq!(both.1, "FRAME_ERROR - cannot decode <<0,0,2,113,255,0,0,0,0>>");
}

#[test]
fn long_explanations_are_cut_to_a_short_string() {
    let payload = [b"\x00\x32\x00\x0a\0\0\xff".as_slice(), &[240; 200]].concat();
    let text = refused(&payload).1;
    assert_eq!(text.len(), 255);
    assert!(text.starts_with("FRAME_ERROR - cannot decode <<0,0,255,240,240,"));
    assert!(text.ends_with(",240,24..."), "{text}");
}
