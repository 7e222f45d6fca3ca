use super::*;
use crate::fs::RealFs;
use crate::stored::{Destination, Returned};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

fn open(directory: &Path) -> (Store, Recovered) {
    open_with(Options {
        segment_bytes: 64 << 10,
        ..Options::new(directory)
    })
}

fn open_with(options: Options) -> (Store, Recovered) {
    Store::open(
        options,
        Arc::new(RealFs),
        Box::new(|_| {}),
        Box::new(|error| panic!("{error}")),
    )
    .unwrap()
}

fn wait(handle: &Handle, lsn: Lsn) {
    let limit = Instant::now() + Duration::from_secs(10);
    while handle.durable() < lsn {
        assert!(Instant::now() < limit, "not durable in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recovered) = open(directory.path());
    assert!(recovered.queues.is_empty() && recovered.table.is_empty());
    let handle = store.handle();
    let first = handle.next_ids(3);
    let mut batch = Batch::new();
    let a = batch.publish(
        first,
        &[Destination { queue: 1, stamp: 5 }, Destination::unstamped(2)],
        &[b"he", b"llo"],
    );
    let b = batch.publish(first + 1, &[Destination { queue: 1, stamp: 6 }], &[b"second"]);
    batch.publish(first + 2, &[Destination::unstamped(3)], &[b"gone"]);
    batch.put(b"queue/1", b"orders");
    batch.put(b"queue/2", b"bills");
    batch.delete(b"queue/2");
    batch.delivered(1, first);
    let appended = handle.append(&mut batch, Urgency::Now).unwrap();
    assert!(batch.is_empty());
    let (a, b) = (appended.location(a), appended.location(b));
    assert_eq!(&handle.read(a).unwrap()[..], b"hello");
    wait(&handle, appended.lsn);
    assert_eq!(&handle.read(b).unwrap()[..], b"second");
    batch.settle(2, &[(first, a)]);
    batch.returned(
        1,
        &[Returned {
            id: first,
            location: a,
            delivery_count: 1,
            stamp: 9,
        }],
    );
    batch.queue_deleted(3);
    let later = handle.append(&mut batch, Urgency::Soon).unwrap();
    assert!(later.lsn > appended.lsn);
    wait(&handle, later.lsn);
    store.close().unwrap();

    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.table.len(), 1);
    assert_eq!(&recovered.table[&b"queue/1"[..]][..], b"orders");
    assert_eq!(recovered.queues.len(), 1, "{:?}", recovered.queues);
    let messages = &recovered.queues[&1].loose;
    assert_eq!(messages.len(), 2);
    assert_eq!((messages[0].id, messages[0].location), (first, a));
    assert_eq!(
        (
            messages[0].delivery_count,
            messages[0].redelivered,
            messages[0].payload_len
        ),
        (1, true, 5)
    );
    assert_eq!((messages[0].stamp, messages[1].stamp), (9, 6));
    assert_eq!((messages[1].id, messages[1].redelivered), (first + 1, false));
    assert_eq!(recovered.report.torn_bytes, 0);
    assert!(recovered.report.corrupt.is_empty());
    let handle = store.handle();
    assert_eq!(&handle.read(b).unwrap()[..], b"second");
    assert!(handle.next_ids(1) > first + 2);
    let lsn = handle
        .append(
            &mut {
                let mut b = Batch::new();
                b.put(b"x", b"y");
                b
            },
            Urgency::Now,
        )
        .unwrap()
        .lsn;
    assert!(lsn > later.lsn);
    wait(&handle, lsn);
}

/// Files that this process has open below a directory.
fn open_below(directory: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(directory)).count()
}

