//! The order of all lists: groups newest first, members newest-joined first (behaviour file 7.2).
//! The picture has them in the order in which they came.

use mpathd_core::ids::GroupName;
use mpathd_core::view::{GroupView, InterfaceView, View};

pub(super) fn groups(view: &View) -> impl Iterator<Item = &GroupView> {
    view.groups.iter().rev()
}

pub(super) fn members(view: &View, group: GroupName) -> impl Iterator<Item = &InterfaceView> {
    view.interfaces.iter().rev().filter(move |interface| interface.group == group)
}

pub(super) fn interfaces(view: &View) -> impl Iterator<Item = &InterfaceView> {
    groups(view).flat_map(|group| members(view, group.name))
}
