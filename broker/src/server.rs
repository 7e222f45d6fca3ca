//! Start and drain: in which order things come up, and in which they go.
//!
//! Comes in: settings. Goes out: a running broker, until a signal. Addresses are taken first, so that a start that
//! fails for them hasn't touched the data; clients are accepted last, when everything is recovered.

use crate::access::Access;
use crate::access::oauth::{Count, Tokens};
use crate::admin::{self, Admin, Gate};
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::Amqp;
use crate::limits::{self, Alarms, Descriptors, Holding, Memory, descriptors, disk, disk::Disk};
use crate::listener::tls::Certificates;
use crate::listener::{self, Socket};
use crate::node::{Durability, Node};
use crate::outbox::Work;
use crate::parameters::Parameters;
use crate::protocol::{Listener, Protocol};
use crate::reload::Live;
use crate::turns::Watch;
use crate::vhost::ids::{self, QueueIds};
use crate::vhost::shared::Shared;
use crate::vhosts::Vhosts;
use crate::zeromq::keys::Keys;
use crate::zeromq::{self, Sockets as ZeroMq};
use anyhow::Context;
use leveret_store::fs::RealFs;
use leveret_store::{Backlog, Batch, Options, QueueId, Recovered, Store, Urgency};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Time until a folder that another process holds is tried again.
const LOCK_LOOK: Duration = Duration::from_millis(100);

/// Runs a broker until SIGTERM or SIGINT.
///
/// # Errors
/// Anything that prevents the start: one line that names it and the remedy.
pub async fn run(config: Config, live: Arc<Live>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let descriptors = Descriptors::new(descriptors::raise());
    let Sockets {
        listeners,
        certificates,
        amqp,
        web,
    } = Sockets::bind(&config, &descriptors)?;
    let fixed = zeromq::settings::fixed(&config.zeromq).map_err(anyhow::Error::msg)?;
    // Probes are answered while the log is read.
    let watch = Watch::start(Handle::current()).context("cannot start a thread that watches the others")?;
    let gate = Gate::new(&config.users, config.max_body_bytes, watch);
    let http = admin::serve(&gate, web, &Handle::current())?;
    let recovering = tokio::spawn(begin(config, descriptors));
    let recovered = tokio::select! {
        recovered = recovering => recovered.context("recovering the log")?,
        // Like a crash at this moment, which recovery survives: no client has been served yet.
        _ = terminate.recv() => return stopped_early("SIGTERM"),
        _ = interrupt.recv() => return stopped_early("SIGINT"),
    };
    let (config, Recovery { store, node, keys }) = recovered?;
    live.attach(node.clone());
    for issuer in node.access.tokens().map_or(&[][..], Tokens::issuers) {
        let issuer = issuer.clone();
        // While keys can't be had, the issuer says so, and logins by password go on.
        tokio::spawn(async move { issuer.follow().await });
    }
    let sockets = Arc::new(ZeroMq::new(node.clone(), live.offer.clone(), keys, fixed));
    gate.open(Admin::new(
        node.clone(),
        (listeners.clone(), sockets.clone()),
        certificates,
        config.data_dir.clone(),
        live.clone(),
        gate.largest_body(),
    ));
    for Listener { service, address } in listeners {
        say(&format!("listening {} {address}", service.name))?;
    }
    let clients = Amqp {
        node: node.clone(),
        offer: live.offer.clone(),
    };
    let accept = |socket| tokio::spawn(listener::accept(socket, clients.clone()));
    let tasks: Vec<_> = amqp.into_iter().map(accept).collect();
    // One that can't be bound is no reason not to start: it came by the API, and goes by it.
    let followed = sockets.clone();
    tokio::spawn(async move { followed.follow().await });
    say("ready")?;
    info!(version = env!("CARGO_PKG_VERSION"), data_dir = %config.data_dir.display(), "ready");
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: draining"),
        _ = interrupt.recv() => info!("SIGINT: draining"),
    }
    let patience = *live.shutdown_timeout.read();
    sockets.stop().await;
    let drained = drain(patience, store, &node, tasks).await;
    drop(http);
    drained
}

/// Listening sockets by protocol: the one place that says how each is served.
struct Sockets {
    listeners: Vec<Listener>,
    certificates: Option<Arc<Certificates>>,
    /// Accepted when everything is recovered.
    amqp: Vec<Socket>,
    /// Served from the start.
    web: Vec<Socket>,
}