/// One message to a segment.
#[test]
fn a_thousand_segments_take_no_more_descriptors_than_twenty() {
    const MESSAGES: u64 = 1000;
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 4 << 10,
        checkpoint_bytes: 0,
        ..Options::new(directory.path())
    };
    let (store, _) = open_with(options.clone());
    let handle = store.handle();
    let (mut batch, mut open) = (Batch::new(), Vec::new());
    for id in handle.next_ids(MESSAGES)..=MESSAGES {
        batch.publish(id, &[Destination::unstamped(1)], &[&[id as u8; 3000]]);
        let appended = handle.append(&mut batch, Urgency::Now).unwrap();
        wait(&handle, appended.lsn);
        open.push(open_below(directory.path()));
    }
    let most = open.iter().copied().max().unwrap();
    assert!(most <= 24, "{most} files open at a time");
    store.close().unwrap();
    drop(handle);
    assert_eq!(open_below(directory.path()), 0);

    let (store, recovered) = open_with(options);
    assert!(recovered.report.segments >= MESSAGES, "{:?}", recovered.report);
    assert!(open_below(directory.path()) <= 8);
    let messages = recovered.queues[&1].unpack().unwrap();
    assert_eq!(messages.len() as u64, MESSAGES);
    // In order, and back and forth.
    let back_and_forth = messages.iter().zip(messages.iter().rev()).flat_map(|(a, b)| [a, b]);
    for message in messages.iter().chain(back_and_forth) {
        let payload = store.handle().read(message.location).unwrap();
        assert!(payload[..] == [message.id as u8; 3000]);
    }
    assert!(open_below(directory.path()) <= 24);
    let stats = store.handle().stats();
    assert!(stats.segments >= MESSAGES && stats.open_segments <= 16 && stats.disk_bytes >= MESSAGES * 3000);
}

#[test]
fn what_is_made_is_for_this_user_alone_and_what_was_there_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let write = || {
        let (store, _) = open(&directory);
        let mut batch = Batch::new();
        batch.put(b"key", b"value");
        let appended = store.handle().append(&mut batch, Urgency::Now).unwrap();
        wait(&store.handle(), appended.lsn);
        store.close().unwrap();
        let files = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files.collect::<Vec<_>>()
    };
    for path in write() {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    assert_eq!(mode(&directory), 0o700);
    // As older releases have left them; other files are none of the store's business.
    let readable = || std::fs::Permissions::from_mode(0o644);
    let other = directory.join("notes.txt");
    std::fs::write(&other, "mine").unwrap();
    write()
        .iter()
        .for_each(|path| std::fs::set_permissions(path, readable()).unwrap());
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    for path in write() {
        assert_eq!(mode(&path), if path == other { 0o644 } else { 0o600 }, "{path:?}");
    }
    assert_eq!(mode(&directory), 0o700);
    // A volume that Kubernetes has given to a group keeps that.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o2775)).unwrap();
    std::fs::set_permissions(directory.join("STORE"), std::fs::Permissions::from_mode(0o664)).unwrap();
    write();
    assert_eq!((mode(&directory), mode(&directory.join("STORE"))), (0o2770, 0o660));
}

#[test]
fn names_of_the_store_that_are_no_files_are_refused_and_stay_as_they_are() {
    let links = tempfile::tempdir().unwrap();
    let target = links.path().join("target");
    for name in [
        "LOCK",
        "STORE",
        "STORE.new",
        "checkpoint",
        "pages",
        "spare.log",
        "moving.log",
        "segment-0000000001.log",
        "segment-0000000016.log",
        "gone-0000000001.log",
        "quarantine",
    ] {
        let refused = |make: &dyn Fn(&Path), what: &str| {
            let directory = tempfile::tempdir().unwrap();
            make(&directory.path().join(name));
            let opened = Store::open(
                Options::new(directory.path()),
                Arc::new(RealFs),
                Box::new(|_| {}),
                Box::new(|_| {}),
            );
            let error = opened.err().expect("refused").to_string();
            assert!(error.contains(name) && error.contains(what), "{error}");
            assert_eq!(
                std::fs::read_dir(directory.path()).unwrap().count(),
                1,
                "nothing is made"
            );
        };
        std::fs::write(&target, "precious").unwrap();
        refused(
            &|path| std::os::unix::fs::symlink(&target, path).unwrap(),
            "a symbolic link",
        );
        refused(
            &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            "a pipe, socket or device",
        );
        if name != "quarantine" {
            refused(&|path| std::fs::create_dir(path).unwrap(), "a directory");
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    }
}

#[test]
fn one_sync_serves_many_appends() {
    let directory = tempfile::tempdir().unwrap();
    let commits = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&commits);
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::new(directory.path())
    };
    let on_durable = Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (store, _) = Store::open(options, Arc::new(RealFs), on_durable, Box::new(|_| {})).unwrap();
    let handle = store.handle();
    let mut batch = Batch::new();
    let mut last = Lsn::default();
    for id in 1..=1000 {
        batch.publish(id, &[Destination::unstamped(1)], &[&[7; 500]]);
        last = handle.append(&mut batch, Urgency::Now).unwrap().lsn;
    }
    wait(&handle, last);
    assert_eq!(handle.pending_bytes(), 0);
    assert!(handle.stats().syncs <= 500, "{:?}", handle.stats());
    store.close().unwrap();
    assert!(commits.load(Ordering::Relaxed) >= 1);
    let (_store, recovered) = open(directory.path());
    assert_eq!(recovered.queues[&1].count(), 1000);
    assert!(
        recovered.queues[&1]
            .unpack()
            .unwrap()
            .is_sorted_by_key(|message| message.id)
    );
}

