//! Octets of a client before it has logged in: each is answered or refused in time, and leaves nothing behind.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leveret_broker::access::Access;
use leveret_broker::access::users::Users;
use leveret_broker::config::{Limits, Offer};
use leveret_broker::connection::handshake::Handshake;
use leveret_broker::limits::descriptors::Descriptors;
use leveret_broker::limits::disk::Disk;
use leveret_broker::limits::{Alarms, Holding, Memory};
use leveret_broker::listener::Client;
use leveret_broker::node::{Durability, Node};
use leveret_broker::parameters::Parameters;
use leveret_broker::vhost::ids::QueueIds;
use leveret_broker::vhost::shared::Shared;
use leveret_broker::vhosts::Vhosts;
use leveret_store::fs::RealFs;
use leveret_store::{Batch, Options, Store};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A broker with one vhost, for all runs; and its log, which must outlive it.
static BROKER: LazyLock<(Arc<Node>, Store)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let opened = Store::open(Options::new(&folder), Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
    let (store, recovered) = opened.expect("a log");
    let alarms = Arc::new(Alarms::default());
    let memory = Arc::new(Memory::with_alarms(64 << 20, alarms.clone()));
    let disk = Arc::new(Disk::new(&folder, 0, alarms.clone()));
    let ids = QueueIds::recovered(None);
    let shared = Shared::new(store.handle(), memory.clone(), ids, None, Arc::default());
    let parameters = Parameters::restore(store.handle(), memory.clone(), std::iter::empty()).expect("an open log");
    let node = Node::new(
        "leveret@localhost".into(),
        Access::new(Users::Guest { loopback_only: true }, std::iter::empty(), &mut Batch::default()).expect("no files"),
        Vhosts::restore(shared, std::iter::empty()).expect("an open log"),
        Arc::new(Durability::default()),
        recovered.report,
        (disk, Descriptors::new(1024), alarms),
        parameters,
    );
    (Arc::new(node), store)
});

fuzz_target!(|octets: &[u8]| {
    let node = &BROKER.0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // Nobody waits for time-outs.
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (mut client, stream) = tokio::io::duplex(64 * 1024);
        let local = SocketAddr::from(([127, 0, 0, 1], 5672));
        let peer = Client {
            peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            local,
            tls: None,
        };
        let offer = Offer {
            limits: Limits {
                frame_max: 131_072,
                channel_max: 2047,
                heartbeat_seconds: 60,
            },
            initial_frame_max: 8192,
            handshake_timeout: Duration::from_secs(10),
        };
        let mut handshake = Handshake::new(stream, peer, node.clone(), offer);
        let talks = async {
            // It may have closed before all of it was sent.
            let _ = client.write_all(octets).await;
            let _ = client.shutdown().await;
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
        };
        let served = async {
            let opened = handshake.run().await;
            drop(handshake);
            opened.is_ok_and(|opened| opened.is_some())
        };
        let (opened, ()) = tokio::join!(served, talks);
        assert!(!opened, "there is no vhost to open");
    });
    assert_eq!(node.memory.held(Holding::Logins), 0);
});
