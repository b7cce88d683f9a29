//! What the daemon tells through `ipmpstat`, as text and as JSON.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::wait_for;

/// Of what is asked about: a NIC may have a row for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Inet,
    Inet6,
}

/// Rows of `ipmpstat -n MODE -P -o FIELDS`, their values unescaped.
///
/// # Panics
/// If it fails.
pub fn rows(daemon: &Daemon, mode: &str, fields: &str) -> Vec<Vec<String>> {
    let text = said(daemon, &["-n", mode, "-P", "-o", fields]);
    text.lines().map(|line| unescaped(line, fields.contains(','))).collect()
}

/// The list of `ipmpstat MODE --json`.
///
/// # Panics
/// If it fails or says something else.
pub fn json(daemon: &Daemon, mode: &str) -> Vec<Value> {
    let list = match mode {
        "-a" => "addresses",
        "-e" => "events",
        "-g" => "groups",
        "-i" => "interfaces",
        "-l" => "delays",
        "-t" => "targets",
        other => panic!("no mode with a list: {other}"),
    };
    let text = said(daemon, &[mode, "--json"]);
    let value: Value = serde_json::from_str(&text).expect("it says JSON");
    value[list].as_array().unwrap_or_else(|| panic!("no `{list}` in {text}")).clone()
}

/// The entry of an interface in `ipmpstat -i --json`.
///
/// # Panics
/// If there is none.
pub fn interface(daemon: &Daemon, name: &str) -> Value {
    let list = json(daemon, "-i");
    let found = list.iter().find(|it| it["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {list:#?}"))
}

/// Waits until each of these interfaces has had a reply in every family that it probes. (`PROBE ok` alone says
/// that nothing has failed.)
///
/// # Panics
/// If it has not within ten seconds.
pub fn wait_ok(daemon: &Daemon, interfaces: &[&str]) {
    wait_for(&format!("reply on each of {interfaces:?}"), Duration::from_secs(10), || {
        let targets = json(daemon, "-t");
        let answered = |name: &str, family: &str| {
            let mut of_instance =
                targets.iter().filter(|it| it["interface"] == name && it["family"] == family);
            of_instance.clone().count() == 0 || of_instance.any(|it| it["acked"].as_u64() > Some(0))
        };
        let probed = |name: &str| targets.iter().any(|it| it["interface"] == name);
        let ok = interfaces
            .iter()
            .all(|name| probed(name) && answered(name, "inet") && answered(name, "inet6"));
        if ok { Ok(()) } else { Err(targets) }
    });
}

/// Waits until these fields of `ipmpstat -i` have these values.
///
/// # Panics
/// If they have not within ten seconds.
pub fn wait_interface(daemon: &Daemon, name: &str, fields: &str, values: &[&str]) {
    let what = format!("{fields} = {values:?} of {name}");
    let wanted = [&[name], values].concat();
    wait_for(&what, Duration::from_secs(10), || {
        let rows = rows(daemon, "-i", &format!("interface,{fields}"));
        if rows.iter().any(|row| *row == wanted) { Ok(()) } else { Err(rows) }
    });
}

fn said(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.ipmpstat(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ipmpstat {arguments:?}: {error}\n{}", daemon.log_text());
    String::from_utf8(output.stdout).expect("it says UTF-8")
}

/// Behaviour 7.2: `:` between values; `\` before `:` and `\` inside, where several fields are asked for.
fn unescaped(line: &str, several: bool) -> Vec<String> {
    if !several {
        return vec![line.to_owned()];
    }
    let mut values = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => values.last_mut().expect("one at least").extend(letters.next()),
            ':' => values.push(String::new()),
            other => values.last_mut().expect("one at least").push(other),
        }
    }
    values
}

/// TARGETS of `ipmpstat -t` for a NIC in one family, sorted.
///
/// # Panics
/// If it has no test address there.
pub fn targets(daemon: &Daemon, nic: &str, family: Family) -> Vec<String> {
    let rows = rows(daemon, "-t", "interface,testaddr,targets");
    let of_family = |row: &[String]| row[1].contains(':') == (family == Family::Inet6);
    let row = rows.iter().find(|row| row[0] == nic && of_family(row));
    let list = &row.unwrap_or_else(|| panic!("no {nic} in {rows:?}"))[2];
    let mut list: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
    list.sort();
    list
}

/// # Panics
/// If they are not these within ten seconds.
pub fn wait_targets(daemon: &Daemon, nic: &str, family: Family, wanted: &[&str]) {
    wait_for(&format!("targets {wanted:?} of {nic}"), Duration::from_secs(10), || {
        match targets(daemon, nic, family) {
            list if list == wanted => Ok(()),
            list => Err((list, daemon.log_text())),
        }
    });
}
