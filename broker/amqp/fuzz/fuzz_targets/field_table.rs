//! A field table with its length: all walkers agree; parsed, written, parsed to the same.
#![no_main]

use leveret_amqp::field::validate_table;
use leveret_amqp::{FieldTable, RawTable};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let parsed = FieldTable::parse(octets);
    assert_eq!(parsed.as_ref().err(), validate_table(octets).as_ref().err());
    let raw = RawTable::parse(octets);
    assert_eq!(parsed.as_ref().err(), raw.as_ref().err());
    if let (Ok(table), Ok(raw)) = (parsed, raw) {
        assert_eq!(raw.to_table(), table);
        assert!(raw.count().is_ok());
        let mut again = Vec::new();
        table.encode(&mut again);
        assert_eq!(FieldTable::parse(&again), Ok(table));
    }
});
