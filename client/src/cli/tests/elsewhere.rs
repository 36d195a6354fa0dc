//! Folders that another server's link is opened in, and what becomes of the first one's evidence.

use bukti_core::kv::{KvFault, MemoryKv};

use super::*;

/// A server that was founded with a key of its own.
pub(super) fn another() -> Server {
    Server {
        key: SigningKey::from_bytes(&[4; 32]),
        journal: JournalId([8; 16]),
        ..Server::new()
    }
}

impl Person {
    /// Opens a link of `server` in the folder; answers what is said.
    pub(super) fn enrol(&self, server: &Server, json: bool) -> String {
        let link = InvitationLink {
            url: "https://other.example".into(),
            secret: [2; 16],
            server: server.id(),
        };
        let folders = Folders::on_disk(&self.folder).unwrap();
        let applicant = Applicant::open(folders, &link, [7; 32]).unwrap();
        let store = folder::store(&self.folder).unwrap();
        applicant.check(&store).unwrap();
        let enrolment = server.enrolment(self.device, "Ani", &[(Role::Officer, VILLAGE)]);
        let device = enrol::finish(&self.folder, applicant, store, &enrolment).unwrap();
        enrol::answer(&device, json).unwrap().stdout
    }

    /// What stands in the files of a store that was put aside.
    fn put_aside(&self, number: u64) -> Vec<u8> {
        let store = self.folder.join(format!("store.other-{number}"));
        let files = fs::read_dir(store).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files
            .filter(|path| path.is_file())
            .flat_map(|path| fs::read(path).unwrap())
            .collect()
    }

    fn titles(&self) -> usize {
        let listed = self.json("evidence list");
        listed["evidence"].as_array().unwrap().len()
    }
}

#[test]
fn what_another_servers_link_finds_in_a_folder_is_put_aside_and_named() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    server.pass_on(&ani, &[]);
    let said = ani.enrol(&another(), false);
    assert!(said.contains("put aside as store.other-1"), "{said}");
    assert!(!ani.put_aside(1).is_empty());
    assert_eq!(ani.titles(), 0);
    let status = ani.text("status");
    assert!(
        status.contains("  store-set-aside: Evidence of another server"),
        "{status}"
    );
    assert_eq!(ani.json("status")["may_be_lost"], 0);

    // Back to the first, and so on: each is kept under a name of its own.
    let first = ani.put_aside(1);
    let mut other = another();
    other.deliver_facts(&ani);
    ani.new_evidence(PERDES);
    other.pass_on(&ani, &[]);
    fs::create_dir(ani.folder.join("store.other-02")).unwrap();
    let said: Value = serde_json::from_str(&ani.enrol(&server, true)).unwrap();
    let found = said["found"].as_array().unwrap().iter();
    let places: Vec<_> = found.map(|finding| finding["place"].as_str()).collect();
    let expected = ["store.other-02", "store.other-1", "store.other-3"];
    assert_eq!(places, expected.map(Some));
    assert_eq!(ani.put_aside(1), first);
}

/// Whether the first server lacks something is looked at once more, behind the use of the invitation.
#[test]
fn a_folder_whose_store_is_not_read_stays_the_first_servers_and_is_not_called_enrolled() {
    let ani = Server::new().officer("Ani");
    let other = another();
    let link = InvitationLink {
        url: "https://other.example".into(),
        secret: [2; 16],
        server: other.id(),
    };
    let identity = || fs::read(ani.folder.join("identity.cbor")).unwrap();
    let before = identity();
    let folders = Folders::on_disk(&ani.folder).unwrap();
    let applicant = Applicant::open(folders, &link, [7; 32]).unwrap();
    let store = MemoryKv::new();
    store.fail_at(1, KvFault::Io);
    let enrolment = other.enrolment(ani.device, "Ani", &[(Role::Officer, VILLAGE)]);
    let finished = enrol::finish(&ani.folder, applicant, store, &enrolment);
    assert!(matches!(finished, Err(Failure::Failed(_))), "{finished:?}");
    assert_eq!(identity(), before);
}

/// The store is renamed before another one is begun, and either may be where a process ends.
#[test]
fn a_process_that_ends_while_a_store_is_put_aside_leaves_it_to_the_next() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    ani.new_evidence(PERDES);
    server.pass_on(&ani, &[]);
    let store = ani.folder.join("store");
    let kept = ani.folder.join("kept");
    fs::rename(&store, &kept).unwrap();
    ani.enrol(&another(), false);
    // As if it had ended once the identity was written.
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&kept, &store).unwrap();
    assert_eq!(ani.titles(), 0);
    assert!(!ani.put_aside(1).is_empty());
    // And once the store had its other name.
    fs::remove_dir_all(&store).unwrap();
    assert_eq!(ani.titles(), 0);
    assert_eq!(ani.json("status")["findings"], 1);
}

#[test]
fn a_store_of_another_journal_of_the_server_is_put_aside_by_any_command() {
    let mut server = Server::new();
    let ani = server.officer("Ani");
    let identity = fs::read(ani.folder.join("identity.cbor")).unwrap();
    // The server is founded anew, and then a copy of the identity of before is put back.
    server.journal = JournalId([8; 16]);
    ani.enrol(&server, false);
    ani.new_evidence(PERDES);
    server.pass_on(&ani, &[]);
    fs::write(ani.folder.join("identity.cbor"), identity).unwrap();
    assert_eq!(ani.titles(), 0);
    assert!(!ani.put_aside(1).is_empty());
}
