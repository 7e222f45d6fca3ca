//! Two hundred queues that get messages all the time: the writes that their numbers cost the API server.

use std::time::{Duration, Instant};

use harness::api_server::{Resources, api_server};
use harness::operator_process::Operator;
use harness::{Broker, Client};

use crate::{all_ready, asked, counted, create, main_broker, queue};

const QUEUES: usize = 200;
/// The time after which the numbers have been written once, and the time that is measured.
const BEFORE: Duration = Duration::from_secs(70);
const MEASURED: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn what_busy_queues_cost() {
    if !asked() {
        return;
    }
    let Some(cluster) = api_server() else { return };
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, "busy").await;
    let resources = Resources::new(&client, &namespace);
    let broker = Broker::start();
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    for manifest in main_broker(&broker) {
        resources.apply(&manifest).await.expect("it can be applied");
    }
    create(&resources, "Queue", (0..QUEUES).map(queue)).await;
    all_ready(&resources, "Queue", QUEUES).await;
    let mut client = Client::with_channel(broker.amqp());
    let mut publish_for = async |span: Duration| {
        let start = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while start.elapsed() < span {
            tick.tick().await;
            // A fifth more each minute: the numbers of each have changed whenever they are looked at.
            for number in (0..QUEUES).flat_map(|number| [number; 5]) {
                client.publish(1, "", &format!("q-{number}"), b"busy");
            }
        }
    };
    let writes = || counted(&operator, "leveret_operator_api_writes_total", "what=\"status\"");
    publish_for(BEFORE).await;
    let before = writes();
    publish_for(MEASURED).await;
    let minute = (writes() - before) as f64 * 60.0 / MEASURED.as_secs_f64();
    println!("{QUEUES} busy queues: {minute:.0} status writes a minute");
}
