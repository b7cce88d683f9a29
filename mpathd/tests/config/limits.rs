//! The greatest numbers that are accepted, and what a drop-in adds to a group.

use std::fmt::Write;
use std::path::Path;

use mpathd::config::{self, Settings};

use super::errors_of;

fn settings(toml: &str) -> Settings {
    config::parse(toml.as_bytes(), Path::new("mpathd.toml"))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// So many interfaces, in groups of `size`.
fn interfaces(count: usize, size: usize) -> String {
    let mut toml = String::new();
    for first in (0..count).step_by(size) {
        writeln!(toml, "[groups.g{first}.interfaces]").unwrap();
        (first..count.min(first + size)).for_each(|n| writeln!(toml, "eth{n} = {{}}").unwrap());
    }
    toml
}

#[test]
fn a_group_of_32_interfaces_is_accepted() {
    assert_eq!(settings(&interfaces(32, 32)).engine.groups[0].members.len(), 32);
}

#[test]
fn two_hundred_and_four_interfaces_are_accepted_and_one_more_is_not() {
    let all = settings(&interfaces(204, 20));
    let members: usize = all.engine.named().map(|group| group.members.len()).sum();
    assert_eq!(members, 204);
    let errors = errors_of(interfaces(205, 20).as_bytes());
    assert!(errors.contains("eth204") && errors.contains("205 interfaces in all"), "{errors}");
}

/// The kernel knows a route by destination, table and metric.
#[test]
fn routes_to_one_destination_may_differ_by_metric_or_table() {
    let group = |first: &str, second: &str| {
        format!(
            "[groups.g]\ndata_addresses = [\"192.0.2.50/24\"]\nroutes = [\n  \
             {{ to = \"default\", via = \"192.0.2.1\"{first} }},\n  \
             {{ to = \"default\", via = \"192.0.2.2\"{second} }},\n]\n\
             [groups.g.interfaces.eth0]\ntest_addresses = [\"192.0.2.11/24\"]\n"
        )
    };
    let routes = |toml: &str| settings(toml).engine.named().next().unwrap().routes.len();
    assert_eq!(routes(&group("", ", metric = 6")), 2);
    assert_eq!(routes(&group("", ", table = 100")), 2);
    for same in ["", ", metric = 5", ", table = 254"] {
        let errors = errors_of(group("", same).as_bytes());
        assert!(errors.contains("the same destination, table and metric"), "{same}: {errors}");
    }
}
