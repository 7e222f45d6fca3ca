//! Differential tests: what this crate writes, amq-protocol reads; what amq-protocol writes, this crate reads.
//!
//! Comes in: any value that both can hold. Goes out: nothing, or a failed test. amq-protocol keeps tables sorted by
//! name, each once, and text as UTF-8, so the values here do too.
//! Does not know about malformed input: the two may differ there.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::{AMQPClass, basic, connection, exchange, queue};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldArray, FieldTable as TheirTable};
use proptest::prelude::*;

use crate::encode::{put_content, put_heartbeat, put_method_frame};
use crate::field::{FieldTable, FieldValue};
use crate::frame::{FrameKind, next_frame};
use crate::method::{self, Method};
use crate::properties::{BasicProperties, parse_header};
use crate::strategy;

fn theirs(octets: &[u8]) -> AMQPFrame {
    let (rest, frame) = parse_frame(octets).expect("amq-protocol reads the frame");
    assert!(rest.is_empty(), "amq-protocol leaves {} octets", rest.len());
    frame
}

fn written_by_them(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(Vec::new().into())
        .expect("amq-protocol writes the frame")
        .into_inner()
        .0
}

fn their_method(method: impl Into<Method>) -> AMQPClass {
    let mut octets = Vec::new();
    put_method_frame(&mut octets, 7, &method.into());
    match theirs(&octets) {
        AMQPFrame::Method(7, class) => class,
        other => panic!("no method on channel 7: {other:?}"),
    }
}

fn their_table(table: &FieldTable) -> TheirTable {
    table
        .iter()
        .map(|(name, value)| (name.to_string().into(), their_value(value)))
        .collect::<Vec<_>>()
        .into_iter()
        .fold(TheirTable::default(), |mut all, (name, value)| {
            all.insert(name, value);
            all
        })
}

fn their_value(value: &FieldValue) -> AMQPValue {
    match value {
        FieldValue::Bool(value) => AMQPValue::Boolean(*value),
        FieldValue::Byte(value) => AMQPValue::ShortShortInt(*value),
        FieldValue::UnsignedByte(value) => AMQPValue::ShortShortUInt(*value),
        FieldValue::Short(value) => AMQPValue::ShortInt(*value),
        FieldValue::UnsignedShort(value) => AMQPValue::ShortUInt(*value),
        FieldValue::Int(value) => AMQPValue::LongInt(*value),
        FieldValue::UnsignedInt(value) => AMQPValue::LongUInt(*value),
        FieldValue::Long(value) => AMQPValue::LongLongInt(*value),
        FieldValue::Float(value) => AMQPValue::Float(*value),
        FieldValue::Double(value) => AMQPValue::Double(*value),
        FieldValue::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue {
            scale: *scale,
            value: *value,
        }),
        FieldValue::LongString(octets) => AMQPValue::LongString(octets.to_vec().into()),
        FieldValue::ByteArray(octets) => AMQPValue::ByteArray(octets.to_vec().into()),
        FieldValue::Array(values) => {
            AMQPValue::FieldArray(FieldArray::from(values.iter().map(their_value).collect::<Vec<_>>()))
        }
        FieldValue::Table(table) => AMQPValue::FieldTable(their_table(table)),
        FieldValue::Timestamp(value) => AMQPValue::Timestamp(*value),
        FieldValue::Void => AMQPValue::Void,
    }
}

/// amq-protocol takes the prefetch size and the ticket, which no broker implements, for reserved arguments.
fn as_they_write_it(method: Method) -> Method {
    match method {
        Method::BasicQos(qos) => Method::BasicQos(method::BasicQos {
            prefetch_size: 0,
            ..qos
        }),
        Method::AccessRequestOk(_) => Method::AccessRequestOk(method::AccessRequestOk { ticket: 1 }),
        other => other,
    }
}

/// Their tables compare floats by value, so that a NaN differs from itself: compare what they print.
fn assert_same(left: &impl std::fmt::Debug, right: &impl std::fmt::Debug) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

#[test]
fn heartbeats_agree() {
    let mut octets = Vec::new();
    put_heartbeat(&mut octets);
    assert_eq!(theirs(&octets), AMQPFrame::Heartbeat);
    assert_eq!(written_by_them(&AMQPFrame::Heartbeat), octets);
}

