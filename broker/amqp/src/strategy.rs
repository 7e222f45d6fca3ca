//! Values for property tests.
//!
//! Comes in: nothing. Goes out: strategies for every domain, field tables and properties; `plain_` ones stay within
//! what amq-protocol, the reference of the differential tests, can hold: UTF-8 names, each once, in their order.
//! Does not know about what the tests check.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::field::{FieldTable, FieldValue, RawTable};
use crate::properties::BasicProperties;
use crate::short_string::ShortString;

/// A domain of method arguments, as [`crate::wire::Argument`] has them.
pub(crate) trait Domain: Sized {
    fn any() -> BoxedStrategy<Self>;
}

macro_rules! plain_domains {
    ($($domain:ident)*) => {$(
        impl Domain for $domain {
            fn any() -> BoxedStrategy<Self> {
                any::<$domain>().boxed()
            }
        }
    )*};
}

plain_domains!(bool u8 u16 u32 u64);

impl Domain for ShortString {
    fn any() -> BoxedStrategy<Self> {
        text().boxed()
    }
}

impl Domain for Bytes {
    fn any() -> BoxedStrategy<Self> {
        octets().boxed()
    }
}

impl Domain for FieldTable {
    fn any() -> BoxedStrategy<Self> {
        plain_table().boxed()
    }
}

impl Domain for RawTable {
    fn any() -> BoxedStrategy<Self> {
        plain_table().prop_map(RawTable::from).boxed()
    }
}

fn octets() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// UTF-8, as methods want it.
pub(crate) fn text() -> impl Strategy<Value = ShortString> {
    prop_oneof![
        8 => "\\PC{0,12}",
        1 => "[a-z]{250,255}",
    ]
    .prop_map(|text| ShortString::try_from(text).unwrap())
}

/// Anything, as properties and table keys allow it.
pub(crate) fn short_octets() -> impl Strategy<Value = ShortString> {
    vec(any::<u8>(), 0..=20).prop_map(|bytes| ShortString::try_from(Bytes::from(bytes)).unwrap())
}

fn scalar(long_string: impl Strategy<Value = Bytes> + 'static) -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<bool>().prop_map(FieldValue::Bool),
        any::<i8>().prop_map(FieldValue::Byte),
        any::<u8>().prop_map(FieldValue::UnsignedByte),
        any::<i16>().prop_map(FieldValue::Short),
        any::<u16>().prop_map(FieldValue::UnsignedShort),
        any::<i32>().prop_map(FieldValue::Int),
        any::<u32>().prop_map(FieldValue::UnsignedInt),
        any::<i64>().prop_map(FieldValue::Long),
        any::<u32>().prop_map(|bits| FieldValue::Float(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| FieldValue::Double(f64::from_bits(bits))),
        any::<(u8, u32)>().prop_map(|(scale, value)| FieldValue::Decimal { scale, value }),
        long_string.prop_map(FieldValue::LongString),
        octets().prop_map(FieldValue::ByteArray),
        any::<u64>().prop_map(FieldValue::Timestamp),
        Just(FieldValue::Void),
    ]
}

/// Any table: names of any octets, duplicates, nesting.
pub(crate) fn table() -> impl Strategy<Value = FieldTable> {
    let value = scalar(octets()).prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(FieldValue::Array),
            vec((short_octets(), inner), 0..5).prop_map(|pairs| FieldValue::Table(FieldTable(pairs))),
        ]
    });
    vec((short_octets(), value), 0..6).prop_map(FieldTable)
}

/// A table with UTF-8 names in ascending order, each once.
pub(crate) fn plain_table() -> impl Strategy<Value = FieldTable> {
    let value = scalar(octets()).prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(FieldValue::Array),
            btree_map(text(), inner, 0..4).prop_map(|pairs| FieldValue::Table(sorted(pairs))),
        ]
    });
    btree_map(text(), value, 0..5).prop_map(sorted)
}

fn sorted(pairs: BTreeMap<ShortString, FieldValue>) -> FieldTable {
    pairs.into_iter().collect()
}

/// Any properties, with such names and such headers.
pub(crate) fn properties<N, H>(name: fn() -> N, headers: fn() -> H) -> impl Strategy<Value = BasicProperties>
where
    N: Strategy<Value = ShortString> + 'static,
    H: Strategy<Value = FieldTable> + 'static,
{
    let short = move || option::of(name());
    let first = (
        short(),
        short(),
        option::of(headers()),
        option::of(any::<u8>()),
        option::of(any::<u8>()),
    );
    let second = (short(), short(), short(), short(), option::of(any::<u64>()));
    let third = (short(), short(), short(), short());
    (first, second, third).prop_map(|(first, second, third)| {
        let (content_type, content_encoding, headers, delivery_mode, priority) = first;
        let (correlation_id, reply_to, expiration, message_id, timestamp) = second;
        let (kind, user_id, app_id, cluster_id) = third;
        BasicProperties {
            content_type,
            content_encoding,
            headers,
            delivery_mode,
            priority,
            correlation_id,
            reply_to,
            expiration,
            message_id,
            timestamp,
            kind,
            user_id,
            app_id,
            cluster_id,
        }
    })
}

/// The octets with some of them changed, cut off or repeated: what a parser may meet.
pub(crate) fn mutated(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (bytes, vec(change, 0..6), option::of(any::<prop::sample::Index>())).prop_map(|(mut bytes, changes, cut)| {
        for (place, octet) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = octet;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    })
}

/// Octets of no meaning.
pub(crate) fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}
