//! Namespace, Broker, definitions, operator and Secret, deleted in every order, with messages and without, while the
//! broker is up and while it is away: each ends in bounded time, messages stay, and what stays on the broker is told.
//!
//! Definitions are the whole cluster's, so the orders in which they come at the same place are played together, each in
//! a namespace of its own, on a control plane of this test's own. There are 480 plays; a run plays some by chance, and
//! says which: `LEVERET_ORDERS=7` plays those again, `LEVERET_ORDERS=all` all of them (`make orders`).

use std::collections::BTreeSet;
use std::env;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use harness::api_server::{ApiServer, OwnApiServer, Resources, manifests};
use harness::http::Http;
use harness::kubectl::run;
use harness::operator_process::Operator;
use harness::requests::*;
use harness::wait::{eventually_async, until};
use harness::{Broker, Client, call, place};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{SOON, broker_manifests, manifest, text};

/// The bound for everything to be gone after the last deletion: what is waited for takes three seconds of it, to
/// believe that definitions are gone ten, a namespace's controller some more, and the machine may be busy.
const BOUND: Duration = Duration::from_secs(90);
/// Plays at the same time, each with an operator of its own.
const AT_ONCE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Namespace,
    Broker,
    Definitions,
    Operator,
    Secret,
}

const ACTS: [Act; 5] = [
    Act::Namespace,
    Act::Broker,
    Act::Definitions,
    Act::Operator,
    Act::Secret,
];

/// One order under one circumstance.
#[derive(Clone, Debug)]
struct Play {
    order: Vec<Act>,
    messages: bool,
    away: bool,
    /// Pauses before each act, in milliseconds.
    pauses: Vec<u64>,
}

/// Numbers by chance that a seed repeats (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).expect("it is small")
    }
}

fn permutations(acts: &[Act]) -> Vec<Vec<Act>> {
    if acts.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (index, first) in acts.iter().enumerate() {
        let rest: Vec<Act> = acts[..index].iter().chain(&acts[index + 1..]).copied().collect();
        all.extend(
            permutations(&rest)
                .into_iter()
                .map(|rest| [&[*first], &rest[..]].concat()),
        );
    }
    all
}

