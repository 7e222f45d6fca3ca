//! A field table with its length: both walkers agree; parsed, written, parsed to the same.
#![no_main]

use leveret_amqp::FieldTable;
use leveret_amqp::field::validate_table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let parsed = FieldTable::parse(octets);
    assert_eq!(parsed.as_ref().err(), validate_table(octets).as_ref().err());
    if let Ok(table) = parsed {
        let mut again = Vec::new();
        table.encode(&mut again);
        assert_eq!(FieldTable::parse(&again), Ok(table));
    }
});
