//! Programs that check keygate and are no part of it: `.ci/install.sh test` puts them into `target/tools`, in the
//! versions that tests/tools names.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A place in `target/tools`, which must be there.
fn installed(place: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(place);
    assert!(path.exists(), "{} is not there: run .ci/install.sh test", path.display());
    path
}

/// The source of axe-core, which is run in a page.
pub fn axe() -> String {
    let path = installed("npm/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("axe-core")
}

/// The linter of OpenAPI documents, told where its library is; the document's path is the next argument.
pub fn openapi_linter() -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/lint_openapi.mjs"));
    command.arg(installed("npm"));
    command
}

pub fn schemathesis() -> Command {
    Command::new(installed("python/bin/schemathesis"))
}

/// A file for people to look at; `folder` is one of `target`.
pub fn artefact(folder: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(folder);
    std::fs::create_dir_all(&folder).expect("a folder in target");
    folder.join(name)
}

/// Python with the libraries of tests/tools/requirements.txt, and with nothing of this process's proxies.
pub fn python() -> Command {
    without_proxies(Command::new(installed("python/bin/python")))
}

/// Node.js in a directory where scripts find the libraries of tests/tools/package.json.
pub fn node(directory: &Path) -> Command {
    let link = directory.join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(installed("npm/node_modules"), link).expect("a link");
    }
    let mut command = without_proxies(Command::new("node"));
    command.current_dir(directory);
    command
}

/// What is asked for is on this machine.
pub fn without_proxies(mut command: Command) -> Command {
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// A file of tests/tools.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(name)
}
