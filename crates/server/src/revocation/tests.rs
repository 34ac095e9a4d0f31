use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::audit::Event;
use portcullis_core::ids::{ClientId, Issuer, RevocationId};
use portcullis_core::revocation::{By, Claim, Entry, Extent, Reason, Revoked, Target};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::recorder::{Durability, Recorder, Recording};
use portcullis_net::clock::{Clock, System};

use super::*;
use crate::custody::tests::postgres::Postgres;
use crate::store::RevocationLog;

const LONGEST: Lifetime = Lifetime::from_hours(1);

#[derive(Default)]
struct Memory(Mutex<Vec<serde_json::Value>>);

impl Recorder for Memory {
    fn record<'a>(&'a self, event: Event, _: Durability) -> Recording<'a> {
        let mut events = self.0.lock().unwrap();
        events.push(serde_json::to_value(event).unwrap());
        let seq = events.len() as u64;
        Box::pin(async move { Ok(seq) })
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("portcullis-revocation-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.0.join(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn follower(folder: &Folder, store: &str, audit: &str) -> (Arc<Follower>, Arc<Memory>) {
    let memory = Arc::<Memory>::default();
    let audit = folder.0.join(audit);
    std::fs::create_dir_all(&audit).unwrap();
    let settings = Settings {
        log: RevocationLog::open(&folder.url(store)).unwrap(),
        audit,
        recorder: Arc::<Memory>::clone(&memory),
        clock: Arc::new(System),
    };
    (
        Follower::open(settings, std::collections::BTreeSet::new()).unwrap(),
        memory,
    )
}

fn agent(id: &str, client: &str) -> Entry {
    let target = Target::Agent {
        issuer: Issuer::parse("https://as.example").unwrap(),
        client: ClientId::parse(client).unwrap(),
        extent: Extent::UntilLifted,
    };
    let (id, reason) = (RevocationId::parse(id).unwrap(), Reason::parse("a test").unwrap());
    Entry::Revoke(target.revoked(id, System.now(), LONGEST, reason, By::Operator))
}

