//! Load for figures to be of: every way that messages come, go and get lost.

use harness::requests::{ack, consume, durable, mandatory, passive, persistent, prefetch, requeue, unique};
use harness::{Broker, Client, call};
use leveret_amqp::method::ConfirmSelect;

/// A queue with messages that wait, are out, were acknowledged and given away; a publisher and a consumer that are
/// connected; messages that led nowhere.
pub(crate) struct Load {
    pub(crate) queue: String,
    client: Client,
}

impl Load {
    /// Puts the load on the shared broker.
    pub(crate) fn start() -> Load {
        let queue = unique("tools-load");
        let mut client = Client::with_channel(Broker::shared().amqp());
        call!(client, 1, durable(&queue) => QueueDeclareOk);
        assert!(client.get(1, &queue, true).is_none());
        call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
        for size in [10, 500, 5_000, 50_000, 10, 10, 10, 10] {
            client.publish(1, "", &queue, &vec![b'x'; size]);
            client.method(1);
        }
        client.publish(1, "", "tools-no-such-queue", b"dropped");
        client.method(1);
        client.publish_with(1, mandatory("", "tools-no-such-queue"), &persistent(), b"returned");
        client.returned(1);
        client.method(1);
        assert!(client.get(1, &queue, true).is_some());
        let got = client.get(1, &queue, false).expect("a message");
        let tag = got.method.delivery_tag;
        client.send(1, requeue(tag));
        call!(client, 1, prefetch(3) => BasicQosOk);
        call!(client, 1, consume(&queue, "tag") => BasicConsumeOk);
        let first = client.delivery(1);
        client.delivery(1);
        client.delivery(1);
        client.send(1, ack(first.method.delivery_tag));
        client.delivery(1);
        // Answered once what came before it is done.
        call!(client, 1, passive(&queue) => QueueDeclareOk);
        Load { queue, client }
    }

    /// Takes it away.
    pub(crate) fn end(self) {
        self.client.close();
        let path = format!("/api/queues/%2F/{}", self.queue);
        assert_eq!(crate::status("DELETE", &path, &serde_json::Value::Null), 204);
    }
}
