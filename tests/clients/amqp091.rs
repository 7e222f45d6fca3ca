//! Go's amqp091-go.

use std::process::Command;

use crate::tools;

fn command() -> Option<Command> {
    tools::go_program().map(Command::new)
}

crate::steps! {
    it_sends_and_receives: "deliver",
    it_gets_confirms_and_returns: "confirm",
    it_is_refused_a_login: "refused-login",
    it_is_refused_a_queue: "refused-queue",
}
