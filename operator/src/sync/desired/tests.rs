//! Table tests of this step.
