use crate::fs::faulty::{FaultyFs, Survival};
use crate::fs::{File, Fs, read_full_at};
use crate::segment::{self, FORMAT, HEADER, Header};
use crate::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn open(fs: &FaultyFs) -> (Store, Recovered) {
    try_open(fs).unwrap()
}

fn try_open(fs: &FaultyFs) -> Result<(Store, Recovered), Error> {
    // No idle marks while a test waits.
    let options = Options {
        flush_interval: Duration::from_secs(60),
        segment_bytes: 256 << 10,
        ..Options::new("/data")
    };
    Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {}))
}

fn segment_path(number: u32) -> PathBuf {
    Path::new("/data").join(segment::file_name(number))
}

fn append(store: &Store, batch: &mut Batch) -> Appended {
    let appended = store.handle().append(batch, Urgency::Now).unwrap();
    while store.handle().durable() < appended.lsn {
        std::thread::yield_now();
    }
    appended
}

fn ids(recovered: &Recovered, queue: QueueId) -> Vec<MessageId> {
    recovered
        .queues
        .get(&queue)
        .into_iter()
        .flat_map(|backlog| backlog.unpack().unwrap())
        .map(|message| message.id)
        .collect()
}

/// Three durable batches: a message each for queue 1, two for queue 2 in the last.
fn small_log() -> (FaultyFs, Vec<(u64, u64)>) {
    let fs = FaultyFs::new();
    let (store, _) = open(&fs);
    let mut batch = Batch::new();
    let mut ranges = Vec::new();
    for id in 1..=3 {
        let relative = batch.publish(id, &[Destination::unstamped(1)], &[&[id as u8; 60]]);
        let mut last = relative;
        if id == 3 {
            batch.publish(10, &[Destination::unstamped(2)], &[&[10; 30]]);
            last = batch.publish(11, &[Destination::unstamped(2)], &[&[11; 30]]);
        }
        let appended = append(&store, &mut batch);
        let (first, last) = (appended.location(relative), appended.location(last));
        ranges.push((u64::from(first.offset), u64::from(last.offset + last.len)));
    }
    let after = fs.crash(Survival::Everything);
    (after, ranges)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_stays_cut() {
    let (fs, ranges) = small_log();
    let (start, end) = ranges[2];
    for cut in start..end {
        let fs = fs.crash(Survival::Everything);
        let file = fs.open(&segment_path(1)).unwrap();
        // A write that stopped: what follows is still zero.
        let size = file.size().unwrap();
        file.set_len(cut).unwrap();
        file.set_len(size).unwrap();
        let (store, recovered) = open(&fs);
        assert_eq!(
            (ids(&recovered, 1), ids(&recovered, 2)),
            (vec![1, 2], vec![]),
            "cut at {cut}"
        );
        assert!(
            recovered.report.corrupt.is_empty(),
            "cut at {cut}: {:?}",
            recovered.report
        );
        assert_eq!(
            file.size().unwrap(),
            if cut < end { recovered_end(&ranges) } else { size }
        );
        let mut batch = Batch::new();
        batch.publish(store.handle().next_ids(1), &[Destination::unstamped(1)], &[b"new"]);
        append(&store, &mut batch);
        store.close().unwrap();
        let (_store, recovered) = open(&fs);
        assert_eq!(ids(&recovered, 1).len(), 3, "cut at {cut}");
        assert_eq!((recovered.report.torn_bytes, recovered.report.corrupt.len()), (0, 0));
    }
}

/// The mark behind the second batch is kept: only whole batches are cut.
fn recovered_end(ranges: &[(u64, u64)]) -> u64 {
    ranges[2].0
}

#[test]
fn a_flipped_bit_costs_at_most_its_own_record() {
    let fs = FaultyFs::new();
    let (store, _) = open(&fs);
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for round in 0..4u64 {
        let relatives: Vec<_> = (0..3)
            .map(|n| {
                (
                    1 + round * 3 + n,
                    batch.publish(1 + round * 3 + n, &[Destination::unstamped(1)], &[&[n as u8; 20]]),
                )
            })
            .collect();
        let appended = append(&store, &mut batch);
        places.extend(
            relatives
                .into_iter()
                .map(|(id, relative)| (id, appended.location(relative))),
        );
    }
    store.close().unwrap();
    let end = fs.open(&segment_path(1)).unwrap().size().unwrap().min(640);
    for bit in 0..end * 8 {
        let fs = fs.crash(Survival::Synced);
        let at = bit / 8;
        fs.flip_bit(&segment_path(1), at as usize, (bit % 8) as u8).unwrap();
        let (store, recovered) = open(&fs);
        let hit = places
            .iter()
            .find(|(_, place)| (u64::from(place.offset)..u64::from(place.offset + place.len)).contains(&at));
        let expected: Vec<_> = (1..=12).filter(|id| hit.is_none_or(|hit| hit.0 != *id)).collect();
        assert_eq!(ids(&recovered, 1), expected, "byte {at}, bit {}", bit % 8);
        if hit.is_some() || at < HEADER {
            assert_eq!(recovered.report.corrupt.len(), 1, "byte {at}");
            assert_eq!(store.handle().stats().corrupt, 1);
            assert!(recovered.report.quarantined_to.is_some());
            assert_eq!(fs.list(Path::new("/data/quarantine")).unwrap().len(), 1);
        }
        if let Some((_, place)) = hit {
            assert!(matches!(store.handle().read(*place), Err(Error::Corrupt { .. })));
        }
        drop(store);
        let (_store, recovered) = open(&fs);
        assert_eq!(ids(&recovered, 1), expected, "second start, byte {at}");
    }
}

#[test]
fn what_an_idle_store_has_synced_is_not_mistaken_for_a_torn_tail() {
    let fs = FaultyFs::new();
    let options = Options {
        flush_interval: Duration::from_millis(1),
        ..Options::new("/data")
    };
    let (store, _) = Store::open(options, Arc::new(fs.clone()), Box::new(|_| {}), Box::new(|_| {})).unwrap();
    let mut batch = Batch::new();
    let place = batch.publish(1, &[Destination::unstamped(1)], &[b"first"]);
    batch.publish(2, &[Destination::unstamped(1)], &[b"second"]);
    let place = append(&store, &mut batch).location(place);
    std::thread::sleep(Duration::from_millis(100));
    let killed = fs.crash(Survival::Everything);
    killed
        .flip_bit(&segment_path(1), place.offset as usize + 15, 0)
        .unwrap();
    let (_store, recovered) = open(&killed);
    assert_eq!(ids(&recovered, 1), [2]);
    assert_eq!((recovered.report.corrupt.len(), recovered.report.torn_bytes), (1, 0));
}

#[test]
fn a_batch_is_there_or_not() {
    let fs = FaultyFs::new();
    let (store, _) = open(&fs);
    let mut batch = Batch::new();
    batch.publish(1, &[Destination::unstamped(1)], &[b"one"]);
    append(&store, &mut batch);
    for id in 2..=40 {
        batch.publish(id, &[Destination::unstamped(1)], &[&[7; 500]]);
    }
    // Written but never synced: any subset of its sectors may have reached the disk.
    fs.fail_sync(0, 5);
    store.handle().append(&mut batch, Urgency::Now).unwrap();
    while !matches!(
        store.handle().append(
            &mut {
                let mut b = Batch::new();
                b.note();
                b
            },
            Urgency::Now
        ),
        Err(Error::Failed(_))
    ) {
        std::thread::yield_now();
    }
    for seed in 0..200 {
        let (_store, recovered) = open(&fs.crash(Survival::Some(seed)));
        let found = ids(&recovered, 1);
        assert!(found == [1] || found.len() == 40, "{found:?}");
    }
}

#[test]
fn a_lost_identity_is_taken_from_the_segments() {
    let (fs, _) = small_log();
    fs.remove(Path::new("/data/STORE")).unwrap();
    let (_store, recovered) = open(&fs);
    assert_eq!(ids(&recovered, 1), [1, 2, 3]);
}

#[test]
fn an_unreadable_segment_is_put_aside() {
    let (fs, _) = small_log();
    drop(open(&fs).0);
    let (store, _) = open(&fs);
    let mut batch = Batch::new();
    batch.publish(100, &[Destination::unstamped(1)], &[b"later"]);
    append(&store, &mut batch);
    store.close().unwrap();
    let file = fs.open(&segment_path(1)).unwrap();
    let size = file.size().unwrap();
    file.write_at(&vec![0xaa; size as usize], 0).unwrap();
    let (_store, recovered) = open(&fs);
    assert_eq!(ids(&recovered, 1), [100]);
    assert_eq!(recovered.report.corrupt.len(), 1);
    assert_eq!(fs.list(Path::new("/data/quarantine")).unwrap(), [segment::file_name(1)]);
}

/// Writes the format into a header.
fn set_format(file: &dyn File, format: u32) {
    let mut bytes = [0; HEADER as usize];
    read_full_at(file, &mut bytes, 0).unwrap();
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(&bytes, 0).unwrap();
}

#[test]
fn an_older_directory_is_opened_and_belongs_to_this_format_from_then_on() {
    let (fs, _) = small_log();
    let (path, identity) = (segment_path(1), Path::new("/data/STORE"));
    for path in [&path, identity] {
        set_format(&*fs.open(path).unwrap(), 1);
    }
    let (store, recovered) = open(&fs);
    assert_eq!((ids(&recovered, 1), ids(&recovered, 2)), (vec![1, 2, 3], vec![10, 11]));
    store.close().unwrap();
    // Before there is anything that an older program does not know, and durably.
    let fs = fs.crash(Survival::Synced);
    let format = |path: &Path| match Header::read(&*fs.open(path).unwrap()).unwrap() {
        segment::HeaderRead::Valid(header) => header.format,
        other => panic!("{other:?}"),
    };
    assert_eq!((format(identity), format(&path)), (FORMAT, 1));
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let (fs, _) = small_log();
    for path in [segment_path(1), PathBuf::from("/data/STORE")] {
        let fs = fs.crash(Survival::Everything);
        set_format(&*fs.open(&path).unwrap(), FORMAT + 1);
        let before = format!("{fs:?}");
        let error = try_open(&fs).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("{} has store format {}", path.display(), FORMAT + 1)),
            "{error}"
        );
        assert_eq!(format!("{fs:?}"), before);
    }
}

#[test]
fn headers_survive() {
    let (fs, _) = small_log();
    let file = fs.open(&segment_path(1)).unwrap();
    assert!(matches!(Header::read(&*file).unwrap(), segment::HeaderRead::Valid(header) if header.segment == 1));
}
