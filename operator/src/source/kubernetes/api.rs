//! Names by which the API server knows resources, and the operator.
//!
//! In: kinds. Out: group, version, path and finalizer. Does not know about what stands in a resource.

use std::borrow::Cow;

use kube::api::ApiResource;

use crate::object::{FINALIZER, Group, GroupKind, Kind};
use crate::rabbitmq::manifest;
use crate::resource::{GROUP, VERSION};

/// Field manager of everything the operator writes, and the controller named in its events.
pub const MANAGER: &str = "leveret-operator";

/// The kinds of RabbitMQ's topology operator that have a counterpart, in the order of their counterparts.
pub(super) const THEIRS: [Kind; 9] = [
    Kind::Vhost,
    Kind::User,
    Kind::Permission,
    Kind::TopicPermission,
    Kind::OperatorPolicy,
    Kind::Policy,
    Kind::Exchange,
    Kind::Queue,
    Kind::Binding,
];

/// Group, version and plural, as a Kubernetes client wants them.
pub(super) fn resource(of: GroupKind) -> ApiResource {
    let ours = of.kind.api_resource();
    match of.group {
        Group::Leveret => ours,
        Group::RabbitMq => ApiResource {
            group: manifest::GROUP.to_owned(),
            version: manifest::VERSION.to_owned(),
            api_version: version(of.group),
            ..ours
        },
    }
}

/// `apiVersion` of the resources of a group.
pub(super) fn version(group: Group) -> String {
    match group {
        Group::Leveret => format!("{GROUP}/{VERSION}"),
        Group::RabbitMq => format!("{}/{}", manifest::GROUP, manifest::VERSION),
    }
}

/// The finalizer of a resource. Those of the other operator are taken over as they are, so that it finds them when it
/// comes back.
pub(super) fn finalizer(of: GroupKind) -> Cow<'static, str> {
    match of.group {
        Group::Leveret => FINALIZER.into(),
        Group::RabbitMq => format!("deletion.finalizers.{}.{}", of.kind.plural(), manifest::GROUP).into(),
    }
}