/// Methods with several arguments of one domain, which could be swapped unnoticed by a round trip.
#[test]
fn arguments_stand_in_the_same_places() {
    let name = crate::ShortString::from_static;
    let ours = method::QueueDeclare {
        queue: name("q"),
        durable: true,
        auto_delete: true,
        ..Default::default()
    };
    let AMQPClass::Queue(queue::AMQPMethod::Declare(declare)) = their_method(ours) else {
        panic!()
    };
    assert_eq!(
        (declare.queue.as_str(), declare.passive, declare.durable),
        ("q", false, true)
    );
    assert_eq!(
        (declare.exclusive, declare.auto_delete, declare.nowait),
        (false, true, false)
    );

    let ours = method::ExchangeDeclare {
        exchange: name("e"),
        kind: name("topic"),
        internal: true,
        ..Default::default()
    };
    let AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)) = their_method(ours) else {
        panic!()
    };
    assert_eq!((declare.exchange.as_str(), declare.kind.as_str()), ("e", "topic"));
    assert_eq!(
        (declare.durable, declare.auto_delete, declare.internal),
        (false, false, true)
    );

    let ours = method::ExchangeBind {
        destination: name("d"),
        source: name("s"),
        routing_key: name("k"),
        ..Default::default()
    };
    let AMQPClass::Exchange(exchange::AMQPMethod::Bind(bind)) = their_method(ours) else {
        panic!()
    };
    assert_eq!(
        (
            bind.destination.as_str(),
            bind.source.as_str(),
            bind.routing_key.as_str()
        ),
        ("d", "s", "k")
    );

    let ours = method::BasicConsume {
        queue: name("q"),
        consumer_tag: name("t"),
        no_ack: true,
        ..Default::default()
    };
    let AMQPClass::Basic(basic::AMQPMethod::Consume(consume)) = their_method(ours) else {
        panic!()
    };
    assert_eq!((consume.queue.as_str(), consume.consumer_tag.as_str()), ("q", "t"));
    assert_eq!(
        (consume.no_local, consume.no_ack, consume.exclusive),
        (false, true, false)
    );

    let ours = method::BasicDeliver {
        exchange: name("e"),
        routing_key: name("k"),
        ..Default::default()
    };
    let AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)) = their_method(ours) else {
        panic!()
    };
    assert_eq!((deliver.exchange.as_str(), deliver.routing_key.as_str()), ("e", "k"));

    let ours = method::ConnectionTune {
        channel_max: 1,
        frame_max: 2,
        heartbeat: 3,
    };
    let AMQPClass::Connection(connection::AMQPMethod::Tune(tune)) = their_method(ours) else {
        panic!()
    };
    assert_eq!((tune.channel_max, tune.frame_max, tune.heartbeat), (1, 2, 3));

    let ours = method::ConnectionClose {
        reply_code: 1,
        class_id: 2,
        method_id: 3,
        ..Default::default()
    };
    let AMQPClass::Connection(connection::AMQPMethod::Close(close)) = their_method(ours) else {
        panic!()
    };
    assert_eq!((close.reply_code, close.class_id, close.method_id), (1, 2, 3));
}

proptest! {
    #[test]
    fn methods_agree(channel in any::<u16>(), method in method::strategy().prop_map(as_they_write_it)) {
        let mut octets = Vec::new();
        put_method_frame(&mut octets, channel, &method);
        let frame = theirs(&octets);
        prop_assert!(matches!(&frame, AMQPFrame::Method(on, _) if *on == channel));
        let written = written_by_them(&frame);
        prop_assert_eq!(&written, &octets);
        let read = next_frame(&written, 0).unwrap().unwrap();
        prop_assert_eq!((read.kind, read.channel), (FrameKind::Method, channel));
        prop_assert_eq!(Method::parse(read.payload), Ok(method));
    }

    #[test]
    fn tables_agree(table in strategy::plain_table()) {
        let ours = method::QueueDeclare { arguments: (&table).into(), ..Default::default() };
        let AMQPClass::Queue(queue::AMQPMethod::Declare(declare)) = their_method(ours) else { panic!() };
        assert_same(&declare.arguments, &their_table(&table));

        let theirs = queue::Declare { arguments: their_table(&table), ..declare };
        let octets = written_by_them(&AMQPFrame::Method(1, AMQPClass::Queue(queue::AMQPMethod::Declare(theirs))));
        let frame = next_frame(&octets, 0).unwrap().unwrap();
        let Ok(Method::QueueDeclare(read)) = Method::parse(frame.payload) else { panic!() };
        prop_assert_eq!(read.arguments.to_table(), table);
    }

    #[test]
    fn properties_agree(ours in strategy::properties(strategy::text, strategy::plain_table), body_size in 1_u64..) {
        let mut octets = Vec::new();
        put_content(&mut octets, 3, 0, 60, &ours.to_bytes(), b"");
        let AMQPFrame::Header(3, header) = theirs(&octets) else { panic!() };
        assert_same_properties(&ours, &header.properties);

        let frame = AMQPFrame::Header(3, AMQPContentHeader { body_size, ..header });
        let written = written_by_them(&frame);
        let frame = next_frame(&written, 0).unwrap().unwrap();
        let read = parse_header(frame.payload).unwrap();
        prop_assert_eq!((read.class_id, read.body_size), (60, body_size));
        prop_assert_eq!(BasicProperties::parse(read.properties), Ok(ours));
    }
}

fn assert_same_properties(ours: &BasicProperties, theirs: &AMQPProperties) {
    let text = |ours: &Option<crate::ShortString>| ours.as_ref().map(ToString::to_string);
    let pairs = [
        (&ours.content_type, theirs.content_type()),
        (&ours.content_encoding, theirs.content_encoding()),
        (&ours.correlation_id, theirs.correlation_id()),
        (&ours.reply_to, theirs.reply_to()),
        (&ours.expiration, theirs.expiration()),
        (&ours.message_id, theirs.message_id()),
        (&ours.kind, theirs.kind()),
        (&ours.user_id, theirs.user_id()),
        (&ours.app_id, theirs.app_id()),
        (&ours.cluster_id, theirs.cluster_id()),
    ];
    for (ours, theirs) in pairs {
        assert_eq!(text(ours), theirs.as_ref().map(ToString::to_string));
    }
    assert_eq!(ours.delivery_mode, *theirs.delivery_mode());
    assert_eq!(ours.priority, *theirs.priority());
    assert_eq!(ours.timestamp, *theirs.timestamp());
    assert_same(&ours.headers.as_ref().map(their_table), theirs.headers());
}
