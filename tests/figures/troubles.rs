//! The time to Ready after each kind of trouble, with a hundred queues on the broker.
//!
//! A trouble is over when the broker (API server, operator) is back or the mistake is mended; what is measured is the
//! time from then until everything is Ready and on the broker.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::api_server::{ApiServer, OwnApiServer, Resources};
use harness::http::Http;
use harness::operator_process::Operator;
use harness::wait::{eventually_async, until};
use harness::{Broker, reaper};
use kube::api::Patch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{all_ready, asked, create, main_broker, queue};

const QUEUES: usize = 100;
/// Times that each trouble is made.
const ROUNDS: usize = 5;
/// The time that something is away.
const AWAY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);

/// All that troubles happen to.
struct Scene {
    cluster: ApiServer,
    namespace: String,
    resources: Resources,
    /// `None` for the moment between an end and the next start.
    broker: Option<Broker>,
    operator: Operator,
    server: Server,
    /// Queues that were made to see that the operator is at work.
    more: usize,
}

/// The operator as the chart runs it: with a Lease, and in a pod, whose container is started again.
fn operator(cluster: &ApiServer, namespace: &str) -> Operator {
    Operator::start_in_pod("its-pod", cluster, namespace, &["--lease-namespace", "default"])
}

impl Scene {
    async fn set(cluster: ApiServer) -> Scene {
        let client = cluster.client().await;
        let namespace = cluster.namespace(&client, "troubles").await;
        let resources = Resources::new(&client, &namespace);
        let broker = Broker::start_to_stay(&[]);
        for manifest in main_broker(&broker) {
            resources.apply(&manifest).await.expect("it can be applied");
        }
        create(&resources, "Queue", (0..QUEUES).map(queue)).await;
        let operator = operator(&cluster, &namespace);
        all_ready(&resources, "Queue", QUEUES).await;
        Scene {
            server: Server::of(&cluster),
            cluster,
            namespace,
            resources,
            broker: Some(broker),
            operator,
            more: QUEUES,
        }
    }

    fn http(&self) -> Http {
        Http::new(self.broker.as_ref().expect("it runs").http())
    }

    /// The Broker and all queues are Ready, and all of them are on the broker.
    async fn whole(&self) {
        self.resources
            .becomes("Broker", "main", "True", "Synced", PATIENCE)
            .await;
        all_ready(&self.resources, "Queue", self.more).await;
        let there = || {
            let queues = self.http().get("/api/queues?columns=name");
            let queues = queues.as_array().cloned().unwrap_or_default();
            let own = |row: &&Value| row["name"].as_str().is_some_and(|name| name.starts_with("q-"));
            queues.iter().filter(own).count() == self.more
        };
        until("all queues are on the broker", PATIENCE, there);
    }

    /// Until the statuses know of a trouble, so that Ready isn't what it was before.
    async fn noticed(&self) {
        let ask = || async {
            let ready = self.resources.ready("Broker", "main").await?;
            if ready.status == "True" {
                Err(format!("{ready:?}"))
            } else {
                Ok(())
            }
        };
        eventually_async("the Broker is not Ready", PATIENCE, ask).await;
    }

    /// One more queue, which only an operator at work makes Ready.
    async fn another(&mut self) {
        let manifest = queue(self.more);
        self.resources.apply(&manifest).await.expect("it can be applied");
        self.more += 1;
    }

    async fn broker_back(&mut self, kill: bool, empty: bool) -> Duration {
        let mut broker = self.broker.take().expect("it runs");
        if kill {
            broker.kill();
        } else {
            broker.terminate(PATIENCE);
        }
        tokio::time::sleep(AWAY).await;
        self.noticed().await;
        self.broker = Some(if empty {
            broker.restart_empty()
        } else {
            broker.restart()
        });
        let back = Instant::now();
        self.whole().await;
        back.elapsed()
    }

    /// The Secret's password: wrong until the Broker says so, then right.
    async fn password_mended(&mut self) -> Duration {
        self.password("wrong").await;
        let told = Instant::now();
        self.noticed().await;
        println!("a wrong password was told {:.1?} after it was written", told.elapsed());
        self.password("guest").await;
        let back = Instant::now();
        self.whole().await;
        back.elapsed()
    }