#[test]
fn segments_roll_and_a_batch_larger_than_a_segment_gets_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let handle = store.handle();
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for id in 1..=300u64 {
        let size = if id == 150 { 200 << 10 } else { 1000 };
        let body = vec![id as u8; size];
        let relative = batch.publish(id, &[Destination::unstamped(id % 3)], &[&body]);
        places.push((
            id,
            size,
            handle.append(&mut batch, Urgency::Soon).unwrap().location(relative),
        ));
    }
    let check = |handle: &Handle| {
        for &(id, size, location) in &places {
            let body = handle.read(location).unwrap();
            assert!(
                body.len() == size && body.iter().all(|&byte| byte == id as u8),
                "message {id}"
            );
        }
    };
    check(&handle);
    store.close().unwrap();
    let (store, recovered) = open(directory.path());
    check(&store.handle());
    assert_eq!(recovered.queues.values().map(crate::Backlog::count).sum::<usize>(), 300);
    assert!(recovered.report.segments > 4, "{:?}", recovered.report);
}

#[test]
fn a_closed_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let handle = store.handle();
    store.close().unwrap();
    let mut batch = Batch::new();
    batch.put(b"a", b"b");
    assert!(matches!(handle.append(&mut batch, Urgency::Now), Err(Error::Closed)));
}

#[test]
fn bad_settings_are_named() {
    let options = Options {
        segment_bytes: 1,
        ..Options::new("x")
    };
    let result = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
    assert_eq!(
        result.err().unwrap().to_string(),
        "segment_bytes is 1, allowed is 4096 to 2147483648"
    );
}

mod failures {
    use super::*;
    use crate::fs::faulty::{FaultyFs, Survival};

    fn open(fs: &FaultyFs) -> (Store, Arc<AtomicU32>, Recovered) {
        let failures = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&failures);
        let on_failed = Box::new(move |_: &Error| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let (store, recovered) =
            Store::open(Options::new("/data"), Arc::new(fs.clone()), Box::new(|_| {}), on_failed).unwrap();
        (store, failures, recovered)
    }

    fn put(store: &Store, key: &[u8]) -> Result<Lsn, Error> {
        let mut batch = Batch::new();
        batch.put(key, b"value");
        Ok(store.handle().append(&mut batch, Urgency::Now)?.lsn)
    }

