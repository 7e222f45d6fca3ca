//! (pure) Why a pod is not up: what the cluster says of it, in a reason and a sentence.
//!
//! In: the StatefulSet and its pod as they stand. Out: what is pending, or nothing when the pod runs as declared.
//! Does not know about the broker in the pod.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::statefulset::CONTAINER;
use crate::object::Reason;

/// From this number on, restarts are no accident.
const CRASHES: i32 = 3;
/// A process that ran so long before it was killed has got through its start, in seconds.
const HAD_STARTED: i64 = 10;
/// After so long a run the kubelet restarts a container without a pause again, in seconds.
const FORGIVEN: i64 = 600;
/// Longest last line of a log that is repeated, in characters.
const LINE_MAX: usize = 300;

/// The reason why the pod is not up, or not as declared; `None` when it is.
pub fn pending(set: Option<&StatefulSet>, pod: Option<&Pod>) -> Option<(Reason, String)> {
    let Some(set) = set else {
        return Some((Reason::Starting, "the StatefulSet is being applied".to_owned()));
    };
    let Some(pod) = pod else {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let text = format!("there is no pod yet; if that lasts, the events of StatefulSet {name} say why");
        return Some((Reason::Starting, text));
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let said = |(reason, text): (Reason, String)| Some((reason, format!("pod {name}: {text}")));
    if pod.metadata.deletion_timestamp.is_some() {
        return said((Reason::Starting, "is ending, another one follows".to_owned()));
    }
    if let Some(found) = unscheduled(pod).or_else(|| containers(pod)) {
        return said(found);
    }
    if !is_ready(pod) {
        return said((Reason::Starting, "runs and is not ready yet".to_owned()));
    }
    if is_outdated(set, pod) {
        return said((
            Reason::Starting,
            "is about to be replaced by one as declared".to_owned(),
        ));
    }
    None
}

/// True if a container of the pod has run, so that there may be messages in it.
pub fn has_run(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_some_and(|phase| phase != "Pending")
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn unscheduled(pod: &Pod) -> Option<(Reason, String)> {
    let scheduled = condition(pod, "PodScheduled")?;
    (scheduled.status == "False").then(|| {
        let why = scheduled.message.clone().unwrap_or_default();
        (Reason::Unschedulable, format!("no node takes it: {why}"))
    })
}

/// The first container, init containers before others, that keeps the pod from being ready.
fn containers(pod: &Pod) -> Option<(Reason, String)> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let all = init.chain(status.container_statuses.iter().flatten());
    let reason = status
        .reason
        .as_deref()
        .filter(|_| status.phase.as_deref() == Some("Failed"));
    let failed = reason.map(|reason| {
        (
            Reason::Starting,
            format!("{reason}: {}", status.message.clone().unwrap_or_default()),
        )
    });
    all.filter(|container| !container.ready).find_map(explain).or(failed)
}

fn explain(container: &ContainerStatus) -> Option<(Reason, String)> {
    let crash = crash(container);
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let why = waiting
        .and_then(|waiting| waiting.reason.as_deref())
        .unwrap_or_default();
    let message = waiting
        .and_then(|waiting| waiting.message.as_deref())
        .unwrap_or_default();
    let text = match message {
        "" => why.to_owned(),
        message => format!("{why}: {message}"),
    };
    match why {
        "InvalidImageName" | "ErrImageNeverPull" => Some((Reason::InvalidArgument, text)),
        "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" => {
            Some((Reason::ImagePull, format!("image {}: {text}", container.image)))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some((Reason::Starting, text)),
        "ContainerCreating" | "PodInitializing" if crash.is_none() => Some((Reason::Starting, text)),
        _ => crash,
    }
}

/// The last end of a container that is not up again, unless it was a success.
fn crash(container: &ContainerStatus) -> Option<(Reason, String)> {
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let ended = ended(&container.state).or_else(|| ended(&container.last_state))?;
    if ended.exit_code == 0 {
        return None;
    }
    let reason = if container.restart_count >= CRASHES {
        Reason::Crashed
    } else {
        Reason::Starting
    };
    let restarts = match container.restart_count {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        count => format!(", restarted {count} times"),
    };
    Some((reason, format!("{}{restarts}{}", end(&ended), last_line(&ended))))
}

fn end(ended: &ContainerStateTerminated) -> String {
    match ended.reason.as_deref() {
        Some("OOMKilled") => "killed for using more memory than its limit (OOMKilled)".to_owned(),
        _ => match ended.signal {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("ended with exit code {}", ended.exit_code),
        },
    }
}

/// The last line of the log, which Kubernetes keeps where `terminationMessagePolicy` asks for it.
fn last_line(ended: &ContainerStateTerminated) -> String {
    let message = ended.message.as_deref().unwrap_or_default();
    match message.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!(": {}", line.chars().take(LINE_MAX).collect::<String>()),
        None => String::new(),
    }
}

/// The uid of a pod whose broker ran, was killed (by the memory limit, say) and is held back by the kubelet, which
/// waits longer each time: 10 s, 20 s, up to five minutes. A pod in its place starts at once. One that ends by itself,
/// or right after its start, is left to the kubelet: there the pause is what it is for.
pub fn held_back(pod: &Pod) -> Option<&str> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?.container_statuses.as_ref()?;
    let broker = status.iter().find(|container| container.name == CONTAINER)?;
    let state = broker.state.as_ref()?;
    let paused = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff");
    let ended = match &state.terminated {
        // It says so some seconds later; a second end within ten minutes is enough to know.
        Some(ended) if broker.restart_count > 0 => ended,
        _ if paused => broker.last_state.as_ref()?.terminated.as_ref()?,
        _ => return None,
    };
    // 137: the exit code of a process that SIGKILL has ended, as runtimes report it.
    let killed = ended.exit_code == 137 || ended.reason.as_deref() == Some("OOMKilled");
    let ran = ended.finished_at.as_ref()?.0.as_second() - ended.started_at.as_ref()?.0.as_second();
    let held = killed && ran >= HAD_STARTED && (paused || ran < FORGIVEN);
    pod.metadata.uid.as_deref().filter(|_| held)
}

