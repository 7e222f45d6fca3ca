use proptest::prelude::*;

use super::*;
use crate::error::Reason;
use crate::strategy;

fn encoded(table: &FieldTable) -> Vec<u8> {
    let mut out = Vec::new();
    table.encode(&mut out);
    out
}

fn with_length(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_with_length(&mut out, |out| out.extend_from_slice(content));
    out
}

/// The table `{"a": value}` from the value's octets.
fn one(value: &[u8]) -> Result<FieldValue, DecodeError> {
    let bytes = with_length(&[b"\x01a", value].concat());
    let result = FieldTable::parse(&bytes);
    assert_eq!(result.as_ref().err(), validate_table(&bytes).as_ref().err());
    result.map(|table| table.get("a").unwrap().clone())
}

#[test]
fn every_letter_is_read_as_rabbitmq_reads_it() {
    let cases: &[(&[u8], FieldValue, &str)] = &[
        (b"t\x07", FieldValue::Bool(true), "bool"),
        (b"b\xff", FieldValue::Byte(-1), "byte"),
        (b"B\xff", FieldValue::UnsignedByte(255), "unsignedbyte"),
        (b"s\xff\xfe", FieldValue::Short(-2), "short"),
        (b"u\xff\xfe", FieldValue::UnsignedShort(65534), "unsignedshort"),
        (b"I\xff\xff\xff\xff", FieldValue::Int(-1), "signedint"),
        (b"i\xff\xff\xff\xff", FieldValue::UnsignedInt(u32::MAX), "unsignedint"),
        (b"l\xff\xff\xff\xff\xff\xff\xff\xff", FieldValue::Long(-1), "long"),
        (b"L\0\0\0\0\0\0\0\x05", FieldValue::Long(5), "long"),
        (b"f\x3f\x80\0\0", FieldValue::Float(1.0), "float"),
        (b"d\x3f\xf0\0\0\0\0\0\0", FieldValue::Double(1.0), "double"),
        (
            b"D\x02\0\0\x01\x3a",
            FieldValue::Decimal { scale: 2, value: 314 },
            "decimal",
        ),
        (b"S\0\0\0\x02hi", FieldValue::from("hi"), "longstr"),
        (
            b"x\0\0\0\x02\0\xff",
            FieldValue::ByteArray(Bytes::from_static(b"\0\xff")),
            "binary",
        ),
        (
            b"A\0\0\0\x03Vt\0",
            FieldValue::Array(vec![FieldValue::Void, FieldValue::Bool(false)]),
            "array",
        ),
        (b"F\0\0\0\0", FieldValue::Table(FieldTable::new()), "table"),
        (b"T\0\0\0\0\0\0\0\x01", FieldValue::Timestamp(1), "timestamp"),
        (b"V", FieldValue::Void, "void"),
    ];
    for (bytes, value, type_name) in cases {
        assert_eq!(one(bytes).as_ref(), Ok(value));
        assert_eq!(value.type_name(), *type_name);
    }
}

