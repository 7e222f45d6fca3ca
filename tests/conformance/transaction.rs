//! tx.select, tx.commit, tx.rollback: what is held, what a commit does and in which order, what is refused.

use harness::requests::*;
use harness::scripted_client::{Frame, PATIENCE, short};
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, Method};

use crate::{client, is_rabbitmq};

/// Channel 1 has selected transactions; channel 2 looks on.
fn transactional() -> Client {
    let mut client = client();
    call!(client, 1, TxSelect::default() => TxSelectOk);
    client.open_channel(2);
    client
}

fn queue(client: &mut Client) -> String {
    let queue = unique("q");
    call!(client, 2, exclusive(&queue) => QueueDeclareOk);
    queue
}

/// A queue with messages that are numbered from 1, all of them out on channel 1.
fn all_out(client: &mut Client, count: u8) -> String {
    let queue = queue(client);
    for number in 1..=count {
        client.publish(2, "", &queue, &[number]);
    }
    call!(client, 2, passive(&queue) => QueueDeclareOk);
    for _ in 1..=count {
        client.get(1, &queue, false).expect("a message");
    }
    queue
}

fn commit(client: &mut Client) {
    call!(client, 1, TxCommit::default() => TxCommitOk);
}

fn rollback(client: &mut Client) {
    call!(client, 1, TxRollback::default() => TxRollbackOk);
}

fn close(client: &mut Client) {
    call!(client, 1, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
}

/// The messages in a queue once channel 1 has been closed: it takes RabbitMQ a moment to give back what was out.
fn left(client: &mut Client, queue: &str, expected: &[u8]) {
    close(client);
    until("what was out is back", PATIENCE, || {
        count(client, queue) == expected.len() as u32
    });
    assert_eq!(waiting(client, queue), expected);
}

/// The messages that wait in a queue.
fn waiting(client: &mut Client, queue: &str) -> Vec<u8> {
    let mut numbers = Vec::new();
    while let Some(message) = client.get(2, queue, true) {
        numbers.push(message.body[0]);
    }
    numbers
}

fn count(client: &mut Client, queue: &str) -> u32 {
    call!(client, 2, passive(queue) => QueueDeclareOk).message_count
}

/// Everything sent on channel 1 has been seen.
fn seen(client: &mut Client, queue: &str) {
    call!(client, 1, passive(queue) => QueueDeclareOk);
}

#[test]
fn publishes_wait_for_the_commit() {
    let mut client = transactional();
    let queue = queue(&mut client);
    for number in 1..=3 {
        client.publish(1, "", &queue, &[number]);
    }
    seen(&mut client, &queue);
    assert_eq!(count(&mut client, &queue), 0);
    commit(&mut client);
    client.publish(1, "", &queue, &[4]);
    seen(&mut client, &queue);
    assert_eq!(
        waiting(&mut client, &queue),
        [1, 2, 3],
        "the next transaction has begun"
    );
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [4]);
}

#[test]
fn persistent_messages_are_there_with_the_answer() {
    let mut client = transactional();
    let queue = unique("durable");
    call!(client, 2, durable(&queue) => QueueDeclareOk);
    for _ in 0..500 {
        client.publish_persistent(1, "", &queue, &[1; 1024]);
    }
    commit(&mut client);
    assert_eq!(call!(client, 2, delete(&queue) => QueueDeleteOk).message_count, 500);
}

#[test]
fn a_commit_of_nothing_is_answered() {
    let mut client = transactional();
    commit(&mut client);
    rollback(&mut client);
    call!(client, 1, TxSelect::default() => TxSelectOk);
    commit(&mut client);
}

#[test]
fn selecting_again_keeps_what_is_held() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.publish(1, "", &queue, &[1]);
    call!(client, 1, TxSelect::default() => TxSelectOk);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [1]);
}

#[test]
fn a_rollback_forgets_publishes() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.publish(1, "", &queue, &[1]);
    rollback(&mut client);
    client.publish(1, "", &queue, &[2]);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [2]);
}

#[test]
fn settlements_wait_for_the_commit() {
    let mut client = transactional();
    let queue = all_out(&mut client, 4);
    client.send(1, ack(1));
    client.send(1, requeue(3));
    client.send(
        1,
        BasicReject {
            delivery_tag: 4,
            requeue: false,
        },
    );
    seen(&mut client, &queue);
    assert_eq!(count(&mut client, &queue), 0);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [3]);
    left(&mut client, &queue, &[2]);
}

#[test]
fn a_rollback_leaves_deliveries_unsettled() {
    let mut client = transactional();
    let queue = all_out(&mut client, 5);
    client.send(1, ack_up_to(2));
    client.send(1, requeue(4));
    rollback(&mut client);
    assert_eq!(count(&mut client, &queue), 0);
    client.send(1, ack(2));
    client.send(1, ack(4));
    commit(&mut client);
    left(&mut client, &queue, &[1, 3, 5]);
}

