//! Where the master key comes from, and how its file is made and replaced.
//!
//! During a rotation there are two keys: the file and, beside it, `<file>.new`. The store's transaction decides
//! which of them is in force, as sealed bytes name the key that sealed them; so whoever loads the master key loads
//! both, and a process that dies between any two steps of a rotation leaves a gateway that works.
//!
//! Called by `cli` and `app`, which pass the environment in.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::resolved::Secrets;
use crate::store::seal::{MasterKey, Purpose, SealError};

/// Environment variable that holds the master key; it wins over what the configuration says.
pub const VARIABLE: &str = "KEYGATE_MASTER_KEY";

/// Why there is no usable master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file is not there.
    #[error("there is no master key file at {0}; `keygate init` makes one")]
    Missing(PathBuf),
    /// The file is not there, and a store is that needs it.
    #[error(
        "there is no master key file at {0}, and there is a store whose secrets are sealed with it: put it back from \
         its backup; if it is lost for good, run `keygate master-key replace-lost`"
    )]
    Lost(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot {0} the master key file {1}")]
    File(&'static str, PathBuf, #[source] io::Error),
    /// Others than its owner could read it.
    #[error("the master key file {0} can be read by others (mode {1:04o}); run: chmod 600 {0}")]
    Readable(PathBuf, u32),
    /// The environment variable is not set.
    #[error("the environment variable {0}, which should hold the master key, is not set")]
    Unset(String),
    /// systemd gave no credentials.
    #[error("the master key should be systemd credential {0}, but CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    /// What is there is no master key.
    #[error("{0} holds no master key (64 hexadecimal digits)")]
    Malformed(String),
    /// It does not open what it should open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There was no master key to be had, and now one is needed.
    #[error("the shared secret cannot be opened: {0}")]
    Unavailable(String),
}

/// Where a master key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of mode 0600.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A file that systemd made readable for this service alone.
    Credential(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Credential(path) => write!(f, "the systemd credential {}", path.display()),
        }
    }
}

/// The master keys at hand: one, or two when a rotation was interrupted.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    keys: Vec<Arc<MasterKey>>,
    /// Why there is none.
    missing: Option<Arc<str>>,
    /// Where they were read, to be read again when none of them opens something: after a rotation, which a running
    /// node hears of only so.
    file: Option<PathBuf>,
}

impl MasterKeys {
    /// Just this one.
    #[must_use]
    pub fn of(key: MasterKey) -> Self {
        Self { keys: vec![Arc::new(key)], missing: None, file: None }
    }

    /// None. Opening anything fails and tells this reason; changes that open nothing (disable, delete) still work.
    #[must_use]
    pub fn unavailable(reason: &MasterKeyError) -> Self {
        Self { keys: Vec::new(), missing: Some(reason.to_string().into()), file: None }
    }

    /// These and one more.
    #[must_use]
    pub fn with(&self, key: &MasterKey) -> Self {
        let mut all = self.clone();
        if let Ok(copy) = MasterKey::parse(&key.expose_hex()) {
            all.keys.push(Arc::new(copy));
        }
        all
    }

    /// The configured one: what a new store's secrets are sealed with.
    ///
    /// # Errors
    /// [`MasterKeyError::Unavailable`].
    pub fn configured(&self) -> Result<&Arc<MasterKey>, MasterKeyError> {
        let reason = || self.missing.as_deref().unwrap_or("no master key was given").to_owned();
        self.keys.first().ok_or_else(|| MasterKeyError::Unavailable(reason()))
    }

