//! `cargo xtask bench [--cuts N] [--seconds N]`: see `mpathd_tests::bench`.

use std::path::Path;
use std::process::ExitCode;

use mpathd_tests::{bench, isolate};

const CUTS: u32 = 100;
/// For each measurement of RTT and CPU time.
const SECONDS: u32 = 10;

fn main() -> ExitCode {
    let (mut cuts, mut seconds) = (CUTS, SECONDS);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let value = pair.get(1).and_then(|it| it.parse::<u32>().ok()).filter(|it| *it > 0);
        match (pair[0].as_str(), value) {
            ("--cuts", Some(value)) => cuts = value,
            ("--seconds", Some(value)) => seconds = value,
            _ => {
                eprintln!("bench: {pair:?} is not understood: [--cuts N] [--seconds N]");
                return ExitCode::from(2);
            }
        }
    }
    if let Some(code) = isolate::relaunched() {
        return code;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("bench");
    bench::run(cuts, seconds.into(), &folder);
    ExitCode::SUCCESS
}