#[test]
fn what_was_rolled_back_counts_in_its_old_place() {
    let mut client = transactional();
    let queue = all_out(&mut client, 4);
    client.send(1, ack(1));
    client.send(1, ack(3));
    rollback(&mut client);
    client.send(1, ack_up_to(3));
    commit(&mut client);
    left(&mut client, &queue, &[4]);
}

#[test]
fn multiple_leaves_out_what_is_held() {
    let mut client = transactional();
    let queue = all_out(&mut client, 4);
    client.send(1, requeue(2));
    client.send(1, ack_up_to(3));
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [2]);
    client.send(1, ack_up_to(0));
    commit(&mut client);
    left(&mut client, &queue, &[]);
}

#[test]
fn an_unknown_delivery_tag_is_refused_at_once() {
    let mut client = transactional();
    all_out(&mut client, 1);
    client.send(1, ack(2));
    client.channel_error(1, 406, "PRECONDITION_FAILED - unknown delivery tag 2");
}

#[test]
fn a_delivery_is_settled_once_in_a_transaction() {
    for again in [ack(1), ack_up_to(1)] {
        let mut client = transactional();
        let queue = all_out(&mut client, 2);
        client.send(1, ack(1));
        client.send(1, again);
        client.channel_error(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
        until("both are back", PATIENCE, || count(&mut client, &queue) == 2);
    }
}

#[test]
fn a_closed_channel_commits_nothing() {
    let mut client = transactional();
    let queue = all_out(&mut client, 2);
    client.publish(1, "", &queue, &[3]);
    client.send(1, ack(1));
    left(&mut client, &queue, &[1, 2]);
}

#[test]
fn a_closed_connection_commits_nothing() {
    let mut other = client();
    let queue = unique("q");
    call!(other, 1, declare(&queue) => QueueDeclareOk);
    other.publish(1, "", &queue, &[1]);
    let mut client = transactional();
    until("the message is there", PATIENCE, || {
        client.get(1, &queue, false).is_some()
    });
    client.send(1, ack_up_to(0));
    client.publish(1, "", &queue, &[2]);
    client.close();
    let mut found = None;
    until("the message is back", PATIENCE, || {
        found = other.get(1, &queue, true);
        found.is_some()
    });
    assert!(found.is_some_and(|message| message.method.redelivered && message.body[..] == [1]));
    assert_eq!(call!(other, 1, delete(&queue) => QueueDeleteOk).message_count, 0);
}

#[test]
fn the_unroutable_is_returned_at_the_commit() {
    let mut client = transactional();
    let queue = queue(&mut client);
    let nowhere = unique("nowhere");
    client.publish_with(1, mandatory("", &nowhere), &no_properties(), b"rolled back");
    rollback(&mut client);
    client.publish_with(1, mandatory("", &nowhere), &no_properties(), b"x");
    client.publish(1, "", &nowhere, b"dropped");
    client.publish(1, "", &queue, &[1]);
    seen(&mut client, &queue);
    client.send(1, TxCommit::default());
    let returned = client.returned(1);
    assert_eq!((returned.method.reply_code, &returned.body[..]), (312, &b"x"[..]));
    expect!(client, 1, TxCommitOk);
    assert_eq!(waiting(&mut client, &queue), [1]);
}

#[test]
fn a_message_is_routed_when_it_is_published() {
    let mut client = transactional();
    let (before, after) = (queue(&mut client), queue(&mut client));
    call!(client, 2, bind(&before, "amq.topic", &before) => QueueBindOk);
    client.publish(1, "amq.topic", &before, &[1]);
    seen(&mut client, &before);
    call!(client, 2, unbind(&before, "amq.topic", &before) => QueueUnbindOk);
    call!(client, 2, bind(&after, "amq.topic", &before) => QueueBindOk);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &before), [1]);
    assert_eq!(count(&mut client, &after), 0);
}

#[test]
fn a_queue_that_has_gone_before_the_commit_gets_nothing() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.publish_with(1, mandatory("", &queue), &persistent(), b"x");
    seen(&mut client, &queue);
    call!(client, 2, delete(&queue) => QueueDeleteOk);
    call!(client, 2, exclusive(&queue) => QueueDeclareOk);
    client.send(1, TxCommit::default());
    let close = client.channel_error(1, 406, "PRECONDITION_FAILED - partial tx completion");
    assert_eq!((close.class_id, close.method_id), (90, 20));
    assert_eq!(count(&mut client, &queue), 0, "it is another queue of that name");
}