/// True when the StatefulSet's newest revision is not this pod's.
fn is_outdated(set: &StatefulSet, pod: &Pod) -> bool {
    let status = set.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation);
    if seen < set.metadata.generation {
        return true;
    }
    let newest = status.and_then(|status| status.update_revision.as_ref());
    let labels = pod.metadata.labels.as_ref();
    newest.is_some() && labels.and_then(|labels| labels.get("controller-revision-hash")) != newest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "main", "generation": 2},
            "spec": {"selector": {}, "template": {}, "serviceName": "main-nodes"},
            "status": {"observedGeneration": 2, "replicas": 1, "updateRevision": "main-b"},
        }))
        .expect("a StatefulSet")
    }

    fn pod(status: Value) -> Pod {
        let metadata = json!({"name": "main-0", "labels": {"controller-revision-hash": "main-b"}});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).expect("a pod")
    }

    fn container(state: Value, last: Value, restarts: i32) -> Pod {
        pod(json!({"containerStatuses": [{
            "name": "broker", "image": "leveret:1", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last,
        }]}))
    }

    fn judged(pod: &Pod) -> (Reason, String) {
        pending(Some(&set()), Some(pod)).expect("something is pending")
    }

    #[test]
    fn what_keeps_a_pod_from_being_up() {
        let unscheduled = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]}));
        let waiting = |reason: &str, message: &str| {
            container(json!({"waiting": {"reason": reason, "message": message}}), json!({}), 0)
        };
        for (pod, reason, text) in [
            (
                unscheduled,
                Reason::Unschedulable,
                "pod main-0: no node takes it: 0/1 nodes are available: 1 Insufficient memory.",
            ),
            (
                waiting("ErrImagePull", "not found"),
                Reason::ImagePull,
                "pod main-0: image leveret:1: ErrImagePull: not found",
            ),
            (
                waiting("InvalidImageName", "bad"),
                Reason::InvalidArgument,
                "pod main-0: InvalidImageName: bad",
            ),
            (
                waiting("ContainerCreating", ""),
                Reason::Starting,
                "pod main-0: ContainerCreating",
            ),
            (
                pod(json!({})),
                Reason::Starting,
                "pod main-0: runs and is not ready yet",
            ),
        ] {
            assert_eq!(judged(&pod), (reason, text.to_owned()));
        }
    }

    #[test]
    fn a_broker_that_ran_and_was_killed_is_held_back() {
        let last = |code: i32, seconds: u32| {
            json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z",
                "finishedAt": format!("2026-01-01T00:00:{seconds:02}Z")}})
        };
        let held = |reason: &str, last: Value| {
            let mut pod = container(json!({"waiting": {"reason": reason}}), last, 2);
            pod.metadata.uid = Some("u".to_owned());
            held_back(&pod).is_some()
        };
        assert!(held("CrashLoopBackOff", last(137, 10)));
        assert!(
            !held("CrashLoopBackOff", last(137, 9)),
            "killed in its start: the kubelet's pause is right"
        );
        assert!(!held("CrashLoopBackOff", last(1, 50)), "it ended by itself");
        assert!(!held("ImagePullBackOff", last(137, 50)));
        let ended = |restarts| {
            let mut pod = container(last(137, 20), json!({}), restarts);
            pod.metadata.uid = Some("u".to_owned());
            held_back(&pod).is_some()
        };
        assert!(ended(1) && !ended(0), "the first time it is restarted at once");
        assert!(!held("CrashLoopBackOff", json!({})));
    }

    #[test]
    fn a_crash_is_told_with_its_last_line() {
        let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "one\nlog = \"x\": no\n\n"}});
        let backoff = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let first = container(ended.clone(), json!({}), 0);
        assert_eq!(
            judged(&first),
            (
                Reason::Starting,
                "pod main-0: ended with exit code 1: log = \"x\": no".to_owned()
            )
        );
        let again = container(backoff.clone(), ended, 4);
        assert_eq!(
            judged(&again),
            (
                Reason::Crashed,
                "pod main-0: ended with exit code 1, restarted 4 times: log = \"x\": no".to_owned()
            )
        );
        let memory = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let (reason, text) = judged(&container(backoff, memory, 1));
        assert_eq!(reason, Reason::Starting);
        assert!(text.contains("OOMKilled), restarted once"), "{text}");
    }

    #[test]
    fn a_ready_pod_of_the_newest_revision_is_up() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(pending(Some(&set()), Some(&pod(ready.clone()))), None);
        let mut old = pod(ready.clone());
        old.metadata.labels = Some([("controller-revision-hash".to_owned(), "main-a".to_owned())].into());
        assert!(pending(Some(&set()), Some(&old)).is_some_and(|(_, text)| text.contains("replaced")));
        let mut unseen = set();
        unseen.metadata.generation = Some(3);
        assert!(pending(Some(&unseen), Some(&pod(ready.clone()))).is_some());
        let mut ending = pod(ready);
        ending.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        assert!(pending(Some(&set()), Some(&ending)).is_some());
        assert!(pending(Some(&set()), None).is_some() && pending(None, None).is_some());
    }
}
