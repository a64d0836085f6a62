//! Asking people: for a yes, and for secrets. Questions go to the terminal, never into the output.

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::Usage;
use super::context::Environment;
use super::output::clean;

/// More than any credential has; what is longer is not one.
const LONGEST: u64 = 64 * 1024;

/// Asks before something that cannot be undone. `yes` is `--yes`.
///
/// # Errors
/// [`Usage`] when nobody can be asked and `--yes` was not given; an error when the answer is no.
pub(super) fn confirm(environment: &Environment, yes: bool, question: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !environment.is_interactive() {
        return Err(Usage("this needs --yes where there is no terminal to ask on".to_owned()).into());
    }
    let mut err = io::stderr().lock();
    write!(err, "{} [y/N] ", clean(question)).and_then(|()| err.flush()).context("cannot ask on the terminal")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if is_yes(&answer) { Ok(()) } else { bail!("not confirmed; nothing was changed") }
}

fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

/// A secret from a file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is not text or is too long.
pub(super) fn secret_from_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    if path == Path::new("-") {
        return secret_from_stdin();
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    read_secret(file).with_context(|| format!("cannot read {}", path.display()))
}

/// A secret from standard input, all of it.
///
/// # Errors
/// When it cannot be read, is not text or is too long.
pub(super) fn secret_from_stdin() -> anyhow::Result<Zeroizing<String>> {
    read_secret(io::stdin().lock()).context("cannot read standard input")
}

/// A secret typed at the terminal, unseen.
///
/// # Errors
/// When there is no terminal.
pub(super) fn secret_from_terminal(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let text = rpassword::prompt_password(format!("{question}: ")).map(Zeroizing::new);
    let text = text.context("cannot ask on the terminal")?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn read_secret(from: impl Read) -> anyhow::Result<Zeroizing<String>> {
    // As large as it can get, so that nothing of a secret stays behind in a buffer that was outgrown.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(LONGEST)? + 1));
    from.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        bail!("it is longer than any credential");
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y", " yes \n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "yep", "y y"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn secrets_are_read_without_their_line_end() {
        assert_eq!(read_secret(&b" kga_x\r\n"[..]).unwrap().as_str(), "kga_x");
        assert!(read_secret(&vec![b'a'; 70_000][..]).is_err());
        assert!(read_secret(&b"\xff"[..]).is_err());
    }
}