    async fn password(&self, password: &str) {
        let body = json!({"stringData": {"password": password}});
        let api = self.resources.api("Secret");
        let patched = api.patch("admin", &Default::default(), &Patch::Merge(&body)).await;
        patched.expect("the Secret can be written");
    }

    async fn operator_back(&mut self, kill: bool) -> Duration {
        if kill {
            self.operator.kill();
        } else {
            self.operator.terminate(PATIENCE);
        }
        self.another().await;
        let back = Instant::now();
        self.operator = operator(&self.cluster, &self.namespace);
        self.whole().await;
        back.elapsed()
    }

    async fn deleted_by_hand(&mut self) -> Duration {
        let http = self.http();
        let gone = http.request("DELETE", "/api/queues/%2F/q-7", None);
        assert_eq!(gone.status, 204);
        let back = Instant::now();
        let there = || http.request("GET", "/api/queues/%2F/q-7", None).status == 200;
        until("it is back", PATIENCE, there);
        back.elapsed()
    }

    async fn api_server_back(&mut self) -> Duration {
        self.server.kill();
        tokio::time::sleep(AWAY).await;
        self.server.start();
        let answers = || async {
            let api = self.resources.api("Queue");
            api.get("q-0").await.map(drop).map_err(|error| error.to_string())
        };
        eventually_async("the API server answers", PATIENCE, answers).await;
        let back = Instant::now();
        self.another().await;
        self.whole().await;
        back.elapsed()
    }
}

/// The API server's process, by the id that its script has written down.
struct Server {
    file: PathBuf,
    command: Vec<String>,
    /// The one that was started here.
    child: Option<Child>,
}

impl Server {
    fn of(cluster: &ApiServer) -> Server {
        let file = cluster.kubeconfig.with_file_name("pid").join("kube-apiserver");
        let pid = fs::read_to_string(&file).expect("the script writes it");
        let line = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).expect("it runs");
        Server {
            file,
            command: line.split_terminator('\0').map(str::to_owned).collect(),
            child: None,
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was started here");
            child.wait().expect("it was started here");
            return reaper::gone(child.id());
        }
        let pid = fs::read_to_string(&self.file).expect("the script writes it");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::KILL).expect("it runs");
    }

    /// Starts it again as it was.
    fn start(&mut self) {
        let (program, arguments) = self.command.split_first().expect("a command");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("it ran before");
        reaper::add(child.id(), None);
        self.child = Some(child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A kind of trouble, by name.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    BrokerRestarted,
    BrokerKilled,
    BrokerEmptied,
    WrongPassword,
    OperatorRestarted,
    OperatorKilled,
    DeletedByHand,
    ApiServerAway,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::BrokerRestarted,
    Trouble::BrokerKilled,
    Trouble::BrokerEmptied,
    Trouble::WrongPassword,
    Trouble::OperatorRestarted,
    Trouble::OperatorKilled,
    Trouble::DeletedByHand,
    Trouble::ApiServerAway,
];

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_ready_after_troubles() {
    if !asked() {
        return;
    }
    let Some(plane) = OwnApiServer::start("troubles") else {
        return;
    };
    let mut scene = Scene::set(plane.cluster.clone()).await;
    for trouble in TROUBLES {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(match trouble {
                Trouble::BrokerRestarted => scene.broker_back(false, false).await,
                Trouble::BrokerKilled => scene.broker_back(true, false).await,
                Trouble::BrokerEmptied => scene.broker_back(true, true).await,
                Trouble::WrongPassword => scene.password_mended().await,
                Trouble::OperatorRestarted => scene.operator_back(false).await,
                Trouble::OperatorKilled => scene.operator_back(true).await,
                Trouble::DeletedByHand => scene.deleted_by_hand().await,
                Trouble::ApiServerAway => scene.api_server_back().await,
            });
        }
        times.sort();
        println!(
            "{trouble:?}: median {:.2?}, longest {:.2?}",
            times[ROUNDS / 2],
            times[ROUNDS - 1]
        );
    }
}