#[test]
fn the_rest_of_a_transaction_is_done_although_a_queue_has_gone() {
    let mut client = transactional();
    let (stays, goes) = (all_out(&mut client, 2), queue(&mut client));
    for queue in [&stays, &goes] {
        call!(client, 2, bind(queue, "amq.direct", &stays) => QueueBindOk);
    }
    client.publish(1, "amq.direct", &stays, &[3]);
    client.send(1, ack(1));
    seen(&mut client, &stays);
    call!(client, 2, delete(&goes) => QueueDeleteOk);
    client.send(1, TxCommit::default());
    if is_rabbitmq() {
        // It stops amid the commit and closes the connection, but for a queue that has been declared again.
        client.connection_close(506);
        return;
    }
    client.channel_error(1, 406, "PRECONDITION_FAILED - partial tx completion");
    until("the unsettled one is back", PATIENCE, || {
        count(&mut client, &stays) == 2
    });
    assert_eq!(waiting(&mut client, &stays), [2, 3]);
}

#[test]
fn an_exchange_may_go_before_the_commit() {
    let mut client = transactional();
    let (queue, name) = (queue(&mut client), unique("e"));
    call!(client, 2, exchange(&name, "fanout") => ExchangeDeclareOk);
    call!(client, 2, bind(&queue, &name, "") => QueueBindOk);
    client.publish(1, &name, "", &[1]);
    seen(&mut client, &queue);
    call!(client, 2, delete_exchange(&name) => ExchangeDeleteOk);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [1]);
}

#[test]
fn a_missing_exchange_is_refused_at_once() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.publish(1, "", &queue, &[1]);
    client.publish(1, "none-such", "", b"x");
    client.channel_error(1, 404, "NOT_FOUND - no exchange 'none-such' in vhost '/'");
    client.open_channel(1);
    client.send(1, TxCommit::default());
    client.channel_error(1, 406, "PRECONDITION_FAILED - channel is not transactional");
    assert_eq!(count(&mut client, &queue), 0, "nothing was committed");
}

#[test]
fn another_users_name_is_refused_at_once() {
    let mut client = transactional();
    let properties = BasicProperties {
        user_id: Some(short("other")),
        ..BasicProperties::default()
    };
    client.publish_with(1, publish("", "q"), &properties.to_bytes(), b"x");
    let close = expect!(client, 1, ChannelClose);
    assert_eq!((close.reply_code, close.class_id, close.method_id), (406, 60, 40));
}

#[test]
fn publishes_are_committed_before_settlements() {
    let mut client = transactional();
    let queue = all_out(&mut client, 2);
    call!(client, 2, consume_no_ack(&queue, "c") => BasicConsumeOk);
    client.send(1, requeue(1));
    client.publish(1, "", &queue, &[3]);
    client.send(1, ack(2));
    client.send(1, TxCommit::default());
    let (mut bodies, mut committed) = (Vec::new(), false);
    while bodies.len() < 2 || !committed {
        match client.frame() {
            Some(Frame::Body(2, body)) => bodies.push(body[0]),
            Some(Frame::Method(1, Method::TxCommitOk(_))) => committed = true,
            Some(Frame::Method(2, Method::BasicDeliver(_)) | Frame::Header { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bodies, [3, 1]);
}

#[test]
fn prefetch_counts_what_is_held_until_the_commit() {
    let mut client = transactional();
    let queue = queue(&mut client);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    client.publish(2, "", &queue, &[1]);
    client.publish(2, "", &queue, &[2]);
    let tag = client.delivery(1).method.delivery_tag;
    client.send(1, ack(tag));
    seen(&mut client, &queue);
    assert_eq!(count(&mut client, &queue), 1);
    client.send(1, TxCommit::default());
    let mut frames = Vec::new();
    while frames.len() < 4 {
        frames.extend(client.frame());
    }
    let is_next = |frame: &Frame| matches!(frame, Frame::Body(1, body) if body[..] == [2]);
    assert!(frames.iter().any(is_next), "{frames:?}");
}

#[test]
fn recover_leaves_out_what_is_held() {
    let mut client = transactional();
    let queue = all_out(&mut client, 3);
    client.send(1, ack(2));
    call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
    assert_eq!(waiting(&mut client, &queue), [1, 3]);
    rollback(&mut client);
    client.send(1, ack(2));
    commit(&mut client);
    left(&mut client, &queue, &[]);
}

#[test]
fn messages_that_a_consumer_holds_stay_held_when_it_is_cancelled() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.publish(2, "", &queue, &[1]);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let tag = client.delivery(1).method.delivery_tag;
    client.send(1, requeue(tag));
    call!(client, 1, cancel("c") => BasicCancelOk);
    assert_eq!(count(&mut client, &queue), 0);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [1]);
}

#[test]
fn each_channel_has_its_own_transaction() {
    let mut client = transactional();
    let queue = queue(&mut client);
    client.open_channel(3);
    call!(client, 3, TxSelect::default() => TxSelectOk);
    client.publish(1, "", &queue, &[1]);
    client.publish(3, "", &queue, &[3]);
    call!(client, 3, TxCommit::default() => TxCommitOk);
    assert_eq!(waiting(&mut client, &queue), [3]);
    commit(&mut client);
    assert_eq!(waiting(&mut client, &queue), [1]);
}

#[test]
fn there_is_a_limit_to_the_messages_of_one_transaction() {
    let mut client = transactional();
    let queue = queue(&mut client);
    for _ in 0..10_000 {
        client.publish(1, "", &queue, b"x");
    }
    commit(&mut client);
    assert_eq!(count(&mut client, &queue), 10_000);
    for _ in 0..=10_000 {
        client.publish(1, "", &queue, b"x");
    }
    client.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - transaction has reached the maximum of 10000 uncommitted publishes",
    );
    assert_eq!(count(&mut client, &queue), 10_000);
}

