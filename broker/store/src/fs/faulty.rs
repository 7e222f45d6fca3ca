//! Test double (to be filled).
