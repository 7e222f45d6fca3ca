//! Go's zmq4, which is written anew. It speaks ZMTP 3.0, and has neither CURVE nor heartbeats.

use std::process::Command;

use harness::programs;

use crate::file;

fn command() -> Option<Command> {
    static PROGRAM: programs::Tool = programs::Tool::new();
    programs::go_program(&PROGRAM, &file("zeromq/zmq4"), "zmq4-check").map(Command::new)
}

crate::zeromq_steps! {
    it_pushes_and_pulls: null "pipeline",
    it_publishes_and_subscribes: null "publish-subscribe",
    it_asks_and_answers: null "request",
    it_works_as_dealer: null "dealer",
    it_works_as_router: null "router",
    it_logs_in: plain "pipeline",
    it_is_refused_a_wrong_password: refused ("password", ""),
    it_comes_back_when_it_is_cut_off: interrupted "closed",
    it_comes_back_after_a_restart: interrupted "restarted",
    it_comes_back_after_a_kill: interrupted "killed",
}