/// All plays whose definitions go at this place.
fn plays(place: usize, chance: &mut Chance) -> Vec<Play> {
    let mut plays = Vec::new();
    for order in permutations(&ACTS)
        .into_iter()
        .filter(|order| order[place] == Act::Definitions)
    {
        for (messages, away) in [(false, false), (false, true), (true, false), (true, true)] {
            let pauses = order.iter().map(|_| [0, 0, 300, 4000][chance.below(4)]).collect();
            plays.push(Play {
                order: order.clone(),
                messages,
                away,
                pauses,
            });
        }
    }
    plays
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_in_whatever_order_it_goes() {
    let Some(plane) = OwnApiServer::start("permutations") else {
        return;
    };
    let client = plane.cluster.client().await;
    let wish = env::var("LEVERET_ORDERS").unwrap_or_default();
    if wish == "all" {
        let mut chance = Chance(1);
        for place in 0..ACTS.len() {
            for some in plays(place, &mut chance).chunks(AT_ONCE) {
                perform(&plane.cluster, &client, place, some).await;
            }
        }
        return;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .subsec_nanos();
    let seed: u64 = wish.parse().unwrap_or(now.into());
    println!("LEVERET_ORDERS={seed} plays the same again");
    let mut chance = Chance(seed);
    let place = chance.below(ACTS.len());
    let mut some = plays(place, &mut chance);
    while some.len() > AT_ONCE {
        some.swap_remove(chance.below(some.len()));
    }
    perform(&plane.cluster, &client, place, &some).await;
}

/// Plays some, up to the end of all.
async fn perform(cluster: &ApiServer, client: &kube::Client, place: usize, plays: &[Play]) {
    define(client).await;
    let up = Broker::start_with(&["--segment-size", "4MiB"]);
    let mut away = Broker::start_with(&["--segment-size", "4MiB"]);
    let scenes = plays
        .iter()
        .map(|play| Scene::set(cluster, client, play, if play.away { &away } else { &up }));
    let mut scenes: Vec<Scene> = join_all(scenes).await;
    away.kill();
    join_all(scenes.iter_mut().map(|scene| scene.act(0..place))).await;
    undefine(client).await;
    join_all(scenes.iter_mut().map(|scene| scene.act(place + 1..ACTS.len()))).await;
    let ended = Instant::now();
    let gone = || async {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let mut left = Vec::new();
        for scene in &scenes {
            let found = namespaces
                .get_opt(&scene.namespace)
                .await
                .map_err(|error| error.to_string())?;
            left.extend(found.map(|found| format!("{:?}: {:?}", scene.play, found.status)));
        }
        left.extend(definitions(client).await);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    };
    eventually_async("everything is gone", BOUND, gone).await;
    println!(
        "{} plays with definitions at {place} ended {:?} after the last act",
        scenes.len(),
        ended.elapsed()
    );
    let away = away.restart();
    let told = announced(client).await;
    for scene in &scenes {
        scene.judge(if scene.play.away { &away } else { &up }, &told);
    }
}

/// A namespace with everything in it, and the operator that watches it.
struct Scene {
    play: Play,
    namespace: String,
    client: kube::Client,
    cluster: ApiServer,
    operator: Option<Operator>,
    /// The words of the retiring operator.
    retired: String,
    /// The operator's, from before.
    log: String,
}

impl Scene {
    async fn set(cluster: &ApiServer, client: &kube::Client, play: &Play, broker: &Broker) -> Scene {
        let namespace = unique("order");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let body = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
        let created = namespaces.create(&PostParams::default(), &body).await;
        created.expect("a namespace can be created");
        let resources = Resources::new(client, &namespace);
        let flags = [
            "--lease-name",
            &namespace,
            "--lease-namespace",
            "default",
            "--lease-duration",
            "3s",
        ];
        let operator = Operator::spawn(
            cluster,
            &namespace,
            &[&flags[..], &["--deletion-timeout", "3s"]].concat(),
        );
        let on = |kind: &str, name: &str, mut spec: Value| {
            spec["brokerRef"] = json!({"name": "main"});
            manifest(kind, name, spec)
        };
        let name = |what: &str| format!("{namespace}-{what}");
        let documents = broker_manifests("main", broker).into_iter().chain([
            on("Exchange", "x", json!({"name": name("x"), "type": "topic"})),
            on("Queue", "q", json!({"name": name("q")})),
            on(
                "Binding",
                "b",
                json!({"source": name("x"), "destination": {"queue": name("q")}, "routingKey": "k"}),
            ),
        ]);
        for document in documents {
            let applied = resources.apply(&document).await;
            applied.unwrap_or_else(|error| panic!("{document}: {error}"));
        }
        for (kind, name) in [("Binding", "b"), ("Queue", "q"), ("Exchange", "x")] {
            resources.becomes(kind, name, "True", "Synced", SOON * 3).await;
        }
        if play.messages {
            let (mut client, queue) = (Client::with_channel(broker.amqp()), name("q"));
            client.publish_persistent(1, "", &queue, b"precious");
            until("the message is there", SOON, || {
                call!(client, 1, passive(&queue) => QueueDeclareOk).message_count == 1
            });
        }
        Scene {
            play: play.clone(),
            namespace,
            client: client.clone(),
            cluster: cluster.clone(),
            operator: Some(operator),
            retired: String::new(),
            log: String::new(),
        }
    }

    async fn act(&mut self, places: std::ops::Range<usize>) {
        for place in places {
            tokio::time::sleep(Duration::from_millis(self.play.pauses[place])).await;
            match self.play.order[place] {
                Act::Namespace => {
                    let namespaces: Api<Namespace> = Api::all(self.client.clone());
                    let answer = namespaces.delete(&self.namespace, &DeleteParams::default()).await;
                    answer.expect("it can be deleted");
                }
                Act::Broker => self.delete("Broker", "main").await,
                Act::Secret => self.delete("Secret", "main-admin").await,
                Act::Operator => self.retire().await,
                Act::Definitions => unreachable!("they go for all at once"),
            }
        }
    }

    /// Deletes what may be gone already.
    async fn delete(&self, kind: &str, name: &str) {
        let api = Resources::new(&self.client, &self.namespace).api(kind);
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            answer => drop(answer.unwrap_or_else(|error| panic!("{kind} {name}: {error}"))),
        }
    }

    /// The part of `helm uninstall` that is the operator's.
    async fn retire(&mut self) {
        let mut operator = self.operator.take().expect("it runs");
        let (namespace, kubeconfig) = (self.namespace.clone(), self.cluster.kubeconfig.clone());
        let retiring = tokio::task::spawn_blocking(move || {
            operator.terminate(SOON);
            let log = operator.log();
            let mut command = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
            command.args(["retire", "--lease-namespace", "default", "--lease-name", &namespace]);
            command.args(["--watch-namespace", &namespace]);
            (run(command.env("KUBECONFIG", kubeconfig), ""), log)
        });
        let (said, log) = retiring.await.expect("it ends");
        assert!(said.well, "{:?}: {}", self.play, said.all);
        self.retired = said.all;
        self.log = log;
    }

    /// Holds the end against what must be: messages are there, and of everything that is left somebody told.
    fn judge(&self, broker: &Broker, told: &[(String, String)]) {
        let http = Http::new(broker.http());
        let mut left = BTreeSet::new();
        for kind in ["queues", "exchanges"] {
            let listed = http.get(&format!("/api/{kind}"));
            let names = listed.as_array().expect("a list").iter().map(|row| text(row, "/name"));
            left.extend(names.filter(|name| name.starts_with(&format!("{}-", self.namespace))));
        }
        let queue = format!("{}-q", self.namespace);
        assert!(
            !self.play.messages || left.contains(&queue),
            "a message is lost: {:?}",
            self.play
        );
        let retired = self.retired.contains("stays on their brokers");
        for name in &left {
            let announced = |(lease, note): &(String, String)| *lease == self.namespace && note.contains(name.as_str());
            assert!(
                retired || told.iter().any(announced),
                "{name} is left and nobody says so: {:?}\n{}\n{}",
                self.play,
                self.log,
                self.retired
            );
        }
    }
}

/// Events beside Leases: the Lease, and what is told.
async fn announced(client: &kube::Client) -> Vec<(String, String)> {
    let events = Resources::new(client, "default").api("Event");
    let listed = events.list(&Default::default()).await.expect("events");
    let left = listed
        .items
        .iter()
        .filter(|event| text(&event.data, "/reason") == "LeftBehind");
    left.map(|event| (text(&event.data, "/involvedObject/name"), text(&event.data, "/message")))
        .collect()
}

async fn define(client: &kube::Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let folder = place::repository().join("crds");
    for definition in manifests(&folder) {
        let name = text(&definition, "/metadata/name");
        let parameters = PatchParams::apply("system-tests").force();
        let answer = api.patch(&name, &parameters, &Patch::Apply(&definition)).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let served = || async {
            let found = api.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = |type_: &str| conditions.iter().any(|one| one.type_ == type_ && one.status == "True");
            if is("Established") && !is("Terminating") {
                Ok(())
            } else {
                Err(format!("{conditions:?}"))
            }
        };
        eventually_async(&format!("{name} is served"), SOON, served).await;
    }
}

async fn undefine(client: &kube::Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in manifests(&place::repository().join("crds")) {
        let name = text(&definition, "/metadata/name");
        api.delete(&name, &DeleteParams::default())
            .await
            .expect("it can be deleted");
    }
}

/// Definitions that are still there.
async fn definitions(client: &kube::Client) -> Vec<String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let listed = api.list(&Default::default()).await.expect("a list");
    let ours = listed
        .items
        .into_iter()
        .filter(|found| found.spec.group == "leveret.dev");
    ours.filter_map(|found| found.metadata.name).collect()
}
