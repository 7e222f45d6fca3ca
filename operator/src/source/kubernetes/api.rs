//! The kinds as the API server names them.

use kube::api::ApiResource;

use crate::object::Kind;
use crate::resource::{Binding, Broker, Exchange, Queue};

/// Group, version and plural of a kind.
pub(super) fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Broker => ApiResource::erase::<Broker>(&()),
        Kind::Exchange => ApiResource::erase::<Exchange>(&()),
        Kind::Queue => ApiResource::erase::<Queue>(&()),
        Kind::Binding => ApiResource::erase::<Binding>(&()),
    }
}
