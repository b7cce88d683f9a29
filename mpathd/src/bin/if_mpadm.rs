//! `if_mpadm`: takes an interface of a group out of use and back.

use std::path::Path;
use std::process::ExitCode;

use mpathd::cli::{if_mpadm, options};
use mpathd::slow::client::Client;

fn main() -> ExitCode {
    let devices = Path::new("/sys/class/net");
    let run_dir = options::default_run_dir();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    if_mpadm::run::<Client>(options::arguments(), run_dir, devices, &mut out, &mut err)
}
