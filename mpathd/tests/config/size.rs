//! The time that a large file takes grows with its size, not with the square of it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mpathd::config::{self, diff};

/// Linear growth makes it 8, growth by the square 64.
const TIMES: usize = 8;
const AT_MOST: u32 = 24;

fn quickest(mut run: impl FnMut()) -> Duration {
    let once = |()| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    [(); 3].map(once).into_iter().min().unwrap()
}

fn assert_grows_with_size(what: &str, small: usize, mut run: impl FnMut(usize)) {
    let (few, many) = (quickest(|| run(small)), quickest(|| run(small * TIMES)));
    assert!(many < few * AT_MOST, "{what}: {few:?}, of {TIMES} times as many {many:?}");
}

fn many_groups(count: usize) -> String {
    let mut toml = String::new();
    for n in 0..count {
        let (high, low) = (n / 256, n % 256);
        writeln!(toml, "[groups.g{n}]\ndata_addresses = [\"10.1.{high}.{low}/32\"]").unwrap();
        writeln!(toml, "[groups.g{n}.interfaces.eth{n}]\nstandby = true").unwrap();
    }
    toml
}

/// All that a group can have many of, each on a line of its own; `gone` of them at the beginning are left
/// out.
fn large_group(count: usize, gone: usize) -> String {
    let list = |text: &dyn Fn(usize, usize) -> String| {
        let all: Vec<String> = (gone..count).map(|n| text(n / 256, n % 256)).collect();
        all.join(", ")
    };
    let data = list(&|high, low| format!("\"10.1.{high}.{low}/32\""));
    let targets = list(&|high, low| format!("\"10.2.{}.{low}\"", high + 1));
    let routes = list(&|high, low| {
        format!("{{ to = \"10.{}.{low}.0/24\", via = \"10.2.1.1\" }}", 100 + high)
    });
    format!(
        "[groups.g]\ndata_addresses = [{data}]\ntargets = [{targets}]\nroutes = [{routes}]\n\
         [groups.g.interfaces.eth0]\ntest_addresses = [\"10.2.255.250/16\"]\n"
    )
}

#[test]
fn reading_grows_with_the_number_of_groups() {
    let parse = |count| {
        let errors = config::parse(many_groups(count).as_bytes(), Path::new("test")).unwrap_err();
        assert_eq!(errors.iter().count(), 1, "{errors}");
    };
    assert_grows_with_size("groups", 250, parse);
}

#[test]
fn reading_and_comparing_grow_with_what_a_group_has() {
    let settings = |count, gone| {
        let text = large_group(count, gone);
        config::parse(text.as_bytes(), Path::new("test"))
            .unwrap_or_else(|errors| panic!("{errors}"))
    };
    assert_grows_with_size("reading", 250, |count| drop(settings(count, 0)));
    // Prepared ahead, so that only the comparison is measured.
    let pairs = [250, 250 * TIMES].map(|count| (settings(count, 0), settings(count, count / 2)));
    assert_grows_with_size("comparing", 250, |count| {
        let (old, new) = &pairs[usize::from(count > 250)];
        assert_eq!(diff::changes(old, new).len(), count / 2 * 3);
    });
}
