//! How grave a message is, and its name for machines.

use super::Message;

/// By meaning, not as the original, which says ERR to everything (contract, Log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Critical,
    Error,
    Warning,
    Notice,
    Info,
}

impl Message {
    pub fn severity(&self) -> Severity {
        match self {
            Message::GroupFailed { .. } => Severity::Critical,
            Message::InterfaceFailed { .. }
            | Message::FamilyFailed { .. }
            | Message::FamilySilent { .. }
            | Message::DuplicateMac { .. }
            | Message::NotPlumbed { .. }
            | Message::Unfit { .. }
            | Message::RequestFailed { .. } => Severity::Error,
            Message::LinkDown { .. }
            | Message::Missing { .. }
            | Message::LinkFlapping { .. }
            | Message::TargetDead { .. }
            | Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. }
            | Message::Late { .. } => Severity::Warning,
            Message::InterfaceRepaired { .. }
            | Message::FamilyRepaired { .. }
            | Message::GroupUsable { .. }
            | Message::LinkUp { .. }
            | Message::Moved { .. }
            | Message::Standby { .. }
            | Message::Offline { .. }
            | Message::NobodyAnswers { .. }
            | Message::UniqueMac { .. }
            | Message::NewMac { .. }
            | Message::Consistent { .. }
            | Message::ReturnDamped { .. } => Severity::Notice,
            Message::FirstReply { .. }
            | Message::TargetAlive { .. }
            | Message::TargetSlow { .. }
            | Message::TargetReplaced { .. }
            | Message::Searching { .. }
            | Message::HostFound { .. }
            | Message::CannotMeetFdt { .. }
            | Message::ImprovedFdt { .. }
            | Message::NoTestAddress { .. }
            | Message::TestAddressBack { .. }
            | Message::Removed { .. }
            | Message::Receiving { .. }
            | Message::ReceiveDeferred { .. } => Severity::Info,
        }
    }

    /// Value of the log field MPATHD_EVENT.
    pub fn event(&self) -> &'static str {
        match self {
            Message::InterfaceFailed { .. } => "interface-failed",
            Message::InterfaceRepaired { .. } => "interface-repaired",
            Message::GroupFailed { .. } => "group-failed",
            Message::GroupUsable { .. } => "group-usable",
            Message::LinkDown { .. } => "link-down",
            Message::LinkUp { .. } => "link-up",
            Message::LinkFlapping { .. } => "link-flapping",
            Message::FamilyFailed { .. } => "family-failed",
            Message::FamilyRepaired { .. } => "family-repaired",
            Message::FamilySilent { .. } => "family-silent",
            Message::Moved { .. } => "moved",
            Message::Standby { .. } => "standby",
            Message::Offline { .. } => "offline",
            Message::FirstReply { .. } => "first-reply",
            Message::TargetDead { .. } => "target-dead",
            Message::TargetAlive { .. } => "target-alive",
            Message::TargetSlow { .. } => "target-slow",
            Message::TargetReplaced { .. } => "target-replaced",
            Message::Searching { .. } => "searching",
            Message::NobodyAnswers { .. } => "nobody-answers",
            Message::HostFound { .. } => "host-found",
            Message::ReturnDamped { .. } => "return-damped",
            Message::CannotMeetFdt { .. } => "fdt-raised",
            Message::ImprovedFdt { .. } => "fdt-lowered",
            Message::NoTestAddress { .. } => "no-test-address",
            Message::TestAddressBack { .. } => "test-address",
            Message::Missing { .. } => "missing",
            Message::DuplicateMac { .. } => "duplicate-mac",
            Message::UniqueMac { .. } => "unique-mac",
            Message::NewMac { .. } => "new-mac",
            Message::NotPlumbed { .. } => "not-plumbed",
            Message::Consistent { .. } => "consistent",
            Message::Removed { .. } => "removed",
            Message::Unfit { .. } => "unfit",
            Message::Receiving { .. } => "receiving",
            Message::ReceiveDeferred { .. } => "receive-deferred",
            Message::RequestFailed { .. } => "request-failed",
            Message::Drift { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. } => "drift",
            Message::Late { .. } => "late",
        }
    }
}
