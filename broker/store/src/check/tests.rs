use super::*;
use crate::MessageId;
use crate::fs::faulty::{FaultyFs, Survival};
use std::path::Path;

/// Two queues, a table, a returned and a delivered message; then a flipped bit in the third message.
fn damaged() -> FaultyFs {
    let fs = FaultyFs::new();
    let options = Options::new("/data");
    let (store, _) = Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {})).expect("a store");
    let handle = store.handle();
    let mut batch = Batch::new();
    batch.put(b"queue/1", b"orders");
    let first = handle.next_ids(4);
    let places: Vec<_> = (0..4)
        .map(|n| {
            let to = [1, 2].map(|queue| Destination {
                queue,
                stamp: n * 10 + queue - 1,
            });
            let to = if n == 0 { &to[..] } else { &to[..1] };
            batch.publish(first + n, to, &[&[n as u8; 100]])
        })
        .collect();
    let appended = handle.append(&mut batch, Urgency::Now).expect("appended");
    batch.returned(
        1,
        &[Returned {
            id: first + 1,
            location: appended.location(places[1]),
            delivery_count: 2,
            stamp: 77,
        }],
    );
    batch.delivered(2, first);
    let third = appended.location(places[2]).offset as usize;
    drop(appended);
    handle.append(&mut batch, Urgency::Now).expect("appended");
    store.close().expect("closed");
    fs.flip_bit(Path::new("/data/segment-0000000001.log"), third + 40, 3)
        .expect("a bit");
    fs
}

#[test]
fn a_check_reports_and_changes_nothing() {
    let fs = damaged();
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let before = format!("{fs:?}");
    let checked = check(Path::new("/data"), &shared).expect("a report");
    assert_eq!(checked.recovered.report.corrupt.len(), 1);
    assert_eq!(checked.recovered.queues[&1].count(), 3);
    assert_eq!(checked.checkpoint, None);
    drop(checked);
    // The lock file alone may have come into being.
    assert_eq!(format!("{fs:?}"), before);
    assert_eq!(
        check(Path::new("/data"), &shared)
            .expect("a report")
            .recovered
            .report
            .corrupt
            .len(),
        1
    );
}

#[test]
fn a_copy_is_whole_and_clean() {
    let fs = damaged();
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let checked = check(Path::new("/data"), &shared).expect("a report");
    let copied = checked.copy_to(Path::new("/clean"), &shared).expect("a copy");
    assert_eq!(
        copied,
        Copied {
            messages: 3,
            unreadable: 0
        }
    );
    assert!(matches!(
        checked.copy_to(Path::new("/clean"), &shared),
        Err(Error::NotEmpty { .. })
    ));
    drop(checked);
    let after: Arc<dyn Fs> = Arc::new(fs.crash(Survival::Synced));
    let copy = check(Path::new("/clean"), &after).expect("a report");
    assert!(copy.recovered.report.corrupt.is_empty());
    assert_eq!(copy.recovered.table.len(), 1);
    let flags = |queue: QueueId| -> Vec<(MessageId, u32, bool, u64)> {
        let messages = copy.recovered.queues[&queue].unpack().expect("messages");
        messages
            .iter()
            .map(|m| (m.id, m.delivery_count, m.redelivered, m.stamp))
            .collect()
    };
    assert_eq!(flags(1), [(1, 0, false, 0), (2, 2, true, 77), (4, 0, false, 30)]);
    assert_eq!(flags(2), [(1, 0, true, 1)]);
}

#[test]
fn what_is_not_there_or_in_use_is_said() {
    let fs: Arc<dyn Fs> = Arc::new(crate::fs::RealFs);
    let Err(error) = check(Path::new("/no/such/folder"), &fs) else {
        panic!("there is none")
    };
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
    let faulty = FaultyFs::new();
    let options = Options::new("/data");
    let _open = Store::open(options, Arc::new(faulty.clone()), Box::new(|_| {}), Box::new(|_| {})).expect("a store");
    let shared: Arc<dyn Fs> = Arc::new(faulty);
    assert!(matches!(check(Path::new("/data"), &shared), Err(Error::Locked { .. })));
}