impl Sockets {
    fn bind(config: &Config, descriptors: &Arc<Descriptors>) -> anyhow::Result<Self> {
        let certificates = config.tls.clone().map(Certificates::load).transpose()?.map(Arc::new);
        let mut sockets = Self {
            listeners: Vec::new(),
            certificates,
            amqp: Vec::new(),
            web: Vec::new(),
        };
        for listen in &config.listen {
            let bound = listener::bind(listen, sockets.certificates.as_ref(), descriptors)?;
            sockets.listeners.extend(bound.iter().map(|socket| socket.listener));
            match listen.service.protocol {
                Protocol::Amqp => sockets.amqp.extend(bound),
                Protocol::Management | Protocol::Metrics => sockets.web.extend(bound),
                // Each is bound when it is declared.
                Protocol::Zmtp => {}
            }
        }
        Ok(sockets)
    }
}

fn stopped_early(signal: &str) -> anyhow::Result<()> {
    info!("{signal} before the broker was ready: stopped");
    Ok(())
}

/// Opens the log. While another process has the folder this waits: where a pod is replaced, the one before may still be
/// ending.
fn open(
    config: &Config,
    durability: &Arc<Durability>,
    open_segments: usize,
) -> Result<(Store, Recovered), leveret_store::Error> {
    let deadline = std::time::Instant::now() + config.lock_timeout;
    let mut told = false;
    loop {
        let options = Options {
            segment_bytes: config.segment_bytes,
            flush_interval: config.flush_interval,
            open_segments,
            ..Options::new(&config.data_dir)
        };
        let synced = durability.clone();
        let on_durable = Box::new(move |_| synced.synced());
        // The page cache can't be trusted after a failed write or sync: what is on disk is only known after a new
        // start.
        let on_failed = Box::new(|failure: &leveret_store::Error| {
            error!(
                error = %failure,
                "the log has failed; the broker stops so that nothing is confirmed that isn't on disk"
            );
            std::process::exit(1);
        });
        match Store::open(options, Arc::new(RealFs), on_durable, on_failed) {
            Err(leveret_store::Error::Locked { directory, pid }) if std::time::Instant::now() < deadline => {
                if !told {
                    let (folder, pid) = (
                        directory.display(),
                        pid.map_or_else(|| "unknown".into(), |pid| pid.to_string()),
                    );
                    warn!(
                        %folder,
                        %pid,
                        timeout = ?config.lock_timeout,
                        "another process has the data directory; waiting until it has gone"
                    );
                    told = true;
                }
                std::thread::sleep(LOCK_LOOK);
            }
            opened => return opened,
        }
    }
}

/// Brings back what the log holds, and loads the definitions of the settings.
async fn begin(config: Config, descriptors: Arc<Descriptors>) -> anyhow::Result<(Config, Recovery)> {
    let recovering =
        tokio::task::spawn_blocking(move || recover(&config, descriptors).map(|recovered| (config, recovered)));
    let (config, recovery) = recovering.await.context("recovering the log")??;
    let Some(definitions) = &config.definitions else {
        return Ok((config, recovery));
    };
    if let Err(fault) = admin::definitions::start::load(&recovery.node, definitions).await {
        tokio::task::spawn_blocking(|| recovery.store.close())
            .await
            .context("closing the log")??;
        return Err(fault);
    }
    Ok((config, recovery))
}

/// The things that the log brings back.
struct Recovery {
    store: Store,
    node: Arc<Node>,
    /// Keys of ZeroMQ's sockets.
    keys: Keys,
}

/// Counts the bytes of a use that doesn't know who counts them.
fn counted(memory: &Memory, what: Holding) -> Count {
    let held = Mutex::new(memory.hold(what, 0));
    Box::new(move |bytes| held.lock().set(bytes))
}

