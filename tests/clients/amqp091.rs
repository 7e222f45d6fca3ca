//! Go's amqp091-go.

use std::process::Command;

use crate::{file, tools};

fn command() -> Option<Command> {
    static PROGRAM: tools::Tool = tools::Tool::new();
    tools::go_program(&PROGRAM, &file("amqp091"), "amqp091-check").map(Command::new)
}

crate::steps! {
    it_sends_and_receives: "deliver",
    it_gets_confirms_and_returns: "confirm",
    it_is_refused_a_login: "refused-login",
    it_is_refused_a_queue: "refused-queue",
}
