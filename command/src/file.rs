//! Files that people name on a command line: read up to a bound, and only where they end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::show;

/// Reads a file that somebody named. A pipe or a device has no end that is known before it is read,
/// and opening one may wait without end, so neither is opened.
///
/// # Errors
/// What the system says, that it is no file, or that it has more than `bytes_max`.
pub fn read_named(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    // Not by its length: that of a file of the system's own is 0, and others grow.
    let mut bounded = File::open(path)?.take(bytes_max as u64 + 1);
    bounded.read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let taken = show::show_bytes(bytes_max as u64);
        let text = format!("it has more than the {taken} that are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_named_file_is_read_up_to_its_bound_and_nothing_without_an_end_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_named(&path, 5).unwrap(), b"12345");
        let refused = read_named(&path, 4).unwrap_err().to_string();
        assert_eq!(refused, "it has more than the 4 B that are taken");
        let missing = read_named(&folder.path().join("missing"), 5).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for path in [folder.path(), &socket, Path::new("/dev/zero")] {
            let refused = read_named(path, 5).unwrap_err().to_string();
            assert_eq!(refused, "not a file", "{}", path.display());
        }
        // Its length says 0.
        let endless = read_named(Path::new("/proc/self/status"), 5);
        assert!(endless.is_err() || !Path::new("/proc/self/status").exists());
    }
}