/// Opens the log and brings back what it holds.
fn recover(config: &Config, descriptors: Arc<Descriptors>) -> anyhow::Result<Recovery> {
    let durability = Arc::new(Durability::default());
    let (store, mut recovered) = open(config, &durability, descriptors.segments())?;
    report(&recovered);
    let alarms = Arc::new(Alarms::default());
    let memory = Arc::new(Memory::with_alarms(config.memory_watermark_bytes, alarms.clone()));
    let disk = Arc::new(Disk::new(
        &config.data_dir,
        disk::effective_limit(config.disk_free_limit_bytes, config.segment_bytes),
        alarms.clone(),
    ));
    limits::watch::start(&memory, &disk).context("cannot start a thread that watches memory and disk space")?;
    let name = "leveret@localhost".to_owned();
    let mut first_user = Batch::default();
    let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
    let access = Access::new(config.users.clone(), table, &mut first_user)
        .context("cannot start a thread that reads the password's file")?
        .with_backends(config.backends.clone(), counted(&memory, Holding::Tokens));
    if !first_user.is_empty() {
        store.handle().append(&mut first_user, Urgency::Soon)?;
    }
    let reserved = recovered.table.get(ids::KEY).map(|value| value.as_ref());
    let clock = Clock::start().context("cannot start the clock's thread")?;
    let shared = Shared::new(
        store.handle(),
        memory,
        QueueIds::recovered(reserved),
        Some(Arc::new(clock)),
        Arc::default(),
    );
    let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
    let hosts = Vhosts::restore(shared, table)?;
    queues(&store, &hosts.shared, std::mem::take(&mut recovered.queues))?;
    let mut orphans = Batch::default();
    access
        .directory
        .forget_others(|vhost| hosts.get(vhost).is_some(), &mut orphans);
    if !orphans.is_empty() {
        store.handle().append(&mut orphans, Urgency::Soon)?;
    }
    let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
    let parameters = Parameters::restore(store.handle(), hosts.shared.memory.clone(), table)?;
    let table = recovered.table.iter().map(|(key, value)| (&**key, &**value));
    let keys = Keys::restore(store.handle(), table);
    let report = recovered.report.clone();
    let node = Arc::new(Node::new(
        name,
        access,
        hosts,
        durability,
        report,
        (disk, descriptors, alarms),
        parameters,
    ));
    store.start_reclaim(node.clone());
    Ok(Recovery { store, node, keys })
}

/// Gives the queues of all vhosts the messages that the log has for them.
fn queues(store: &Store, shared: &Shared, backlogs: HashMap<QueueId, Backlog>) -> Result<(), leveret_store::Error> {
    let mut forgotten = Batch::default();
    let mut work = Work::default();
    for (id, backlog) in backlogs {
        match shared.queues.get(id) {
            Some(queue) => queue.restore(backlog),
            None => {
                // Published in the moment of its queue's end.
                let locations: Vec<_> = backlog.loose.iter().map(|message| message.location).collect();
                forgotten.queue_deleted(id);
                store.handle().append(&mut forgotten, Urgency::Soon)?;
                store.handle().release(&locations);
                store.handle().release_pages(&backlog.pages);
            }
        }
    }
    let queues = shared.queues.all();
    for queue in &queues {
        let mut more = queue.begin(&mut work);
        while more {
            work.finish(&store.handle())?;
            more = queue.trim(&mut work);
        }
    }
    work.finish(&store.handle())?;
    // A start counts as a use: nothing could use a queue while the broker was down.
    queues.iter().for_each(|queue| queue.renew_lease());
    Ok(())
}

fn report(recovered: &Recovered) {
    let report = &recovered.report;
    let messages: usize = recovered.queues.values().map(Backlog::count).sum();
    info!(
        from_checkpoint = report.from_checkpoint,
        records = report.records,
        segments = report.segments,
        messages,
        torn_bytes = report.torn_bytes,
        millis = report.duration.as_millis() as u64,
        "recovered the log"
    );
    for corrupt in &report.corrupt {
        warn!(
            file = %corrupt.file.display(),
            offset = corrupt.offset,
            bytes = corrupt.len,
            "a damaged part of the log was skipped"
        );
    }
    if let Some(path) = &report.quarantined_to {
        warn!(path = %path.display(), "damaged parts of the log were copied there");
    }
}

/// The clients are closed with 320, then the log is: what they published is on disk and confirmed as far as they waited
/// for it.
async fn drain<T>(patience: Duration, store: Store, node: &Node, tasks: Vec<JoinHandle<T>>) -> anyhow::Result<()> {
    tasks.iter().for_each(JoinHandle::abort);
    node.connections
        .close_all("broker forced connection closure with reason 'shutdown'");
    let deadline = Instant::now() + patience;
    while !node.connections.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = node.connections.len();
    if left > 0 {
        warn!(connections = left, "some clients didn't close in time");
    }
    tokio::task::spawn_blocking(|| store.close())
        .await
        .context("closing the log")??;
    info!("stopped");
    Ok(())
}

/// A line on standard output, for programs that started this one.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    // The reader may have gone: that is no reason to stop.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    Ok(())
}
