//! The fields of a message (contract, Log), and its evidence in words.

use std::collections::BTreeMap;
use std::time::Duration;

use mpathd_core::ids::{GroupName, IfName};
use mpathd_core::message::{Evidence, Message, Reason};
use serde_json::Value;

type Fields = Vec<(&'static str, Value)>;

/// All fields but the running number. `groups`: for messages that name an interface only.
pub(super) fn of(message: &Message, groups: &BTreeMap<IfName, GroupName>) -> Fields {
    let mut fields = vec![("MPATHD_EVENT", Value::from(message.event()))];
    let subject = Subject::of(message);
    let group = subject.group.or_else(|| groups.get(&subject.interface?).copied());
    put(&mut fields, "MPATHD_GROUP", group.filter(|group| !group.is_anonymous()));
    put(&mut fields, "MPATHD_INTERFACE", subject.interface);
    details(&mut fields, message);
    if let Some(evidence) = evidence(message) {
        put(&mut fields, "MPATHD_REASON", Some(evidence.reason));
        if evidence.reason == Reason::Probes {
            let targets = format!("{} of {}", evidence.silent, evidence.counted);
            put(&mut fields, "MPATHD_TARGETS", Some(targets));
        }
        if let Some(age) = evidence.last_reply {
            fields.push(("MPATHD_LAST_REPLY", ms(age).into()));
        }
        fields.push(("MPATHD_DETECTED_MS", ms(evidence.detected).into()));
        put(&mut fields, "MPATHD_EVIDENCE", Some(words(evidence)));
    }
    fields
}

pub(super) fn evidence(message: &Message) -> Option<&Evidence> {
    match message {
        Message::InterfaceFailed { evidence, .. } | Message::FamilyFailed { evidence, .. } => {
            Some(evidence)
        }
        _ => None,
    }
}

/// As an administrator would say it: `probes: 3 of 3 targets silent, last reply 952 ms before,
/// link up`.
pub(super) fn words(evidence: &Evidence) -> String {
    let reason = evidence.reason;
    let last = match evidence.last_reply {
        Some(age) => format!("last reply {} ms before", ms(age)),
        None => "no reply ever".to_owned(),
    };
    match reason {
        // A link that is down would have been the reason.
        Reason::Probes => {
            let Evidence { silent, counted, .. } = evidence;
            format!("{reason}: {silent} of {counted} targets silent, {last}, link up")
        }
        Reason::TransmitStuck => {
            let stuck = ms(evidence.detected);
            format!("{reason}: the device has sent nothing for {stuck} ms, {last}, link up")
        }
        Reason::Link => format!("{reason}: down"),
        Reason::Removed => format!("{reason}: the interface is gone"),
        Reason::Offline => format!("{reason}: by an administrator"),
        Reason::DuplicateMac => {
            format!("{reason}: another interface of the group has the same hardware address")
        }
    }
}

/// Whom a message is about.
#[derive(Default)]
struct Subject {
    interface: Option<IfName>,
    group: Option<GroupName>,
}

impl Subject {
    fn of(message: &Message) -> Self {
        let (interface, group) = match *message {
            Message::InterfaceFailed { interface, group, .. }
            | Message::InterfaceRepaired { interface, group }
            | Message::GroupUsable { interface, group }
            | Message::FamilyFailed { interface, group, .. }
            | Message::FamilyRepaired { interface, group, .. }
            | Message::Standby { interface, group, .. }
            | Message::Missing { interface, group, .. }
            | Message::DuplicateMac { interface, group }
            | Message::UniqueMac { interface, group }
            | Message::NotPlumbed { interface, group, .. }
            | Message::Consistent { interface, group }
            | Message::CannotMeetFdt { interface, group, .. }
            | Message::ImprovedFdt { interface, group, .. } => (Some(interface), Some(group)),
            Message::GroupFailed { group } | Message::FamilySilent { group, .. } => {
                (None, Some(group))
            }
            Message::LinkDown { interface }
            | Message::LinkUp { interface }
            | Message::LinkFlapping { interface }
            | Message::Offline { interface, .. }
            | Message::FirstReply { interface, .. }
            | Message::TargetDead { interface, .. }
            | Message::TargetAlive { interface, .. }
            | Message::TargetPoliced { interface, .. }
            | Message::TargetFull { interface, .. }
            | Message::TargetSlow { interface, .. }
            | Message::TargetReplaced { interface, .. }
            | Message::TargetsOmitted { interface, .. }
            | Message::Searching { interface, .. }
            | Message::NobodyAnswers { interface, .. }
            | Message::HostFound { interface, .. }
            | Message::ReturnDamped { interface, .. }
            | Message::AddressHeld { interface, .. }
            | Message::NoTestAddress { interface }
            | Message::TestAddressBack { interface }
            | Message::Unwatched { interface, .. }
            | Message::Watched { interface, .. }
            | Message::NewMac { interface, .. }
            | Message::DuplicateTest { interface, .. }
            | Message::DuplicateData { interface, .. }
            | Message::UniqueAddress { interface, .. }
            | Message::AddressRefused { interface, .. }
            | Message::TooManyLinkLocals { interface, .. }
            | Message::NeighbourProxy { interface, .. }
            | Message::Crowded { interface, .. }
            | Message::Removed { interface, .. }
            | Message::Unfit { interface, .. }
            | Message::Receiving { interface, .. }
            | Message::HookLost { interface, .. }
            | Message::ReceiveDeferred { interface }
            | Message::Drift { interface, .. }
            | Message::Redirected { interface, .. }
            | Message::Moved { to: interface, .. } => (Some(interface), None),
            Message::RequestFailed { .. }
            | Message::RouteDrift { .. }
            | Message::SetAgain { .. }
            | Message::RouteSetAgain { .. }
            | Message::Late { .. }
            | Message::KernelSlow { .. } => (None, None),
        };
        Self { interface, group }
    }
}

fn details(fields: &mut Fields, message: &Message) {
    match *message {
        Message::FamilyFailed { family, .. }
        | Message::FamilyRepaired { family, .. }
        | Message::NotPlumbed { family, .. }
        | Message::Searching { family, .. }
        | Message::NobodyAnswers { family, .. }
        | Message::NeighbourProxy { family, .. }
        | Message::FamilySilent { family, .. } => put(fields, "MPATHD_FAMILY", Some(family)),
        Message::Watched { family, .. } => put(fields, "MPATHD_FAMILY", Some(family)),
        Message::Unwatched { family, reason, target, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            put(fields, "MPATHD_REASON", Some(reason.word()));
            put(fields, "MPATHD_TARGET", target);
        }
        Message::TargetsOmitted { family, omitted, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            fields.push(("MPATHD_OMITTED", omitted.into()));
        }
        Message::DuplicateMac { .. } => {
            put(fields, "MPATHD_REASON", Some(Reason::DuplicateMac));
        }
        Message::Removed { family, .. } | Message::Missing { family, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            put(fields, "MPATHD_REASON", Some(Reason::Removed));
        }
        Message::Moved { address, from, to, took } => {
            put(fields, "MPATHD_ADDRESS", Some(address));
            put(fields, "MPATHD_FROM", from);
            put(fields, "MPATHD_TO", Some(to));
            fields.push(("MPATHD_TOOK_MS", ms(took).into()));
        }
        Message::Redirected { family, took, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            fields.push(("MPATHD_TOOK_MS", ms(took).into()));
        }
        Message::FirstReply { target, .. }
        | Message::TargetDead { target, .. }
        | Message::TargetAlive { target, .. }
        | Message::TargetFull { target, .. }
        | Message::TargetSlow { target, .. }
        | Message::HostFound { target, .. } => put(fields, "MPATHD_TARGET", Some(target)),
        Message::TargetPoliced { target, answered, spacing, .. } => {
            put(fields, "MPATHD_TARGET", Some(target));
            fields.push(("MPATHD_ANSWERED_PERCENT", answered.into()));
            fields.push(("MPATHD_INTERVAL_MS", ms(spacing).into()));
        }
        Message::TargetReplaced { target, by, .. } => {
            put(fields, "MPATHD_FROM", Some(target));
            put(fields, "MPATHD_TO", Some(by));
        }
        Message::CannotMeetFdt { family, requested, now, target, loss, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            fields.extend(loss.map(|loss| ("MPATHD_LOSSES_TO_FAIL", loss.losses_to_fail.into())));
            fields.extend(loss.map(|loss| ("MPATHD_SILENT_PPM", loss.silent_ppm.into())));
            put(fields, "MPATHD_TARGET", Some(target));
            fields.push(("MPATHD_FROM", ms(requested).into()));
            fields.push(("MPATHD_TO", ms(now).into()));
        }
        Message::ImprovedFdt { family, now, target, .. } => {
            put(fields, "MPATHD_FAMILY", Some(family));
            put(fields, "MPATHD_TARGET", Some(target));
            fields.push(("MPATHD_TO", ms(now).into()));
        }
        Message::AddressHeld { address, wait, .. } => {
            put(fields, "MPATHD_ADDRESS", Some(address));
            fields.push(("MPATHD_WAIT_MS", ms(wait).into()));
        }
        Message::ReturnDamped { wait, .. } => fields.push(("MPATHD_WAIT_MS", ms(wait).into())),
        Message::RequestFailed { errno, .. } => fields.push(("MPATHD_ERRNO", errno.0.into())),
        Message::DuplicateTest { address, .. }
        | Message::DuplicateData { address, .. }
        | Message::UniqueAddress { address, .. }
        | Message::AddressRefused { address, .. }
        | Message::TooManyLinkLocals { address, .. }
        | Message::Drift { address, .. }
        | Message::SetAgain { address, .. } => {
            put(fields, "MPATHD_ADDRESS", Some(address));
        }
        Message::RouteDrift { to, .. } | Message::RouteSetAgain { to, .. } => {
            put(fields, "MPATHD_ROUTE", Some(to));
        }
        Message::KernelSlow { took } => fields.push(("MPATHD_TOOK_MS", ms(took).into())),
        Message::Late { by, missed } => {
            fields.push(("MPATHD_LATE_MS", ms(by).into()));
            fields.push(("MPATHD_ROUNDS_MISSED", missed.into()));
        }
        _ => {}
    }
}

fn put(fields: &mut Fields, name: &'static str, value: Option<impl ToString>) {
    fields.extend(value.map(|value| (name, Value::from(value.to_string()))));
}

/// Whole microseconds of a span, in ms.
fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_words() {
        let evidence = |reason, last_reply| Evidence {
            reason,
            silent: 2,
            counted: 2,
            last_reply,
            detected: Duration::from_micros(10_500),
        };
        let said = |reason, last| words(&evidence(reason, last));
        assert_eq!(said(Reason::Link, None), "link: down");
        assert_eq!(
            said(Reason::Probes, None),
            "probes: 2 of 2 targets silent, no reply ever, link up"
        );
        assert_eq!(
            said(Reason::TransmitStuck, Some(Duration::from_millis(12))),
            "transmit-stuck: the device has sent nothing for 10.5 ms, last reply 12 ms before, \
             link up"
        );
    }
}
