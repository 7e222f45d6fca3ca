//! What a load needs on the broker, before and after.
//!
//! In: a load. Out: exchange, queues, bindings, and connections that are ready to go. Does not send messages.

use leveret_amqp::ShortString;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::{self, Client};
use super::consumer::Consumer;
use super::error::Error;
use super::link::{Link, Role};
use super::load::Load;
use super::process::now;
use super::publisher::{Pace, Publisher};
use super::template::{Form, Template};

/// Producers start at different keys, so far apart.
const APART: usize = 7919;

/// Before the first message of a fixed rate is due, ns: the event loops start in between.
const RUN_UP: u64 = 2_000_000;

/// Allows as many open files as the system does: each connection is one.
pub fn allow_many_connections() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// Declares the exchange, the queues and their bindings.
///
/// # Errors
/// The broker refuses one of them.
pub fn declare(load: &Load, control: &mut Client) -> Result<(), Error> {
    if !load.declare {
        return Ok(());
    }
    let queues = load.queues.iter();
    let declarations = queues.map(|queue| client::declaration(queue, load.persistent, &load.arguments));
    control.ask_all(declarations, "queue.declare-ok")?;
    let Some((exchange, kind)) = &load.exchange else {
        return Ok(());
    };
    // These are there; declaring them is refused unless all attributes are given as they are.
    if !exchange.to_str_lossy().starts_with("amq.") {
        control.declare_exchange(exchange, kind, load.persistent)?;
    }
    let bindings = load
        .queues
        .iter()
        .map(|queue| client::binding(queue, exchange, load.keys.first().unwrap_or(queue)));
    control.ask_all(bindings, "queue.bind-ok")
}

/// Deletes what `declare` has declared, if the load wants that.
///
/// # Errors
/// The broker refuses.
pub fn clean_up(load: &Load, control: &mut Client) -> Result<(), Error> {
    if !load.delete {
        return Ok(());
    }
    control.ask_all(load.queues.iter().map(client::removal), "queue.delete-ok")?;
    match &load.exchange {
        Some((exchange, _)) if !exchange.to_str_lossy().starts_with("amq.") => control.delete_exchange(exchange),
        _ => Ok(()),
    }
}

/// The queues of connection `number` of `connections`: each has at least one, and each queue has a connection.
fn share(queues: &[ShortString], number: usize, connections: usize) -> Vec<ShortString> {
    if connections >= queues.len() {
        return queues.get(number % queues.len().max(1)).cloned().into_iter().collect();
    }
    queues.iter().skip(number).step_by(connections).cloned().collect()
}

/// Opens the consumers' connections, which get what waits in the queues from now on.
///
/// # Errors
/// A connection that does not come about.
pub fn consumers(load: &Load) -> Result<Vec<Link>, Error> {
    let open = |number| {
        let who = format!("consumer {}", number + 1);
        let mut client = Client::open(&load.address, &who)?;
        if load.prefetch > 0 && load.ack_every.is_some() {
            client.prefetch(load.prefetch)?;
        }
        let queues = share(&load.queues, number, load.consumers);
        client.consume(queues.iter(), load.ack_every.is_none())?;
        Link::new(client, who, Role::Consume(Consumer::new(load.ack_every, load.consume)))
    };
    (0..load.consumers).map(open).collect()
}

/// Opens the producers' connections.
///
/// # Errors
/// A connection that does not come about.
pub fn producers(load: &Load) -> Result<Vec<Link>, Error> {
    let mut links: Vec<Link> = (0..load.producers)
        .map(|number| producer(load, number))
        .collect::<Result<_, _>>()?;
    // Many slow producers are spread over the time between two of their messages.
    let gap = load.rate.map(|rate| 1e9 / rate);
    let (start, step) = (now() + RUN_UP, gap.unwrap_or_default() / load.producers.max(1) as f64);
    for (number, link) in links.iter_mut().enumerate() {
        if let (Role::Publish(publisher), Some(gap)) = (&mut link.role, gap) {
            let start = start + (step * number as f64) as u64;
            publisher.pace = Some(Pace { start, gap });
        }
    }
    Ok(links)
}

fn producer(load: &Load, number: usize) -> Result<Link, Error> {
    let who = format!("producer {}", number + 1);
    let mut client = Client::open(&load.address, &who)?;
    if load.window.is_some() {
        client.confirm()?;
    }
    let mut keys = if load.keys.is_empty() {
        share(&load.queues, number, load.producers)
    } else {
        load.keys.clone()
    };
    let ahead = number * APART % keys.len().max(1);
    keys.rotate_left(ahead);
    let default_exchange = ShortString::new();
    let form = Form {
        exchange: load
            .exchange
            .as_ref()
            .map_or(&default_exchange, |(exchange, _)| exchange),
        keys: &keys,
        sizes: &load.sizes,
        priorities: &load.priorities,
        persistent: load.persistent,
        mandatory: load.mandatory,
        frame_max: client.frame_max,
        batch: load.batch,
    };
    let publisher = Publisher::new(Template::new(&form)?, load.window, None, load.publish);
    Link::new(client, who, Role::Publish(Box::new(publisher)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_shared_out() {
        let queues: Vec<ShortString> = ["a", "b", "c", "d", "e"].map(ShortString::from_static).into();
        let shown = |number, connections| {
            let names = share(&queues, number, connections);
            names
                .iter()
                .map(|name| name.to_str_lossy().into_owned())
                .collect::<String>()
        };
        assert_eq!((shown(0, 2), shown(1, 2)), ("ace".to_owned(), "bd".to_owned()));
        assert_eq!(
            (shown(0, 7), shown(4, 7), shown(6, 7)),
            ("a".to_owned(), "e".to_owned(), "b".to_owned())
        );
    }
}
