use super::*;

fn place(segment: u32, len: u32) -> Location {
    Location {
        segment,
        offset: 64,
        len,
    }
}

#[test]
fn references_come_and_go() {
    let mut ledger = Ledger {
        current: 2,
        ..Ledger::default()
    };
    ledger.published(1, 100, 2);
    ledger.published(1, 300, 1);
    assert_eq!(ledger.accounts[&1].live(), 400);
    ledger.released(place(1, 100));
    assert_eq!(ledger.accounts[&1].live(), 320);
    ledger.released(place(1, 300));
    assert!(!ledger.emptied);
    ledger.released(place(1, 100));
    assert_eq!((ledger.accounts[&1].live(), ledger.accounts[&1].refs), (0, 0));
    assert!(ledger.emptied);
    ledger.released(place(9, 100));
}

#[test]
fn only_the_newest_table_entry_must_stay() {
    let mut ledger = Ledger::default();
    ledger.table_changed(b"a", 1, 64, 50, Some(b"1"));
    ledger.table_changed(b"b", 1, 128, 50, Some(b"2"));
    assert_eq!(ledger.carried(1), 100);
    ledger.table_changed(b"a", 2, 64, 60, Some(b"3"));
    assert_eq!((ledger.carried(1), ledger.carried(2)), (50, 60));
    assert!(ledger.is_newest(b"a", 2, 64) && !ledger.is_newest(b"a", 1, 64));
    ledger.table_changed(b"b", 3, 64, 20, None);
    assert_eq!(
        (ledger.carried(1), ledger.carried(3)),
        (0, 20),
        "a tombstone stays while there are older segments"
    );
    ledger.remove(1);
    ledger.remove(2);
    assert_eq!(ledger.carried(3), 0);
    ledger.remove(3);
    assert!(!ledger.is_newest(b"b", 3, 64));
}

#[test]
fn settlements_stay_as_long_as_the_messages_segment() {
    let mut ledger = Ledger::default();
    ledger.published(1, 100, 1);
    ledger.speaks_of(2, 1, 30);
    ledger.speaks_of(2, 2, 30);
    assert_eq!(ledger.carried(2), 30);
    ledger.remove(1);
    assert_eq!(ledger.carried(2), 0);
}

#[test]
fn a_delivered_mark_moves_with_its_newest_record_and_goes_with_the_queue() {
    let mut ledger = Ledger::default();
    ledger.delivered(7, 10, 1);
    ledger.delivered(7, 20, 2);
    ledger.delivered(7, 15, 3);
    assert_eq!(
        (ledger.mark(7), ledger.mark_in(7, 2), ledger.mark_in(7, 1)),
        (20, Some(20), None)
    );
    assert_eq!(ledger.carried(1), 0);
    ledger.queue_deleted(7, 3, 16);
    assert_eq!((ledger.mark(7), ledger.carried(2)), (0, 0));
}
