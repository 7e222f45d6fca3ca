//! RabbitMQ's own client for Java.

use std::process::Command;

use crate::tools;

fn command() -> Option<Command> {
    let mut command = Command::new("java");
    command.args(["-cp", &tools::java_classes()?, "Check"]);
    Some(command)
}

crate::steps! {
    it_sends_and_receives: "deliver",
    it_gets_confirms_and_returns: "confirm",
    it_commits_and_rolls_back: "transaction",
    it_is_refused_a_login: "refused-login",
    it_is_refused_a_queue: "refused-queue",
}
