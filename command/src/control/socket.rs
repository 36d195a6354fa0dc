//! The socket of a data folder, however long the folder's name.
//!
//! A socket's path ends at 107 bytes on Linux. A longer one is reached through a folder that this
//! process has open, `/proc/self/fd/N/control.sock`: the same socket, so the two sides need not
//! agree on a second place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::limits::SOCKET_PATH_BYTES_MAX;

pub(super) const SOCKET_FILE: &str = "control.sock";

/// Listens in `dir`, whose lock the caller holds, so a socket found there is stale.
pub(super) fn bind(dir: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(dir.join(SOCKET_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = with_short_path(dir, |path| UnixListener::bind(path))?;
    // Until here the folder's own 0700 keeps others out.
    fs::set_permissions(dir.join(SOCKET_FILE), Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to whoever listens in `dir`.
pub(super) fn connect(dir: &Path) -> io::Result<UnixStream> {
    with_short_path(dir, |path| UnixStream::connect(path))
}

fn with_short_path<T>(dir: &Path, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(SOCKET_FILE);
    if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return act(&path);
    }
    let folder = File::open(dir)?;
    let short = format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd());
    act(Path::new(&short))
}
