//! Java's JeroMQ, which is written anew.

use std::process::Command;

use crate::tools;

fn command() -> Option<Command> {
    let mut command = Command::new("java");
    command.args(["-cp", &tools::jeromq_classes()?, "Check"]);
    Some(command)
}

crate::zeromq_steps! {
    it_pushes_and_pulls: null "pipeline",
    it_publishes_and_subscribes: null "publish-subscribe",
    it_asks_and_answers: null "request",
    it_works_as_dealer: null "dealer",
    it_works_as_router: null "router",
    its_heartbeats_are_answered: null "heartbeats",
    it_logs_in: plain "pipeline",
    it_pushes_and_pulls_boxes: curve "pipeline",
    it_publishes_and_subscribes_in_boxes: curve "publish-subscribe",
    it_asks_and_answers_in_boxes: curve "request",
    its_heartbeats_are_answered_in_boxes: curve "heartbeats",
    it_is_refused_a_wrong_password: refused ("password", "HANDSHAKE_FAILED_AUTH"),
    it_is_refused_an_unknown_key: refused ("client key", "HANDSHAKE_FAILED_AUTH"),
    it_is_refused_with_another_key_of_the_server: refused ("server key", "HANDSHAKE_FAILED_NO_DETAIL"),
    it_comes_back_when_it_is_cut_off: interrupted "closed",
    it_comes_back_after_a_restart: interrupted "restarted",
    it_comes_back_after_a_kill: interrupted "killed",
}
