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
    assert!(
        said.contains("may be lost: 'bukti status' says what"),
        "{said}"
    );
}

/// What its server lost is in there alone, and nobody can read whether it lost something.
#[test]
fn a_damaged_store_is_kept_for_ever_and_named_wherever_the_folder_is_enrolled() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    server.pass_on(&ani, &[]);
    let names = |count: usize| (1..=count).map(|number| format!("store.damaged-{number}"));
    for count in 1..=5 {
        fs::write(ani.folder.join("store/damaged.txt"), "a page is gone").unwrap();
        assert_eq!(ani.json("status")["findings"], count);
        assert!(names(count).all(|name| ani.folder.join(name).is_dir()));
    }
    let status = ani.json("status");
    assert_eq!(status["may_be_lost"], 0);
    assert_eq!(status["found"][0]["code"], "store-damaged");
    let status = ani.text("status");
    assert!(
        status.contains("what it lost may be nowhere else"),
        "{status}"
    );
    let said = ani.enrol(&elsewhere::another(), false);
    assert!(names(5).all(|name| said.contains(&name)), "{said}");
    assert!(names(5).all(|name| ani.folder.join(name).is_dir()));
}

#[test]
fn a_damaged_beginning_of_unsent_work_is_not_called_a_missing_folder() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    spoil(&ani.segment());
    for typed in ["status", "evidence list", "quarantine list"] {
        let reply = ani.bukti(typed);
        let said = &reply.stderr;
        assert_eq!(
            (reply.exit, said.lines().count()),
            (Exit::Failed, 1),
            "{said}"
        );
        assert!(
            said.contains("0000000001.seg at byte 112") && said.contains("tail/damaged-1-1-112-1-"),
            "{said}"
        );
    }
}

#[test]
fn a_missing_folder_of_unsent_work_says_what_to_do_and_is_told_after_enrolling_again() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    server.pass_on(&ani, &[]);
    ani.new_evidence(&format!("{PERDES} --cycle 2026"));
    fs::remove_dir_all(ani.folder.join("tail")).unwrap();
    let reply = ani.bukti("status");
    assert_eq!(reply.exit, Exit::Failed, "{reply:?}");
    assert!(
        reply.stderr.contains("'tail', is missing") && reply.stderr.contains("'bukti enrol LINK'"),
        "{reply:?}"
    );
    let said = ani.enrol(&server, false);
    assert!(
        said.contains("edits that were kept there are lost"),
        "{said}"
    );
    for is_done in [false, true] {
        let status = ani.json("status");
        assert_eq!(status["may_be_lost"], usize::from(!is_done));
        assert_eq!(status["findings"], usize::from(!is_done));
        assert_eq!(status["documents"], 1);
        if !is_done {
            assert_eq!(status["found"][0]["code"], "tail-missing");
            fs::remove_file(ani.folder.join("tail.missing")).unwrap();
        }
    }

    // What an ordinary new link finds is whole.
    ani.enrol(&server, false);
    assert_eq!(ani.json("status")["findings"], 0);
}

#[test]
fn damage_before_the_end_of_unsent_work_stops_with_the_place() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    let mut bytes = fs::read(ani.segment()).unwrap();
    bytes[200] ^= 1;
    fs::write(ani.segment(), bytes).unwrap();
    let reply = ani.bukti("status");
    assert_eq!(reply.exit, Exit::Failed);
    assert!(
        reply.stderr.contains("0000000001.seg at byte 112"),
        "{}",
        reply.stderr
    );
}

#[test]
fn a_damaged_file_in_quarantine_stops_no_command() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    ani.refuse("The device was not allowed to.");
    let mut files = fs::read_dir(ani.folder.join("quarantine")).unwrap();
    spoil(&files.next().unwrap().unwrap().path());
    assert_eq!(
        ani.json("quarantine list")["quarantine"],
        serde_json::json!([])
    );
    ani.new_evidence(PERDES);
    let status = ani.text("status");
    assert!(
        status.contains("quarantine-damaged: Edits that the server had refused"),
        "{status}"
    );
}
