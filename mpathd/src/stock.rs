//! What this host already has of a configuration, before anything of it is started: what is taken over
//! and how it was, and what forbids a group to start (contract, Take-over).

use mpathd_core::config::{Group, TestAddress};
use mpathd_core::ids::{GroupName, IpNet};

use crate::cli::options;
use crate::config::Settings;
use crate::host;
use crate::host::taken::{Taken, What};
use crate::host::takeover::{Found, survey};
use crate::slow::state::{self, State};

/// As the threads are to start.
#[derive(Debug)]
pub struct Stock {
    /// Without the groups that can't start.
    pub settings: Settings,
    /// Those, and why.
    pub refused: Vec<(GroupName, String)>,
    /// To be in the state file before it is taken over.
    pub taken: Vec<Taken>,
}

/// What the host thread must know of a configuration and of what was left by an earlier daemon.
pub fn host_settings(settings: &Settings, state: &State) -> host::Settings {
    let mut all = host::Settings::new(&settings.engine, settings.sysctls).with_record(state);
    all.receive_priority = settings.receive_priority.clone();
    for group in &settings.engine.groups {
        if settings.take_dynamic.contains(&group.name) {
            all.take_dynamic(group);
        }
        if settings.redirected.contains(&group.name) {
            all.redirect_egress(group);
        }
    }
    all
}

/// Looks at the host.
///
/// # Errors
/// In words, where its tables can't be read.
pub fn take(mut settings: Settings, state: &State) -> Result<Stock, String> {
    let mut found = survey(&host_settings(&settings, state))?;
    let refused: Vec<_> = found.iter().filter_map(|it| refusal(it, &settings)).collect();
    settings.engine.groups.retain(|g| !refused.iter().any(|(name, _)| *name == g.name));
    found.retain(|it| !it.withheld && concerns(it, &settings));
    Ok(Stock { settings, refused, taken: found.into_iter().map(|it| it.taken).collect() })
}

/// What a start would find and take over, for `mpathd check`.
pub fn outlook(settings: &Settings) -> Vec<String> {
    if settings.engine.groups.is_empty() {
        return Vec::new();
    }
    // By its marks alone where the record can't be read.
    let state = state::read(&options::default_run_dir()).ok().flatten().unwrap_or_default();
    let line = |found: &Found| match (refusal(found, settings), found.taken.what) {
        (Some((_, line)), _) => line,
        (None, What::Address(_)) => {
            format!("{} is not mpathd's: it is taken over at the start", found.taken)
        }
        (None, What::Route(_)) => {
            format!("the {} is replaced at the start by the configured one", found.taken)
        }
    };
    match survey(&host_settings(settings, &state)) {
        Ok(all) => all.iter().filter(|it| concerns(it, settings)).map(line).collect(),
        Err(problem) => vec![problem],
    }
}

/// Why a group does not start.
fn refusal(found: &Found, settings: &Settings) -> Option<(GroupName, String)> {
    let group = settings.engine.groups.iter().find(|g| found.withheld && has(g, found))?;
    let line = format!(
        "group {} can't start: {} has a lifetime, so a DHCP client or router advertisements renew \
         it; make it static, or have it taken over all the same with take_over = \"dynamic\"",
        group.name, found.taken
    );
    Some((group.name, line))
}

/// Whether it is still configured.
fn concerns(found: &Found, settings: &Settings) -> bool {
    settings.engine.groups.iter().any(|group| match found.taken.what {
        What::Address(_) => has(group, found),
        What::Route(key) => {
            group.routes.iter().any(|r| (r.table, r.to.network()) == (key.table, key.to))
        }
    })
}

fn has(group: &Group, found: &Found) -> bool {
    let is = |net: IpNet| found.address == Some(net.address);
    let tests = group.members.iter().flat_map(|member| member.test.into_iter().flatten());
    let mut tests = tests.filter_map(|test| match test {
        TestAddress::Static(net) => Some(net),
        TestAddress::LinkLocal => None,
    });
    group.data.iter().copied().any(is) || tests.any(is)
}
