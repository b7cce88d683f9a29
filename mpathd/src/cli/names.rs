//! Addresses as names, from /etc/hosts only: this is looked at while the network is failing, when a
//! name server would keep every line waiting.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Names of addresses, without domain part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<IpAddr, String>);

impl Names {
    /// Every address stays a number.
    pub fn numeric() -> Self {
        Self::default()
    }

    /// A file that is not there names nothing.
    pub fn load(hosts: &Path) -> Self {
        std::fs::read_to_string(hosts).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// The first name of the first line that has the address: hosts(5).
    pub fn parse(hosts: &str) -> Self {
        let mut names = BTreeMap::new();
        for line in hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next().and_then(|word| word.parse().ok());
            if let (Some(address), Some(name)) = (address, words.next()) {
                let host = name.split('.').next().unwrap_or(name);
                names.entry(address).or_insert_with(|| host.to_owned());
            }
        }
        Self(names)
    }

    pub fn of(&self, address: IpAddr) -> String {
        self.0.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }
}