    fn until_failed(store: &Store) {
        let limit = Instant::now() + Duration::from_secs(10);
        while put(store, b"probe").is_ok() {
            assert!(Instant::now() < limit);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_failed_sync_is_the_end() {
        let fs = FaultyFs::new();
        let (store, failures, _) = open(&fs);
        let good = put(&store, b"good").unwrap();
        wait(&store.handle(), good);
        fs.fail_sync(0, 5);
        let bad = put(&store, b"bad").unwrap();
        until_failed(&store);
        assert!(store.handle().durable() < bad);
        assert!(matches!(put(&store, b"more"), Err(Error::Failed(_))));
        let syncs = fs.syncs();
        assert!(matches!(store.close(), Err(Error::Failed(_))));
        assert_eq!(
            (failures.load(Ordering::Relaxed), fs.syncs()),
            (1, syncs),
            "told once, never tried again"
        );
        let (_store, _, recovered) = open(&fs.crash(Survival::Synced));
        assert!(recovered.table.contains_key(&b"good"[..]) && !recovered.table.contains_key(&b"bad"[..]));
    }

    #[test]
    fn a_full_disk_is_reported() {
        let fs = FaultyFs::new();
        let (store, failures, _) = open(&fs);
        let good = put(&store, b"good").unwrap();
        wait(&store.handle(), good);
        fs.fail_write(0, 28);
        put(&store, b"bad").unwrap();
        until_failed(&store);
        let Err(Error::Failed(reason)) = store.close() else {
            panic!("closed well")
        };
        assert!(reason.contains("No space left"), "{reason}");
        assert_eq!(failures.load(Ordering::Relaxed), 1);
        let (_store, _, recovered) = open(&fs.crash(Survival::Everything));
        assert!(recovered.table.contains_key(&b"good"[..]));
    }

    #[test]
    fn short_writes_are_completed() {
        let fs = FaultyFs::new();
        fs.short_writes(true);
        let (store, _, _) = open(&fs);
        let lsn = put(&store, b"key").unwrap();
        wait(&store.handle(), lsn);
        let (_store, _, recovered) = open(&fs.crash(Survival::Synced));
        assert_eq!(recovered.table.len(), 1);
    }

    #[test]
    fn what_is_queued_softly_is_synced_within_the_interval() {
        let fs = FaultyFs::new();
        let (store, _, _) = open(&fs);
        let mut batch = Batch::new();
        batch.put(b"a", b"b");
        let before = Instant::now();
        let lsn = store.handle().append(&mut batch, Urgency::Soon).unwrap().lsn;
        wait(&store.handle(), lsn);
        assert!(before.elapsed() >= Duration::from_millis(45) && before.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_directory_is_opened_once() {
        let fs = FaultyFs::new();
        let (_store, _, _) = open(&fs);
        let second = Store::open(Options::new("/data"), Arc::new(fs), Box::new(|_| {}), Box::new(|_| {}));
        assert!(matches!(second.err(), Some(Error::Locked { pid: Some(pid), .. }) if pid == std::process::id()));
    }
}

#[test]
fn a_run_reads_as_its_records_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let handle = store.handle();
    let mut locations = Vec::new();
    let mut last = Lsn(0);
    for n in 0..200u64 {
        let id = handle.next_ids(1);
        let mut batch = Batch::new();
        let body = vec![n as u8; (n as usize * 37) % 900];
        let place = batch.publish(id, &[Destination::unstamped(1 + n % 3)], &[&body]);
        if n % 7 == 0 {
            batch.put(b"between", &[0; 100]);
        }
        let appended = handle.append(&mut batch, Urgency::Soon).unwrap();
        locations.push(appended.location(place));
        last = appended.lsn;
        if n == 150 {
            wait(&handle, last);
        }
    }
    let check = |locations: &[Location]| {
        let run = handle.read_run(locations);
        assert_eq!(run.len(), locations.len());
        for (payload, location) in run.into_iter().zip(locations) {
            assert_eq!(payload.unwrap(), handle.read(*location).unwrap());
        }
    };
    // Some of it is not written yet; then all of it is; then in other orders.
    check(&locations);
    wait(&handle, last);
    check(&locations);
    let backwards: Vec<Location> = locations.iter().rev().copied().collect();
    check(&backwards);
    let some: Vec<Location> = locations.iter().step_by(5).copied().collect();
    check(&some);
    check(&[]);
    store.close().unwrap();
}

#[test]
fn a_damaged_record_in_a_run_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path());
    let handle = store.handle();
    let mut batch = Batch::new();
    let id = handle.next_ids(3);
    let places: Vec<_> = (0..3)
        .map(|n| batch.publish(id + n, &[Destination::unstamped(1)], &[&[n as u8; 100]]))
        .collect();
    let appended = handle.append(&mut batch, Urgency::Now).unwrap();
    wait(&handle, appended.lsn);
    let locations: Vec<Location> = places.iter().map(|place| appended.location(*place)).collect();
    let file = std::fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let file = file
        .filter(|path| path.to_string_lossy().contains("segment-"))
        .max()
        .unwrap();
    let at = u64::from(locations[1].offset) + 50;
    std::os::unix::fs::FileExt::write_all_at(&std::fs::OpenOptions::new().write(true).open(file).unwrap(), b"X", at)
        .unwrap();
    let run = handle.read_run(&locations);
    assert_eq!(&run[0].as_ref().unwrap()[..], [0; 100]);
    assert!(matches!(run[1], Err(Error::Corrupt { .. })));
    assert_eq!(&run[2].as_ref().unwrap()[..], [2; 100]);
    store.close().unwrap();
}