#[test]
fn other_letters_are_refused() {
    let known = b"tbBsuIilLfdDSxAFTV";
    for letter in (0..=u8::MAX).filter(|letter| !known.contains(letter)) {
        let error = one(&[letter, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(
            error,
            DecodeError {
                offset: 6,
                reason: Reason::UnknownFieldType(letter)
            }
        );
    }
}

#[test]
fn lengths_must_fit() {
    let truncated = |bytes: &[u8]| {
        assert_eq!(
            FieldTable::parse(bytes).unwrap_err().reason,
            Reason::Truncated,
            "{bytes:?}"
        );
        assert_eq!(
            FieldTable::parse(bytes),
            validate_table(bytes).map(|()| FieldTable::new())
        );
    };
    truncated(b"");
    truncated(b"\0\0\0");
    truncated(b"\0\0\0\x01");
    truncated(b"\xff\xff\xff\xff");
    truncated(b"\0\0\0\x03\x01at");
    truncated(b"\0\0\0\x04\x01aS\0");
    // A nested table that ends beyond the one around it, although the octets are there.
    truncated(&[with_length(b"\x01aF\0\0\0\x04"), b"\x01btt".to_vec()].concat());
    assert_eq!(
        FieldTable::parse(b"\0\0\0\0x").unwrap_err().reason,
        Reason::TrailingBytes
    );
}

fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(with_length(b""), |inner, _| {
        with_length(&[b"\x01aF".as_slice(), &inner].concat())
    })
}

#[test]
fn nesting_is_bounded() {
    assert!(FieldTable::parse(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(validate_table(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(
        FieldTable::parse(&nested(MAX_DEPTH)).unwrap_err().reason,
        Reason::TooDeep
    );
    assert_eq!(validate_table(&nested(MAX_DEPTH)).unwrap_err().reason, Reason::TooDeep);
    assert_eq!(FieldTable::parse(&nested(20_000)).unwrap_err().reason, Reason::TooDeep);
}

#[test]
fn order_and_duplicates_are_kept() {
    let name = ShortString::from_static;
    let table = FieldTable(vec![
        (name("zeta"), FieldValue::Int(1)),
        (name("alpha"), FieldValue::Int(2)),
        (name("zeta"), FieldValue::Int(3)),
    ]);
    assert_eq!(FieldTable::parse(&encoded(&table)).as_ref(), Ok(&table));
    assert_eq!(table.get("zeta"), Some(&FieldValue::Int(1)));
    assert!(table.contains("alpha") && !table.contains("beta"));
}

#[test]
fn fields_are_set_and_removed() {
    let name = ShortString::from_static;
    let mut table = FieldTable::new();
    table.set(name("a"), FieldValue::Int(1));
    table.set(name("b"), FieldValue::Void);
    table.set(name("a"), FieldValue::Int(2));
    table.push(name("a"), FieldValue::Int(3));
    assert_eq!(table.len(), 3);
    assert_eq!(table.remove("a"), Some(FieldValue::Int(2)));
    assert_eq!(table.remove("a"), None);
    assert_eq!(
        table.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn values_are_asked_for_by_kind() {
    assert_eq!(FieldValue::Byte(-1).as_i64(), Some(-1));
    assert_eq!(FieldValue::UnsignedInt(u32::MAX).as_i64(), Some(4_294_967_295));
    assert_eq!(FieldValue::Timestamp(1).as_i64(), None);
    assert_eq!(FieldValue::from("x").as_str(), Some("x"));
    assert_eq!(FieldValue::ByteArray(Bytes::new()).as_str(), None);
    assert_eq!(FieldValue::from(true).as_bool(), Some(true));
    assert_eq!(FieldValue::Int(1).as_bool(), None);
    assert_eq!(ShortString::try_from(&FieldValue::from("dlx")).unwrap(), "dlx");
    assert_eq!(ShortString::try_from(&FieldValue::Int(1)), Err(None));
    assert_eq!(
        ShortString::try_from(&FieldValue::from("x".repeat(256))),
        Err(Some(ShortStringTooLong { len: 256 }))
    );
}

#[test]
fn a_nan_equals_itself() {
    assert_eq!(FieldValue::Double(f64::NAN), FieldValue::Double(f64::NAN));
    assert_ne!(FieldValue::Double(0.0), FieldValue::Double(-0.0));
    assert_ne!(FieldValue::Short(1), FieldValue::Int(1));
}

/// Values in a value, itself included, counted in the simplest way.
fn count(value: &FieldValue) -> usize {
    let within: usize = match value {
        FieldValue::Array(values) => values.iter().map(count).sum(),
        FieldValue::Table(table) => table.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    };
    within + 1
}

#[test]
fn a_table_of_octets_takes_no_more_than_them() {
    assert_eq!(size_of::<RawTable>(), 2 * size_of::<usize>());
    let empty = RawTable::parse(&[0; 4]).unwrap();
    assert!(empty.is_empty() && empty == RawTable::new() && empty == FieldTable::new().into());
    assert_eq!((empty.count(), empty.iter().next()), (Ok(0), None));
    let voids = with_length(&b"\0V".repeat(1000));
    let table = RawTable::parse(&voids).unwrap();
    assert_eq!((table.octets().len(), table.count()), (2000, Ok(1000)));
    assert_eq!(table.clone().octets().as_ptr(), table.octets().as_ptr(), "shared");
}

#[test]
fn a_value_of_octets_is_found_where_it_lies() {
    let name = ShortString::from_static;
    let table = FieldTable(vec![
        (name("n"), FieldValue::Int(1)),
        (name("s"), "text".into()),
        (name("n"), FieldValue::Void),
    ]);
    let raw = RawTable::from(&table);
    assert_eq!(raw.get("n"), Some(FieldValue::Int(1)));
    let value = raw.find("s").unwrap();
    assert_eq!((value.type_letter(), value.as_str()), (b'S', Some("text")));
    assert_eq!(raw.find("n").unwrap().as_long_string(), None);
    assert!(raw.contains("s") && !raw.contains("x"));
    assert_eq!(raw.iter().map(|(name, _)| name).collect::<Vec<_>>(), [b"n", b"s", b"n"]);
}

#[test]
fn a_table_of_values_may_be_too_deep_for_octets() {
    let deep = |levels| {
        let nest = |inner: FieldTable, _| FieldTable(vec![(ShortString::new(), FieldValue::Table(inner))]);
        RawTable::from((0..levels).fold(FieldTable::new(), nest)).count()
    };
    assert_eq!(deep(MAX_DEPTH - 1), Ok(MAX_DEPTH - 1));
    assert_eq!(deep(MAX_DEPTH).unwrap_err().reason, Reason::TooDeep);
}

proptest! {
    #[test]
    fn tables_survive_the_wire(table in strategy::table()) {
        let bytes = encoded(&table);
        let raw = RawTable::parse(&bytes).unwrap();
        prop_assert_eq!(&raw, &RawTable::from(&table));
        prop_assert_eq!(raw.count(), Ok(table.iter().map(|(_, value)| count(value)).sum()));
        let mut again = Vec::new();
        raw.encode(&mut again);
        prop_assert_eq!(&again, &bytes);
        prop_assert_eq!(raw.to_table(), table.clone());
        for (name, _) in &table {
            if let Some(name) = name.as_str() {
                prop_assert_eq!(raw.get(name), table.get(name).cloned());
            }
        }
        prop_assert_eq!(FieldTable::parse(&bytes), Ok(table));
        prop_assert_eq!(validate_table(&bytes), Ok(()));
    }

    #[test]
    fn mutations_are_judged_alike_by_both_walkers(
        bytes in prop_oneof![strategy::mutated(strategy::table().prop_map(|table| encoded(&table))), strategy::noise()],
    ) {
        let parsed = FieldTable::parse(&bytes);
        prop_assert_eq!(parsed.clone().err(), validate_table(&bytes).err());
        let raw = RawTable::parse(&bytes);
        prop_assert_eq!(parsed.clone().err(), raw.clone().err());
        if let Ok(table) = parsed {
            prop_assert_eq!(raw.unwrap().to_table(), table.clone());
            let again = encoded(&table);
            prop_assert_eq!(FieldTable::parse(&again), Ok(table));
        }
    }
}
