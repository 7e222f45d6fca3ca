//! The words of conditions and events: a status, and the closed list of reasons.
//!
//! In: nothing. Out: `ConditionStatus` and `Reason`. Does not know about what led to them.

use std::fmt;

/// `metav1.ConditionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        }
    }
}

/// The closed list of reasons in conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Synced,
    WaitingForBroker,
    WaitingForSource,
    WaitingForDestination,
    WaitingForVhost,
    WaitingForUser,
    WaitingForSecret,
    Conflict,
    Mismatch,
    Immutable,
    InvalidArgument,
    NotAllowed,
    DeletionBlocked,
    Paused,
    Observed,
    BrokerError,
    Starting,
    Unschedulable,
    ImagePull,
    Crashed,
}

impl Reason {
    pub const ALL: [Reason; 20] = [
        Reason::Synced,
        Reason::WaitingForBroker,
        Reason::WaitingForSource,
        Reason::WaitingForDestination,
        Reason::WaitingForVhost,
        Reason::WaitingForUser,
        Reason::WaitingForSecret,
        Reason::Conflict,
        Reason::Mismatch,
        Reason::Immutable,
        Reason::InvalidArgument,
        Reason::NotAllowed,
        Reason::DeletionBlocked,
        Reason::Paused,
        Reason::Observed,
        Reason::BrokerError,
        Reason::Starting,
        Reason::Unschedulable,
        Reason::ImagePull,
        Reason::Crashed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Synced => "Synced",
            Reason::WaitingForBroker => "WaitingForBroker",
            Reason::WaitingForSource => "WaitingForSource",
            Reason::WaitingForDestination => "WaitingForDestination",
            Reason::WaitingForVhost => "WaitingForVhost",
            Reason::WaitingForUser => "WaitingForUser",
            Reason::WaitingForSecret => "WaitingForSecret",
            Reason::Conflict => "Conflict",
            Reason::Mismatch => "Mismatch",
            Reason::Immutable => "Immutable",
            Reason::InvalidArgument => "InvalidArgument",
            Reason::NotAllowed => "NotAllowed",
            Reason::DeletionBlocked => "DeletionBlocked",
            Reason::Paused => "Paused",
            Reason::Observed => "Observed",
            Reason::BrokerError => "BrokerError",
            Reason::Starting => "Starting",
            Reason::Unschedulable => "Unschedulable",
            Reason::ImagePull => "ImagePull",
            Reason::Crashed => "Crashed",
        }
    }

    /// Something else must come first, and most often does by itself.
    pub fn is_waiting(self) -> bool {
        match self {
            Reason::WaitingForBroker | Reason::Starting => true,
            reason => reason.awaits_another(),
        }
    }

    /// Another resource, or what stands for one on the broker, must come first: it may be applied just now.
    pub fn awaits_another(self) -> bool {
        match self {
            Reason::WaitingForSource
            | Reason::WaitingForDestination
            | Reason::WaitingForVhost
            | Reason::WaitingForUser
            | Reason::WaitingForSecret => true,
            Reason::Synced
            | Reason::WaitingForBroker
            | Reason::Conflict
            | Reason::Mismatch
            | Reason::Immutable
            | Reason::InvalidArgument
            | Reason::NotAllowed
            | Reason::DeletionBlocked
            | Reason::Paused
            | Reason::Observed
            | Reason::BrokerError
            | Reason::Starting
            | Reason::Unschedulable
            | Reason::ImagePull
            | Reason::Crashed => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