    /// Opens sealed bytes with the key that they name; gives that key too. Reads the key's file again when it must.
    ///
    /// # Errors
    /// [`MasterKeyError::Seal`]: sealed by no key at hand, or altered. [`MasterKeyError::Unavailable`].
    pub fn open_sealed(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<(Zeroizing<Vec<u8>>, Arc<MasterKey>), MasterKeyError> {
        let opened = self.open_with_known(sealed, store_id, purpose, version);
        if let Err(MasterKeyError::Seal(SealError::OtherMasterKey { .. })) = &opened
            && let Some(file) = &self.file
            && let Ok(newer) = load(&Source::File(file.clone()), &|_| None)
        {
            return newer.open_with_known(sealed, store_id, purpose, version);
        }
        opened
    }

    fn open_with_known(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<(Zeroizing<Vec<u8>>, Arc<MasterKey>), MasterKeyError> {
        let mut refusal = None;
        for key in &self.keys {
            match key.open(sealed, store_id, purpose, version) {
                Ok(plain) => return Ok((plain, Arc::clone(key))),
                // The configured key comes first, and is the one to name.
                Err(other @ SealError::OtherMasterKey { .. }) => refusal = refusal.or(Some(other)),
                Err(altered) => return Err(altered.into()),
            }
        }
        self.configured()?;
        Err(refusal.unwrap_or(SealError::Altered).into())
    }
}

/// Where the master key is: [`VARIABLE`] if it is set, else what the configuration says.
///
/// # Errors
/// [`MasterKeyError::NoCredentials`].
pub fn source(secrets: &Secrets, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Source, MasterKeyError> {
    if variable(VARIABLE).is_some() {
        return Ok(Source::Variable(VARIABLE.to_owned()));
    }
    match secrets {
        Secrets::File(path) => Ok(Source::File(path.clone())),
        Secrets::Environment(name) => Ok(Source::Variable(name.clone())),
        Secrets::Credential(name) => variable("CREDENTIALS_DIRECTORY")
            .map(|directory| Source::Credential(Path::new(&directory).join(name)))
            .ok_or_else(|| MasterKeyError::NoCredentials(name.clone())),
    }
}

/// Reads the master key, and the one of an interrupted rotation beside it.
///
/// # Errors
/// When the first is missing, readable by others or no master key.
pub fn load(source: &Source, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<MasterKeys, MasterKeyError> {
    match source {
        Source::Variable(name) => {
            let value = variable(name).ok_or_else(|| MasterKeyError::Unset(name.clone()))?;
            let text = Zeroizing::new(value.to_string_lossy().into_owned());
            MasterKey::parse(&text).map(MasterKeys::of).map_err(|_| MasterKeyError::Malformed(source.to_string()))
        }
        Source::Credential(path) => read_key(path).map(MasterKeys::of),
        Source::File(path) => {
            check_mode(path)?;
            let mut keys = MasterKeys::of(read_key(path)?);
            keys.file = Some(path.clone());
            // One that is not whole was never in force: it is synced before the store is told of it.
            let pending = pending_path(path);
            if check_mode(&pending).is_ok()
                && let Ok(key) = read_key(&pending)
            {
                keys.keys.push(Arc::new(key));
            }
            Ok(keys)
        }
    }
}

/// Reads one key from one file.
///
/// # Errors
/// When the file is missing, unreadable or holds no master key.
pub fn read_key(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => MasterKeyError::Missing(path.to_owned()),
        _ => MasterKeyError::File("read", path.to_owned(), e),
    })?;
    MasterKey::parse(&text).map_err(|_| MasterKeyError::Malformed(format!("the file {}", path.display())))
}

fn check_mode(path: &Path) -> Result<(), MasterKeyError> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(MasterKeyError::Missing(path.to_owned())),
        Err(e) => return Err(MasterKeyError::File("read", path.to_owned(), e)),
    };
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Readable(path.to_owned(), mode));
    }
    Ok(())
}

/// `<file>.new`: the key of a rotation under way.
#[must_use]
pub fn pending_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
    name.push(".new");
    path.with_file_name(name)
}

/// Writes a new key file, 0600 from the start, on disk when this returns. Never replaces one.
///
/// # Errors
/// When there is a file already, or it cannot be written.
pub fn create(path: &Path, key: &MasterKey) -> Result<(), MasterKeyError> {
    let failed = |e| MasterKeyError::File("make", path.to_owned(), e);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    // The umask can only have taken bits away, the owner's too.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    let mut text = key.expose_hex();
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_directory(path).map_err(failed)
}

/// Puts the pending key in the place of the file: the last step of a rotation.
///
/// # Errors
/// When the file system refuses.
pub fn promote(path: &Path) -> Result<(), MasterKeyError> {
    let failed = |e| MasterKeyError::File("replace", path.to_owned(), e);
    fs::rename(pending_path(path), path).map_err(failed)?;
    sync_directory(path).map_err(failed)
}

/// Makes the names in a file's directory last.
///
/// # Errors
/// When the directory cannot be synced.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
