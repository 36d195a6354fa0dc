//! What people are told of files of their data folder that a disk changed.

use super::*;

/// Flips the last bit that is set in a file.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[last] ^= 1 << bytes[last].trailing_zeros();
    fs::write(path, bytes).unwrap();
}

impl Person {
    /// The only segment of unsent work.
    fn segment(&self) -> PathBuf {
        self.folder
            .join("tail")
            .join(bukti_core::journal::segment_name(1))
    }
}

#[test]
fn status_and_sync_say_that_work_may_be_lost_and_name_the_file() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    spoil(&ani.segment());
    let status = ani.text("status");
    assert!(status.contains("Findings      1: see below"), "{status}");
    assert!(
        status.contains("  damaged-end: An edit that was kept here may be lost")
            && status.contains("tail/damaged-"),
        "{status}"
    );
    let found = ani.json("status");
    assert_eq!(found["may_be_lost"], 1);
    let place = found["found"][0]["place"].as_str().unwrap();
    assert!(ani.folder.join(place).is_file(), "{place}");

    let mut device = folder::open(&ani.folder).unwrap();
    let mut summary = sync::Summary::starting_from(&device);
    summary.stand(&device.status().unwrap());
    let said = summary.reply(false).stdout;
    assert!(!said.contains("Nothing waits."), "{said}");
    assert!(said.contains("may be lost: 'bukti status' names"), "{said}");
}
