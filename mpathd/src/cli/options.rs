//! Options as getopt(3) takes them: letters may stand together, a value may stand behind its letter
//! or be the next word, `--` ends them. Long ones are `--name`, `--name VALUE` or `--name=VALUE`.

use std::path::PathBuf;

/// Where the socket and the state are unless told otherwise.
pub const RUN_DIR: &str = "/run/mpathd";
/// Names another one.
pub const RUN_DIR_VARIABLE: &str = "MPATHD_RUN_DIR";

/// The directory to use if no `--run-dir` is given.
pub fn default_run_dir() -> PathBuf {
    std::env::var_os(RUN_DIR_VARIABLE)
        .filter(|dir| !dir.is_empty())
        .unwrap_or(RUN_DIR.into())
        .into()
}

/// The command line without the name of the program; what is no text can't be a name of ours.
pub fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned())
}

/// Which options there are. A letter or name followed by `:` takes a value, as for getopt(3).
#[derive(Clone, Copy)]
pub struct Known {
    pub letters: &'static str,
    pub long: &'static [&'static str],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opt {
    Short(char, String),
    Long(&'static str, String),
    Operand(String),
}

/// Not an option, or one without its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    #[error("unknown option `{0}'")]
    Unknown(String),
    #[error("option `{0}' needs a value")]
    NoValue(String),
    #[error("option `{0}' takes no value")]
    NeedlessValue(String),
}

/// All options and operands in their order; a flag's value is empty.
///
/// # Errors
/// At the first that is not known.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    known: Known,
) -> Result<Vec<Opt>, BadOption> {
    let mut arguments = arguments.into_iter();
    let mut found = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            found.extend(arguments.by_ref().map(Opt::Operand));
        } else if let Some(long) = argument.strip_prefix("--") {
            found.push(long_option(long, known, &mut arguments)?);
        } else if let Some(letters) = argument.strip_prefix('-').filter(|l| !l.is_empty()) {
            short_options(letters, known, &mut arguments, &mut found)?;
        } else {
            found.push(Opt::Operand(argument));
        }
    }
    Ok(found)
}

fn long_option(
    text: &str,
    known: Known,
    rest: &mut impl Iterator<Item = String>,
) -> Result<Opt, BadOption> {
    let (name, inline) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let shown = || format!("--{name}");
    let entry = known.long.iter().find(|entry| entry.trim_end_matches(':') == name);
    let entry = *entry.ok_or_else(|| BadOption::Unknown(shown()))?;
    let value = match (entry.strip_suffix(':'), inline) {
        (None, None) => String::new(),
        (None, Some(_)) => return Err(BadOption::NeedlessValue(shown())),
        (Some(_), inline) => {
            inline.or_else(|| rest.next()).ok_or_else(|| BadOption::NoValue(shown()))?
        }
    };
    Ok(Opt::Long(entry.trim_end_matches(':'), value))
}

fn short_options(
    letters: &str,
    known: Known,
    rest: &mut impl Iterator<Item = String>,
    found: &mut Vec<Opt>,
) -> Result<(), BadOption> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let shown = || format!("-{letter}");
        let at = known.letters.find(letter).filter(|_| letter != ':');
        let at = at.ok_or_else(|| BadOption::Unknown(shown()))?;
        if !known.letters[at + letter.len_utf8()..].starts_with(':') {
            found.push(Opt::Short(letter, String::new()));
            continue;
        }
        let value = match letters.as_str() {
            "" => rest.next().ok_or_else(|| BadOption::NoValue(shown()))?,
            joined => joined.to_owned(),
        };
        found.push(Opt::Short(letter, value));
        break;
    }
    Ok(())
}
