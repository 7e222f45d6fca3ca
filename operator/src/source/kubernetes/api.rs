//! The kinds as the API server names them, and the operator as it knows it.

use kube::api::ApiResource;

use crate::object::Kind;
use crate::resource::{Binding, Broker, Exchange, Queue};

/// Field manager of everything the operator writes, and the controller named in its events.
pub const MANAGER: &str = "leveret-operator";

/// Group, version and plural of a kind.
pub(super) fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Broker => ApiResource::erase::<Broker>(&()),
        Kind::Exchange => ApiResource::erase::<Exchange>(&()),
        Kind::Queue => ApiResource::erase::<Queue>(&()),
        Kind::Binding => ApiResource::erase::<Binding>(&()),
    }
}
