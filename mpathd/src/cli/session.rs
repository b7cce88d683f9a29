//! The SSH session that a command is typed in, if it is one: what must not be cut off by accident (O24).

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

/// What sshd tells its sessions: client, its port, our address, our port.
const VARIABLE: &str = "SSH_CONNECTION";

/// The address of this host that the session came to. `sudo` drops the variable, so ancestors are asked too.
pub fn own_address() -> Option<IpAddr> {
    if let Some(told) = std::env::var_os(VARIABLE) {
        return address_in(&told);
    }
    let mut pid = std::process::id();
    while pid > 1 {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|line| line.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="));
        if let Some(value) = value {
            return address_in(OsStr::from_bytes(value));
        }
        pid = parent_of(pid)?;
    }
    None
}

fn address_in(told: &OsStr) -> Option<IpAddr> {
    let server = told.to_str()?.split_whitespace().nth(2)?;
    let address = server.split('%').next()?.parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_word_is_ours() {
        let of = |text: &str| address_in(OsStr::new(text)).map(|it| it.to_string());
        assert_eq!(of("192.0.2.100 40000 192.0.2.50 22").as_deref(), Some("192.0.2.50"));
        assert_eq!(of("fe80::1%eth0 40000 fe80::2%eth0 22").as_deref(), Some("fe80::2"));
        assert_eq!(of("::ffff:192.0.2.100 1 ::ffff:192.0.2.50 22").as_deref(), Some("192.0.2.50"));
        assert_eq!(of("no words"), None);
    }
}
