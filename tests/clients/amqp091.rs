//! Go's amqp091-go.

use std::process::Command;

use harness::programs;

use crate::file;

fn command() -> Option<Command> {
    static PROGRAM: programs::Tool = programs::Tool::new();
    programs::go_program(&PROGRAM, &file("amqp091"), "amqp091-check").map(Command::new)
}

crate::steps! {
    it_sends_and_receives: "deliver",
    it_gets_confirms_and_returns: "confirm",
    it_is_refused_a_login: "refused-login",
    it_is_refused_a_queue: "refused-queue",
}
