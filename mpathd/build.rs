//! Embeds the kernel program. Runs no tool: `cargo xtask` builds the object; checks, editors and
//! documentation do without.
//!
//! Taken is `MPATHD_EBPF`, else `<target>/ebpf/mpathd.bpf.o`; where neither is, an empty object,
//! with which the daemon probes through sockets and says so.

use std::path::{Path, PathBuf};
use std::{env, fs};

const WHERE: &str = "MPATHD_EBPF";

fn main() {
    println!("cargo:rerun-if-env-changed={WHERE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = match env::var_os(WHERE) {
        Some(path) => read(Path::new(&path)),
        None => built_by_xtask(&out),
    };
    let target = out.join("mpathd.bpf.o");
    fs::write(&target, object)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", target.display()));
}

fn read(path: &Path) -> Vec<u8> {
    println!("cargo:rerun-if-changed={}", path.display());
    let object = fs::read(path).unwrap_or_else(|error| {
        panic!(
            "cannot read the kernel program {}: {error}; correct or unset {WHERE}",
            path.display()
        )
    });
    assert!(
        object.starts_with(b"\x7fELF"),
        "the kernel program {} is no ELF object",
        path.display()
    );
    object
}

fn built_by_xtask(out: &Path) -> Vec<u8> {
    // The directory is watched, not the file: a watched path that is missing makes cargo build this
    // crate every time.
    let directory = target_directory(out).join("ebpf");
    fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("cannot create {}: {error}", directory.display()));
    println!("cargo:rerun-if-changed={}", directory.display());
    let path = directory.join("mpathd.bpf.o");
    if path.is_file() {
        return read(&path);
    }
    println!(
        "cargo:warning=no kernel program at {}: this build probes through sockets only; \
         `cargo xtask build` makes a complete one",
        path.display()
    );
    Vec::new()
}

/// The directory that holds `CACHEDIR.TAG`, which cargo writes into its target directory; OUT_DIR
/// is some levels below, by profile and target triple.
fn target_directory(out: &Path) -> PathBuf {
    let is_tagged = |directory: &Path| directory.join("CACHEDIR.TAG").is_file();
    let tagged = out.ancestors().find(|directory| is_tagged(directory));
    // With `--target` the folder of the target triple has a tag, too.
    let tagged = tagged.map(|it| it.parent().filter(|above| is_tagged(above)).unwrap_or(it));
    // Cargo writes no tag into a directory that was there already.
    let tagged = tagged.or_else(|| out.ancestors().find(|it| it.ends_with("target")));
    match (tagged, env::var_os("CARGO_TARGET_DIR")) {
        (Some(directory), _) => directory.to_owned(),
        (None, Some(directory)) => directory.into(),
        (None, None) => panic!("no target directory above {}; set CARGO_TARGET_DIR", out.display()),
    }
}
