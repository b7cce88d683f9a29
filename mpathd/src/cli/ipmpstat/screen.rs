//! The height of the terminal.

use std::io::Stdout;
use std::os::fd::AsRawFd;

/// Where stdout is no terminal (behaviour file 7.2).
const UNKNOWN: usize = 24;

nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);

/// Lines of the terminal that `out` is.
pub fn lines(out: &Stdout) -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: tty_ioctl(4): TIOCGWINSZ fills in one winsize, which lives beyond the call.
    let asked = unsafe { window_size(out.as_raw_fd(), &raw mut size) };
    match (asked, size.ws_row) {
        (Err(_), _) | (_, 0) => UNKNOWN,
        (Ok(_), rows) => rows.into(),
    }
}