fn judged(follower: &Follower, client: &str) -> Option<Revoked> {
    follower
        .revocations()
        .judge(&Claim {
            issuer: &Issuer::parse("https://as.example").unwrap(),
            subject: &portcullis_core::ids::Subject::parse("ada").unwrap(),
            client: &ClientId::parse(client).unwrap(),
            token: None,
            grant: None,
            issued: UnixTime::from_secs(0),
            server: None,
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_adds_the_other_reads_and_each_records_it_once() {
    let folder = Folder::new();
    let (one, first) = follower(&folder, "store.db", "one");
    let (two, second) = follower(&folder, "store.db", "two");
    one.add(|| agent("r-1", "agent-1")).unwrap();
    assert_eq!(
        judged(&one, "agent-1"),
        Some(Revoked::Agent),
        "at once where it is added"
    );
    assert_eq!(judged(&two, "agent-1"), None);
    two.look().unwrap();
    assert_eq!(judged(&two, "agent-1"), Some(Revoked::Agent));
    // The same entry a second time changes nothing.
    two.add(|| agent("r-1", "agent-1")).unwrap();
    for follower in [&one, &two] {
        for _ in 0..2 {
            follower.look().unwrap();
            follower.record().await.unwrap();
        }
    }
    for memory in [first, second] {
        let events = memory.0.lock().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(
            (&events[0]["kind"], &events[0]["id"]),
            (&"revocation".into(), &"r-1".into())
        );
    }
    assert_eq!(one.log().count().unwrap(), 1);
    // What is noted is not recorded by the next start.
    let (again, memory) = follower(&folder, "store.db", "one");
    again.record().await.unwrap();
    assert!(memory.0.lock().unwrap().is_empty());
    assert_eq!(judged(&again, "agent-1"), Some(Revoked::Agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_page_is_read_at_once() {
    let folder = Folder::new();
    let (one, _) = follower(&folder, "store.db", "one");
    let (two, _) = follower(&folder, "store.db", "two");
    for number in 0..1_001 {
        one.add(move || agent(&format!("r-{number}"), &format!("agent-{number}")))
            .unwrap();
    }
    two.look().unwrap();
    for client in ["agent-0", "agent-999", "agent-1000"] {
        assert_eq!(judged(&two, client), Some(Revoked::Agent), "{client}");
    }
    let (three, _) = follower(&folder, "store.db", "three");
    assert_eq!(judged(&three, "agent-1000"), Some(Revoked::Agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_in_the_same_place_gets_back_what_it_lacks() {
    let folder = Folder::new();
    let (one, memory) = follower(&folder, "store.db", "one");
    for number in 1..=3 {
        one.add(move || agent(&format!("r-{number}"), &format!("agent-{number}")))
            .unwrap();
    }
    one.look().unwrap();
    one.record().await.unwrap();
    drop(one);
    // A store of before, in which as many others were revoked since.
    let (other, _) = follower(&folder, "other.db", "other");
    for number in 4..=6 {
        other
            .add(move || agent(&format!("r-{number}"), &format!("agent-{number}")))
            .unwrap();
    }
    let (one, again) = follower(&folder, "other.db", "one");
    one.record().await.unwrap();
    for number in 1..=6 {
        assert_eq!(
            judged(&one, &format!("agent-{number}")),
            Some(Revoked::Agent),
            "{number}"
        );
    }
    other.look().unwrap();
    assert_eq!(judged(&other, "agent-1"), Some(Revoked::Agent));
    assert_eq!(memory.0.lock().unwrap().len(), 3);
    let recorded: Vec<String> = again
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|event| format!("{}{}", event["what"], event["id"]))
        .collect();
    assert_eq!(
        recorded,
        [
            "\"revocation.restored\"null",
            "null\"r-4\"",
            "null\"r-5\"",
            "null\"r-6\""
        ]
    );
}

#[test]
fn a_damaged_ledger_is_told_and_an_unfinished_line_is_not_there() {
    let folder = Folder::new();
    let now = System.now();
    let (ledger, known) = Ledger::open(&folder.0, now).unwrap();
    assert!(known.is_empty());
    ledger.note(&agent("r-1", "agent-1")).unwrap();
    ledger.note(&agent("r-1", "agent-1")).unwrap();
    ledger.note(&agent("r-2", "agent-2")).unwrap();
    let file = folder.0.join("revocations.jsonl");
    let whole = std::fs::read_to_string(&file).unwrap();
    assert_eq!(whole.lines().count(), 2);
    std::fs::write(&file, format!("{whole}{{\"action\":\"rev")).unwrap();
    let (_, known) = Ledger::open(&folder.0, now).unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "mended");
    std::fs::write(&file, format!("{{}}\n{whole}")).unwrap();
    assert_eq!(
        Ledger::open(&folder.0, now).unwrap_err().code(),
        "revocation.ledger"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_postgresql_agree_and_refuse_everything_when_it_is_gone() {
    let Some(server) = Postgres::start() else { return };
    let folder = Folder::new();
    let open = |audit: &str| {
        let audit = folder.0.join(audit);
        std::fs::create_dir_all(&audit).unwrap();
        let settings = Settings {
            log: RevocationLog::open(server.url()).unwrap(),
            audit,
            recorder: Arc::<Memory>::default(),
            clock: Arc::new(System),
        };
        Follower::open(settings, std::collections::BTreeSet::new()).unwrap()
    };
    let (one, two) = (open("one"), open("two"));
    // Many writers at the same time: nobody who reads misses one.
    std::thread::scope(|scope| {
        for (writer, follower) in [&one, &two].into_iter().enumerate() {
            scope.spawn(move || {
                for number in 0..20 {
                    let name = format!("{writer}-{number}");
                    follower
                        .add(move || agent(&format!("r-{name}"), &format!("agent-{name}")))
                        .unwrap();
                    follower.look().unwrap();
                }
            });
        }
    });
    for follower in [&one, &two] {
        follower.look().unwrap();
        for writer in 0..2 {
            for number in 0..20 {
                let client = format!("agent-{writer}-{number}");
                assert_eq!(judged(follower, &client), Some(Revoked::Agent), "{client}");
            }
        }
    }
    let stop = tokio_util::sync::CancellationToken::new();
    one.spawn(stop.clone()).unwrap();
    assert_eq!(one.revocations().ready(), Ok(()));
    drop(server);
    let begun = std::time::Instant::now();
    while one.revocations().ready().is_ok() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    println!(
        "everything was refused {} ms after PostgreSQL was gone",
        begun.elapsed().as_millis()
    );
    stop.cancel();
}
