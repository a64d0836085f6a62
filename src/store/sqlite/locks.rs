//! Lock files beside the database: proof that a node's process is alive or gone.
//!
//! `<database>.nodes/<incarnation>.lock` is locked exclusively for as long as the process lives; the kernel
//! releases it however the process ends. Called by `fleet`.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::super::NodeLocks;

/// The lock files of one store.
#[derive(Debug)]
pub struct SqliteNodeLocks {
    directory: PathBuf,
    /// By incarnation. Closing one would release its lock.
    held: Mutex<HashMap<String, File>>,
}

impl SqliteNodeLocks {
    /// The locks of the store at this path. Make it after the store: symbolic links are followed, so that processes
    /// that name the file differently still meet in one directory.
    #[must_use]
    pub fn new(db_path: &Path) -> Self {
        let path = fs::canonicalize(db_path).unwrap_or_else(|_| db_path.to_owned());
        let mut directory = path.into_os_string();
        directory.push(".nodes");
        Self { directory: PathBuf::from(directory), held: Mutex::default() }
    }

    /// `None` for what could name a file elsewhere: incarnations come out of the database.
    fn file(&self, incarnation: &str) -> Option<PathBuf> {
        let plain = !incarnation.is_empty() && incarnation.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| self.directory.join(format!("{incarnation}.lock")))
    }
}

impl NodeLocks for SqliteNodeLocks {
    /// Must succeed before the node's row is written: a row without a lock file is taken for a gone process.
    fn hold(&self, incarnation: &str) -> io::Result<()> {
        let path = self.file(incarnation).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock()?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(incarnation.to_owned(), file);
        Ok(())
    }

    fn surely_gone(&self, incarnation: &str) -> bool {
        let Some(path) = self.file(incarnation) else { return false };
        match File::open(path) {
            // Shared, so that two revokers who ask at once do not take each other for the node.
            Ok(file) => file.try_lock_shared().is_ok(),
            // The file is made before the row, so a process whose file is missing has ended and was forgotten. When
            // the whole directory is missing, nothing is known.
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.directory.is_dir(),
            Err(_) => false,
        }
    }

    fn forget(&self, incarnation: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(incarnation);
        if let Some(path) = self.file(incarnation) {
            // What stays behind is an empty file that nobody asks for again.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_the_process_ends() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("keygate.db");
        fs::write(&db, "").unwrap();
        let (node, revoker) = (SqliteNodeLocks::new(&db), SqliteNodeLocks::new(&db));
        assert!(!revoker.surely_gone("a1"), "without a directory nothing is known");
        node.hold("a1").unwrap();
        assert!(node.hold("a1").is_err(), "one holder only");
        assert!(!revoker.surely_gone("a1") && !node.surely_gone("a1"));
        assert!(revoker.surely_gone("b2"), "no file, no process");
        // The kernel does at the end of a process what this drop does.
        drop(node);
        assert!(revoker.surely_gone("a1"));
        assert!(revoker.surely_gone("a1"), "asking changes nothing");
        revoker.forget("a1");
        assert_eq!(fs::read_dir(dir.path().join("keygate.db.nodes")).unwrap().count(), 0);
        assert!(revoker.surely_gone("a1"));
    }

    #[test]
    fn another_name_of_the_file_is_the_same_store() {
        let dir = tempfile::tempdir().unwrap();
        let (db, link) = (dir.path().join("keygate.db"), dir.path().join("link.db"));
        fs::write(&db, "").unwrap();
        std::os::unix::fs::symlink(&db, &link).unwrap();
        let (node, revoker) = (SqliteNodeLocks::new(&link), SqliteNodeLocks::new(&db));
        node.hold("a1").unwrap();
        assert!(!revoker.surely_gone("a1"));
    }

    #[test]
    fn names_of_files_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let locks = SqliteNodeLocks::new(&dir.path().join("keygate.db"));
        locks.hold("a1").unwrap();
        fs::write(dir.path().join("x.lock"), "").unwrap();
        assert!(locks.hold("../x").is_err());
        assert!(!locks.surely_gone("../x"));
        locks.forget("../x");
        assert!(dir.path().join("x.lock").exists());
    }
}
