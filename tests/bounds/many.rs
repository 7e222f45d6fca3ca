//! Many small requests at once: what makes a topology long.
//!
//! In: methods. Out: all of them sent in a few writes, as an attacker would, and their answers taken.

use harness::Client;
use harness::scripted_client::Frame;
use leveret_amqp::{Method, put_method_frame};

/// Sends the methods on channel 1 and takes as many answers; panics when one of them closes the channel.
pub(crate) fn all(client: &mut Client, methods: impl IntoIterator<Item = impl Into<Method>>) {
    let (mut octets, mut sent) = (Vec::new(), 0);
    let mut taken = 0;
    for method in methods {
        put_method_frame(&mut octets, 1, &method.into());
        sent += 1;
        if octets.len() > 64 << 10 {
            client.send_bytes(&octets);
            octets.clear();
            // Answers are read, so that the broker goes on reading.
            while taken + 2_000 < sent {
                take(client);
                taken += 1;
            }
        }
    }
    client.send_bytes(&octets);
    while taken < sent {
        take(client);
        taken += 1;
    }
}

fn take(client: &mut Client) {
    match client.frame() {
        Some(Frame::Method(1, Method::ChannelClose(close))) => panic!("{}", close.reply_text.to_str_lossy()),
        Some(Frame::Method(1, _)) => {}
        other => panic!("expected an answer, got {other:?}"),
    }
}
