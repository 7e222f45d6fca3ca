//! Python's Celery, with workers of its own: each step starts one of its own queue.

use std::process::Command;

use crate::{file, tools};

fn command() -> Option<Command> {
    let mut command = Command::new(tools::celery()?);
    command.arg(file("celery/check.py"));
    Some(command)
}

crate::steps! {
    a_worker_answers: "results",
    tasks_wait_for_their_time: "later",
    failed_tasks_are_tried_again: "retries",
    the_task_of_a_killed_worker_goes_to_the_next: "redelivery",
    tasks_of_a_higher_priority_come_first: "priority",
    a_quorum_queue_has_tasks_and_delayed_ones: "quorum",
}
