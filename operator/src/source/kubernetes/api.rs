//! The operator as the API server knows it.

/// Field manager of everything the operator writes, and the controller named in its events.
pub const MANAGER: &str = "leveret-operator";
