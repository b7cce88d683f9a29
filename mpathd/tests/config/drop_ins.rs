//! Files beside the main one: `X.d/*.toml`, read after it in byte order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpathd::cli::check::plan;
use mpathd::config::{self, Settings};

/// A folder of its own with `m.toml` and these drop-ins; removed when dropped.
struct Files(PathBuf);

impl Files {
    fn new(test: &str, main: Option<&str>, drop_ins: &[(&str, &str)]) -> Self {
        let folder = format!("mpathd-drop-ins-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(folder.join("m.d")).unwrap();
        if let Some(text) = main {
            fs::write(folder.join("m.toml"), text).unwrap();
        }
        for (name, text) in drop_ins {
            fs::write(folder.join("m.d").join(name), text).unwrap();
        }
        Self(folder)
    }

    fn main(&self) -> PathBuf {
        self.0.join("m.toml")
    }

    fn load(&self) -> Settings {
        config::load(&self.main()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Without the folder.
    fn errors(&self) -> Vec<String> {
        let errors = config::load(&self.main()).unwrap_err().to_string();
        let folder = format!("{}/", self.0.display());
        errors.lines().map(|line| line.replace(&folder, "")).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const MAIN: &str = r#"
failure_detection_time = "5s"
failback = false
[groups.a]
data_addresses = ["192.0.2.50/24", "192.0.2.51/24"]
targets = ["192.0.2.1"]
[groups.a.interfaces.eth0]
test_addresses = ["192.0.2.11/24"]
"#;

#[test]
fn tables_merge_and_other_values_are_replaced() {
    let files = Files::new(
        "merge",
        Some(MAIN),
        &[
            ("20-later.toml", "failure_detection_time = \"2s\"\n[groups.a]\ntargets = []\n"),
            (
                "10-earlier.toml",
                "failure_detection_time = \"3s\"\n[groups.a]\ndata_addresses = [\"192.0.2.60/24\"]\n\
                 [groups.a.interfaces.eth0]\nstandby = true\n[groups.a.interfaces.eth1]\n\
                 [groups.b.interfaces.eth2]\n",
            ),
            ("README", "not TOML"),
            (".20-later.toml.swp", "not TOML"),
            (".hidden.toml", "not TOML"),
        ],
    );
    let settings = files.load();
    let [a, b] = &settings.engine.groups[..] else { panic!("{settings:?}") };
    assert_eq!((a.fdt, a.failback, b.fdt), (Duration::from_secs(2), false, a.fdt));
    assert_eq!(a.data, ["192.0.2.60/24".parse().unwrap()]);
    assert!(a.targets.is_empty(), "an empty list is a value too");
    let members: Vec<_> = a.members.iter().map(|m| (m.name.to_string(), m.standby)).collect();
    assert_eq!(members, [("eth0".to_owned(), true), ("eth1".to_owned(), false)]);
    assert!(a.members[0].test[0].is_some(), "what the drop-in does not name stays");

    // Each value has its file.
    let text = plan::text(&settings, &files.main());
    let origin = |value: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(value)).unwrap();
        line.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(origin("failure_detection_time = \"2s\""), "20-later.toml:1");
    assert_eq!(origin("failback = false"), "m.toml:3");
    assert_eq!(origin("data_addresses = [\"192.0.2.60/24\"]"), "10-earlier.toml:3");
    assert_eq!(origin("test_addresses = [\"192.0.2.11/24\"]"), "m.toml:8");
    assert_eq!(origin("standby = true"), "10-earlier.toml:5");
    assert_eq!(origin("[groups.b.interfaces.eth2]"), "10-earlier.toml:7");
}

#[test]
fn errors_name_the_file_and_come_in_the_order_of_the_files() {
    let files = Files::new(
        "errors",
        Some("failback = 1\n[groups.a.interfaces.eth0]\ntest_addresses = [\"192.0.2.11/24\"]\n"),
        &[
            ("a.toml", "[groups.b.interfaces.eth0]\n[groups.b.interfaces.eth1]\n"),
            ("b.toml", "[groups.b.interfaces.eth1]\ntest_addresses = [\"192.0.2.11/24\"]\n"),
        ],
    );
    assert_eq!(
        files.errors(),
        [
            "m.toml:1:12: failback = 1: expected true or false".to_owned(),
            "m.d/a.toml:1:22: groups.b.interfaces.eth0: already in group a (m.toml:2:22); an \
             interface is in one group only"
                .to_owned(),
            "m.d/b.toml:2:19: groups.b.interfaces.eth1.test_addresses = \"192.0.2.11/24\": a test \
             address twice: m.toml:3:19 has it already; every interface needs one of its own"
                .to_owned(),
        ]
    );
}

/// What a file that is no TOML would have said is not missing elsewhere.
#[test]
fn a_broken_file_hides_no_error_of_another_and_makes_none() {
    let files = Files::new(
        "broken",
        Some("[groups.a]\nfailbak = true\n"),
        &[("a.toml", "[groups.a.interfaces.eth0\n")],
    );
    let errors = files.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("m.toml:2:1: groups.a.failbak = true: unknown key"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("m.d/a.toml:1:26: not TOML"), "{errors:?}");
}

#[test]
fn drop_ins_stand_without_a_main_file() {
    let files = Files::new("alone", None, &[("a.toml", "[groups.a.interfaces.eth0]\n")]);
    assert_eq!(files.load().engine.groups.len(), 1);
    let nothing = Files::new("nothing", None, &[]);
    assert_eq!(nothing.load().engine.groups, []);
    let absent = Path::new("/nonexistent/m.toml");
    assert_eq!(config::load(absent).unwrap().engine.groups, []);
}

#[test]
fn a_drop_in_that_cannot_be_read_is_an_error() {
    let files = Files::new("folder", Some(MAIN), &[]);
    fs::create_dir(files.0.join("m.d/x.toml")).unwrap();
    assert_eq!(files.errors(), ["m.d/x.toml:1:1: cannot be read: Is a directory (os error 21)"]);
}

#[test]
fn routes_of_a_drop_in_replace_those_of_the_group() {
    let routes = |drop_in: &str| {
        let main = format!("{MAIN}[[groups.a.routes]]\nto = \"default\"\nvia = \"192.0.2.1\"\n");
        let files = Files::new("routes", Some(&main), &[("a.toml", drop_in)]);
        let group = files.load().engine.groups.remove(0);
        group.routes.iter().map(|route| route.via.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(routes("[groups.a]\nfailback = true\n"), ["192.0.2.1"]);
    let other = "[groups.a]\nroutes = [{ to = \"default\", via = \"192.0.2.2\" }]\n";
    assert_eq!(routes(other), ["192.0.2.2"]);
    assert_eq!(routes("[groups.a]\nroutes = []\n"), [""; 0]);
}

/// Whatever else of the group the wrong value would have given is not reported as missing.
#[test]
fn a_wrong_value_in_a_drop_in_is_the_only_error_of_its_group() {
    let main = "[groups.a]\ndata_addresses = [\"192.0.2.50/24\"]\n";
    let files = Files::new("incomplete", Some(main), &[("a.toml", "[groups.a]\ninterfaces = 1\n")]);
    let errors = files.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("m.d/a.toml:2:14: groups.a.interfaces = 1: "), "{errors:?}");
}
