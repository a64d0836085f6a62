//! What is refused, and with which words. The cases are in `refusals.txt`:
//!
//! ```text
//! == theme (`whole` in it: the text is a whole file; else a minimal sound file is added below it)
//! the text
//! -- the messages, without the name of the file
//! line:column: key: what is wrong; what was expected
//! ```

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::{MINIMAL, load, parse};
use crate::config::ConfigError;
use crate::config::file::ROOT;
use crate::config::names::{Names, Shape};

/// Everything that is wrong with `text`, one a line, without the name of the file.
fn refusals(text: &str) -> String {
    let error = parse(text, Path::new("k.toml")).err().unwrap_or_else(|| panic!("it holds:\n{text}"));
    let lines: Vec<_> = error.to_string().lines().map(|line| line.replacen("k.toml:", "", 1)).collect();
    assert_eq!(lines.len(), error.problems().len());
    lines.join("\n")
}

#[test]
fn each_case_is_refused_with_its_place_key_and_words() {
    let mut seen = 0;
    for case in include_str!("refusals.txt").split("\n== ").skip(1) {
        let (theme, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("--\n").unwrap();
        let whole = if theme.contains("whole") { text.to_owned() } else { format!("{text}{MINIMAL}") };
        assert_eq!(refusals(&whole), expected.trim_end(), "{theme}:\n{text}");
        seen += 1;
    }
    assert!(seen > 100, "{seen} cases were found");
}

#[test]
fn a_problem_has_its_parts() {
    let text = format!("[server]\nthreads = -1\n{MINIMAL}");
    let error = parse(&text, Path::new("/etc/keygate.toml")).unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!((problem.line, problem.column, problem.key.as_str()), (2, 11, "server.threads"));
    assert_eq!(problem.file, Path::new("/etc/keygate.toml"));
    assert_eq!(problem.what, "-1 is out of range");
    assert_eq!(problem.expected, "expected a whole number from 0 to 1024");
    assert_eq!(error.to_string(), problem.to_string());
}

/// `value`, written where each setting is, alone in a file.
fn everywhere(value: &str) -> Vec<String> {
    fn under(names: &Names, value: &str) -> Vec<String> {
        let mut texts: Vec<String> = names.fields.iter().map(|name| format!("{name} = {value}")).collect();
        texts.extend(names.later.iter().map(|(name, _)| format!("{name} = {value}")));
        texts.push(format!("unknown = {value}"));
        for (name, shape, inner) in names.inner {
            for text in under(inner, value) {
                texts.push(match shape {
                    Shape::Table => format!("{name} = {{ {text} }}"),
                    Shape::Tables | Shape::TextsOrTables => format!("{name} = [{{ {text} }}]"),
                });
            }
        }
        texts
    }
    under(&ROOT, value)
}

#[test]
fn no_message_holds_a_secret_wherever_it_was_written() {
    let hex = "0123456789abcdef".repeat(4);
    let body = "Zz0".repeat(14) + "Z";
    let encoded = format!("kg_7_0123456789ab_{body}_{}", "0a1b2".repeat(8));
    let secrets =
        [hex, format!("kgs_7_{body}"), format!("kga_0123456789ab_{body}"), encoded, "u:swordfish@db".to_owned()];
    for secret in &secrets {
        for value in
            [format!("\"{secret}\""), secret.clone(), format!("[\"{secret}\"]"), format!("{{ x = \"{secret}\" }}")]
        {
            for text in everywhere(&value) {
                if let Err(e) = parse(&text, Path::new("k.toml")) {
                    assert!(!format!("{e} {e:?}").contains(secret.as_str()), "{text}\n{e}");
                }
            }
        }
        let name = format!("[server]\n\"{secret}\" = 1\n[\"{secret}\"]\nx = 1\n");
        assert!(!refusals(&name).contains(secret.as_str()));
    }
    for value in ["\"sword fish 1\"", "[\"sword fish 1\"]", "{ x = \"sword fish 1\" }", "sword fish 1"] {
        for name in ["master_key_file", "master_key_env", "master_key_credential", "master_key", "unknown"] {
            let text = format!("[secrets]\n{name} = {value}\n");
            assert!(!refusals(&text).contains("fish"), "{text}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_says_how_to_make_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keygate.toml");
    let error = load(&file).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{}: there is no such file; expected a configuration: `keygate init` makes one, `--config FILE` names \
             another",
            file.display()
        )
    );
    let error = load(directory.path()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
}

#[test]
fn a_file_has_at_most_a_mebibyte() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let rest = 1024 * 1024 - MINIMAL.len();
    write!(file, "{MINIMAL}{}", "#".repeat(rest)).unwrap();
    load(file.path()).unwrap();
    file.write_all("ä".as_bytes()).unwrap();
    let error = load(file.path()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(matches!(parse(&text, file.path()), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn a_file_that_is_no_text_says_where() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[log]\nlevel = \"\xff\"\n").unwrap();
    let error = load(file.path()).unwrap_err();
    let expected = format!("{}:2:10: log.level: is not UTF-8; expected UTF-8 text", file.path().display());
    assert_eq!(error.to_string(), expected);
}