#[test]
fn a_confirming_channel_cannot_select() {
    let mut client = client();
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.send(1, TxSelect::default());
    client.channel_error(1, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode");
}

#[test]
fn a_transactional_channel_cannot_confirm() {
    let mut client = transactional();
    client.send(1, ConfirmSelect::default());
    client.channel_error(1, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
}

#[test]
fn what_was_not_selected_cannot_end() {
    for end in [Method::from(TxCommit::default()), Method::from(TxRollback::default())] {
        let mut client = client();
        client.send(1, end);
        client.channel_error(1, 406, "PRECONDITION_FAILED - channel is not transactional");
    }
}

/// RabbitMQ closes the connection (504) when something comes while it commits. Here the channel's next frames wait.
#[test]
fn what_follows_a_commit_waits_for_it() {
    if is_rabbitmq() {
        return;
    }
    let mut client = transactional();
    let queue = unique("durable");
    call!(client, 2, durable(&queue) => QueueDeclareOk);
    for number in 0..10 {
        client.publish_persistent(1, "", &queue, &[number]);
        client.send(1, TxCommit::default());
        client.send(1, get(&queue));
    }
    for number in 0..10 {
        expect!(client, 1, TxCommitOk);
        expect!(client, 1, BasicGetOk);
        assert!(matches!(client.frame(), Some(Frame::Header { .. })));
        assert!(matches!(client.frame(), Some(Frame::Body(1, body)) if body[..] == [number]));
    }
    call!(client, 2, delete(&queue) => QueueDeleteOk);
}

/// Queues with three messages each, of which a consumer on channel 1 has the first one.
fn first_of_each(client: &mut Client, lasting: bool) -> [String; 4] {
    let queues = [(); 4].map(|()| unique("q"));
    for queue in &queues {
        let declare = if lasting { durable(queue) } else { exclusive(queue) };
        call!(client, 2, declare => QueueDeclareOk);
        for number in 1..=3 {
            match lasting {
                true => client.publish_persistent(2, "", queue, &[number]),
                false => client.publish(2, "", queue, &[number]),
            }
        }
        call!(client, 2, passive(queue) => QueueDeclareOk);
    }
    call!(client, 1, prefetch(1) => BasicQosOk);
    for queue in &queues {
        call!(client, 1, consume(queue, queue) => BasicConsumeOk);
        client.delivery(1);
    }
    queues
}

#[test]
fn what_settlements_set_free_comes_after_the_answer() {
    for lasting in [false, true] {
        let mut client = transactional();
        let queues = first_of_each(&mut client, lasting);
        let requeue_all = BasicNack {
            delivery_tag: 0,
            multiple: true,
            requeue: true,
        };
        for settlement in [Method::from(ack_up_to(0)), requeue_all.into(), ack_up_to(0).into()] {
            client.send(1, settlement);
            commit(&mut client);
            for _ in &queues {
                client.delivery(1);
            }
        }
        close(&mut client);
        for queue in &queues {
            call!(client, 2, delete(queue) => QueueDeleteOk);
        }
    }
}

/// RabbitMQ answers when its queues have confirmed, and these deliver before they do. Here the answer comes first, for
/// each of several commits that are sent in one go, and no consumer waits for the last of them.
#[test]
fn what_is_published_comes_after_the_answer() {
    if is_rabbitmq() {
        return;
    }
    for lasting in [false, true] {
        let mut client = transactional();
        let queue = unique("q");
        let declare = if lasting { durable(&queue) } else { exclusive(&queue) };
        call!(client, 2, declare => QueueDeclareOk);
        call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
        for number in 0..20 {
            client.publish_persistent(1, "", &queue, &[number]);
            client.send(1, TxCommit::default());
        }
        for number in 0..20 {
            expect!(client, 1, TxCommitOk);
            assert_eq!(client.delivery(1).body[..], [number]);
        }
        close(&mut client);
        call!(client, 2, delete(&queue) => QueueDeleteOk);
    }
}
