use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use portcullis_core::audit::{Broken, Summary, Verifier};
use portcullis_core::fault::Fault;
use portcullis_core::random::RandomUnavailable;
use portcullis_core::time::UnixTime;

use super::*;
use crate::sink::files;

/// A folder of its own for each test, gone after it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "portcullis-sink-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> AuditLog {
        self.open_bounded(BOUNDS).unwrap()
    }

    fn open_bounded(&self, bounds: Bounds) -> Result<AuditLog, Error> {
        AuditLog::open_bounded(&self.0, Arc::new(Ticking::default()), &Sevens, bounds)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "audit.lock")
            .collect();
        names.sort();
        names
    }

    fn verify(&self) -> Result<Summary, Broken> {
        let mut verifier = Verifier::new();
        for path in files(&self.0).unwrap() {
            verifier.begin_file(path.file_name().unwrap().to_str().unwrap());
            let bytes = std::fs::read(path).unwrap();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                verifier.push(line.strip_suffix(b"\n").ok_or_else(|| verifier.unterminated())?)?;
            }
        }
        Ok(verifier.finish())
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let text: String = files(&self.0)
            .unwrap()
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A clock that goes one millisecond further each time it is read.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> UnixTime {
        UnixTime::from_millis(
            1_795_256_040_000 + i64::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap(),
        )
    }
}

struct Sevens;

impl SecureRandom for Sevens {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        out.fill(7);
        Ok(())
    }
}

struct NoRandom;

impl SecureRandom for NoRandom {
    fn fill(&self, _out: &mut [u8]) -> Result<(), RandomUnavailable> {
        Err(RandomUnavailable)
    }
}

fn event(detail: &str) -> Event {
    System {
        what: "start",
        detail: detail.to_owned(),
    }
    .into()
}

const SMALL: Bounds = Bounds {
    file_bytes: 1000,
    queue_bytes: BOUNDS.queue_bytes,
};
const FIRST: &str = "audit-00000000000000000001.jsonl";
const TORN: &str = "audit-00000000000000000001.torn-0";

#[tokio::test]
async fn records_are_numbered_in_order_and_a_second_start_goes_on() {
    let folder = Folder::new();
    let log = folder.open();
    assert_eq!(log.record(event("a"), Durability::Synced).await, Ok(1));
    assert_eq!(log.record(event("b"), Durability::Queued).await, Ok(2));
    assert_eq!(
        folder.verify().unwrap().records,
        2,
        "acknowledged is written, synced or not"
    );
    log.close().unwrap();
    let refused = log.record(event("late"), Durability::Queued).await.unwrap_err();
    assert_eq!(refused.0, "the log is closed");

    let log = folder.open();
    assert_eq!(log.record(event("c"), Durability::Synced).await, Ok(3));
    drop(log);
    assert_eq!(folder.verify().unwrap().last_seq, 3);
    assert_eq!(folder.names(), [FIRST]);
}

#[tokio::test]
async fn a_record_is_made_even_when_nobody_waits_for_it() {
    let folder = Folder::new();
    let log = folder.open();
    drop(log.record(event("a"), Durability::Queued));
    drop(log);
    assert_eq!(folder.verify().unwrap().records, 1);
}

#[test]
fn one_process_writes_a_log() {
    let folder = Folder::new();
    let first = folder.open();
    assert_eq!(folder.open_bounded(BOUNDS).unwrap_err().code(), "audit.in-use");
    drop(first);
    drop(folder.open());
}

#[test]
fn a_new_log_needs_randomness_and_an_old_one_none() {
    let folder = Folder::new();
    let open = || AuditLog::open(&folder.0, Arc::new(Ticking::default()), &NoRandom);
    assert_eq!(open().unwrap_err().code(), "audit.start");
    let log = folder.open();
    drop(log.record(event("a"), Durability::Queued));
    drop(log);
    drop(open().unwrap());
}

#[tokio::test]
async fn records_of_many_tasks_are_all_kept_and_chained() {
    let folder = Folder::new();
    let log = Arc::new(
        folder
            .open_bounded(Bounds {
                file_bytes: 20_000,
                ..BOUNDS
            })
            .unwrap(),
    );
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            let mut seqs = Vec::new();
            for number in 0..50 {
                let durability = if number % 10 == 0 {
                    Durability::Synced
                } else {
                    Durability::Queued
                };
                seqs.push(
                    log.record(event(&format!("{task}-{number}")), durability)
                        .await
                        .unwrap(),
                );
            }
            seqs
        });
    }
    let seqs: Vec<u64> = tasks.join_all().await.concat();
    assert_eq!(seqs.iter().collect::<BTreeSet<_>>().len(), 400);
    drop(log);
    let summary = folder.verify().unwrap();
    assert_eq!((summary.records, summary.clock_went_back), (400, 0));
    assert!(folder.names().len() > 1);
}

#[tokio::test]
async fn files_follow_each_other_by_their_first_record() {
    let folder = Folder::new();
    let log = folder.open_bounded(SMALL).unwrap();
    for number in 1..=9 {
        log.record(event(&"x".repeat(240)), Durability::Queued)
            .await
            .unwrap();
        assert_eq!(folder.verify().unwrap().records, number);
    }
    drop(log);
    // Two records are less than the limit, the third passes it.
    assert_eq!(
        folder.names(),
        [
            FIRST,
            "audit-00000000000000000004.jsonl",
            "audit-00000000000000000007.jsonl"
        ]
    );
    let log = folder.open_bounded(SMALL).unwrap();
    assert_eq!(log.record(event("x"), Durability::Synced).await, Ok(10));
    drop(log);
    assert_eq!(folder.verify().unwrap().records, 10);
}

#[tokio::test]
async fn a_last_line_torn_anywhere_is_set_aside_and_nothing_else_is() {
    let whole = three_records().await;
    let kept = start_of_last_line(&whole);
    // The last line feed itself is the next test's.
    for cut in kept..whole.len() - 1 {
        let folder = Folder::new();
        std::fs::write(folder.0.join(FIRST), &whole[..cut]).unwrap();
        let log = folder.open();
        let torn = cut > kept;
        assert_eq!(
            log.record(event("after"), Durability::Synced).await,
            Ok(if torn { 4 } else { 3 }),
            "cut at {cut}"
        );
        drop(log);
        let records = folder.records();
        assert_eq!(folder.verify().unwrap().records, records.len() as u64);
        assert_eq!(records[2]["what"], if torn { "log.repaired" } else { "start" });
        if torn {
            let aside = std::fs::read(folder.0.join(TORN)).unwrap();
            assert_eq!(aside, whole[kept..cut], "nothing is deleted");
        } else {
            assert_eq!(folder.names(), [FIRST]);
        }
    }
}

#[tokio::test]
async fn a_last_record_that_lacks_only_its_line_feed_is_kept() {
    let whole = three_records().await;
    let folder = Folder::new();
    std::fs::write(folder.0.join(FIRST), &whole[..whole.len() - 1]).unwrap();
    drop(folder.open());
    assert_eq!(folder.names(), [FIRST]);
    let now = std::fs::read(folder.0.join(FIRST)).unwrap();
    assert!(now.starts_with(&whole));
    let records = folder.records();
    assert_eq!((records.len(), &records[3]["what"]), (4, &"log.repaired".into()));
    assert_eq!(
        records[3]["detail"],
        format!("record 3 in {FIRST} was whole but for its line feed, which was added")
    );
    folder.verify().unwrap();

    // One that does not follow the record before it is none.
    let folder = Folder::new();
    let without_second: Vec<u8> = {
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        [lines[0], lines[2].strip_suffix(b"\n").unwrap()].concat()
    };
    std::fs::write(folder.0.join(FIRST), without_second).unwrap();
    drop(folder.open());
    assert_eq!(folder.names(), [FIRST, TORN]);
    assert_eq!(folder.verify().unwrap().records, 2);
}

#[tokio::test]
async fn an_end_without_line_feed_is_set_aside_whatever_it_is() {
    let zeros = vec![0; 3 * 1024 * 1024];
    let longest = vec![b'x'; portcullis_core::audit::LINE_BYTES];
    let longer = vec![b'x'; portcullis_core::audit::LINE_BYTES + 1];
    for tail in [&zeros[..], &longest, &longer, b"{}", b"\0"] {
        let folder = Folder::new();
        let log = folder.open();
        log.record(event("a"), Durability::Synced).await.unwrap();
        drop(log);
        append(&folder, tail);
        drop(folder.open());
        let records = folder.records();
        assert_eq!((records.len(), &records[1]["what"]), (2, &"log.repaired".into()));
        folder.verify().unwrap();
        assert_eq!(std::fs::read(folder.0.join(TORN)).unwrap(), tail);
    }
}

#[tokio::test]
async fn a_line_with_its_line_feed_that_does_not_hold_is_no_crash_and_stays() {
    let whole = three_records().await;
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let long = "x".repeat(portcullis_core::audit::LINE_BYTES + 1) + "\n";
    let rows: Vec<(String, u64, u64, &str)> = vec![
        // The last record, or one before it, was changed.
        (text.replace("the last one", "the lost one"), 3, 3, "content"),
        (text.replace("\"b\"", "\"B\""), 2, 2, "content"),
        // Even when what follows is torn as by a crash.
        (
            text.replace("the last one", "the lost one") + "{\"seq\":4",
            3,
            3,
            "content",
        ),
        // Lines that are no records, or records of elsewhere, were added; one was taken out.
        (text.clone() + "\n", 4, 4, "no record"),
        (text.clone() + "{}\n{\"seq\":2}\n", 4, 4, "no record"),
        (text.clone() + "x\ny", 4, 4, "no record"),
        (text.clone() + "\0\0\n", 4, 4, "no record"),
        (text.clone() + &long, 4, 4, "no record"),
        (text.clone() + lines[2], 4, 4, "record 3 stands"),
        (lines[0].to_owned() + lines[2], 2, 2, "record 3 stands"),
    ];
    for (changed, line, seq, what) in rows {
        let folder = Folder::new();
        std::fs::write(folder.0.join(FIRST), &changed).unwrap();
        let error = folder.open_bounded(BOUNDS).unwrap_err();
        assert_eq!((error.code(), error.fault()), ("audit.broken", Fault::Operator));
        let said = error.to_string();
        for part in [
            &format!("{FIRST} line {line}, record {seq}: "),
            what,
            "portcullis audit verify",
            "move the folder aside",
        ] {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
        // Nothing was touched, so the next start says the same.
        assert_eq!(std::fs::read_to_string(folder.0.join(FIRST)).unwrap(), changed);
        assert_eq!(folder.names(), [FIRST]);
        assert_eq!(folder.open_bounded(BOUNDS).unwrap_err().to_string(), said);
    }
}

#[tokio::test]
async fn a_crash_between_two_files_leaves_one_log() {
    const NEXT: &str = "audit-00000000000000000004.jsonl";
    for (left, repaired) in [(&b""[..], false), (b"{\"se", true)] {
        let folder = full_file().await;
        std::fs::write(folder.0.join(NEXT), left).unwrap();
        let log = folder.open_bounded(SMALL).unwrap();
        let due = if repaired { 5 } else { 4 };
        assert_eq!(log.record(event("x"), Durability::Synced).await, Ok(due));
        drop(log);
        assert_eq!(folder.names()[..2], [FIRST, NEXT]);
        assert_eq!(folder.verify().unwrap().records, due);
    }
}

#[tokio::test]
async fn a_file_that_cannot_follow_is_no_crash_and_stays() {
    // It was emptied, or those before it were taken away.
    for left in [&b""[..], b"{\"se"] {
        let folder = full_file().await;
        let name = "audit-00000000000000000009.jsonl";
        std::fs::write(folder.0.join(name), left).unwrap();
        let error = folder.open_bounded(SMALL).unwrap_err();
        assert_eq!(error.code(), "audit.missing");
        assert!(error.to_string().contains("record 4 is due"), "{error}");
        assert_eq!(folder.names(), [FIRST, name]);
    }
    // The file before the newest was synced to its end, so no crash tears it.
    let folder = full_file().await;
    let first = std::fs::read(folder.0.join(FIRST)).unwrap();
    std::fs::write(folder.0.join(FIRST), &first[..first.len() - 1]).unwrap();
    std::fs::write(folder.0.join("audit-00000000000000000003.jsonl"), b"").unwrap();
    let error = folder.open_bounded(SMALL).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("line 3, record 3: the line has no end"),
        "{error}"
    );
}

/// The bytes of a log of three records.
async fn three_records() -> Vec<u8> {
    let folder = Folder::new();
    let log = folder.open();
    for detail in ["a", "b", "the last one, \u{e9} and all"] {
        log.record(event(detail), Durability::Synced).await.unwrap();
    }
    drop(log);
    std::fs::read(folder.0.join(FIRST)).unwrap()
}

/// A log whose only file is full.
async fn full_file() -> Folder {
    let folder = Folder::new();
    let log = folder.open_bounded(SMALL).unwrap();
    for _ in 0..3 {
        log.record(event(&"x".repeat(240)), Durability::Synced)
            .await
            .unwrap();
    }
    drop(log);
    folder
}

fn start_of_last_line(log: &[u8]) -> usize {
    log[..log.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1
}

fn append(folder: &Folder, tail: &[u8]) {
    let mut file = folder::options().append(true).open(folder.0.join(FIRST)).unwrap();
    file.write_all(tail).unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_every_call_until_there_is_room() {
    let folder = Folder::new();
    symlink("/dev/full", folder.0.join(FIRST)).unwrap();
    let log = folder.open();
    for durability in [Durability::Queued, Durability::Synced] {
        let refused = log.record(event("lost?"), durability).await.unwrap_err();
        assert!(refused.0.contains("No space left"), "{refused}");
    }
    assert!(log.unavailable().is_some());
    // Room again: a file that can be written has taken the place of the full one.
    std::fs::remove_file(folder.0.join(FIRST)).unwrap();
    std::fs::write(folder.0.join(FIRST), b"").unwrap();
    while log.unavailable().is_some() {
        tokio::task::yield_now().await;
    }
    let seq = log.record(event("kept"), Durability::Synced).await.unwrap();
    drop(log);
    assert_eq!(
        folder.verify().unwrap().last_seq,
        seq,
        "what could not be written before is there too, in its place"
    );
}

#[tokio::test]
async fn what_was_acknowledged_before_a_failure_is_not_lost() {
    let folder = Folder::new();
    let log = folder.open_bounded(SMALL).unwrap();
    for _ in 0..3 {
        log.record(event(&"x".repeat(240)), Durability::Queued)
            .await
            .unwrap();
    }
    // The next file cannot be made.
    let obstacle = folder.0.join("audit-00000000000000000004.jsonl");
    std::fs::create_dir(&obstacle).unwrap();
    log.record(event("refused"), Durability::Queued)
        .await
        .unwrap_err();
    let refused = log
        .record(event("refused"), Durability::Queued)
        .await
        .unwrap_err();
    assert!(refused.0.contains("exists"), "{refused}");
    std::fs::remove_dir(&obstacle).unwrap();
    while log.unavailable().is_some() {
        tokio::task::yield_now().await;
    }
    log.record(event("kept"), Durability::Synced).await.unwrap();
    drop(log);
    assert!(folder.verify().unwrap().records >= 4);
}

#[tokio::test]
async fn a_log_closed_while_the_disk_fails_says_so() {
    let folder = Folder::new();
    symlink("/dev/full", folder.0.join(FIRST)).unwrap();
    let log = folder.open();
    log.record(event("lost"), Durability::Queued).await.unwrap_err();
    assert_eq!(log.close().unwrap_err().code(), "audit.unwritten");
    log.close().unwrap();
}

/// Run by the test below as a process of its own, in the log's folder; without the file it does nothing.
#[tokio::test]
async fn recording_until_killed() {
    if !PathBuf::from("record-until-killed").exists() {
        return;
    }
    let log = AuditLog::open_bounded(
        &PathBuf::from("log"),
        Arc::new(Ticking::default()),
        &Sevens,
        SMALL,
    )
    .unwrap();
    for number in 0_u64.. {
        let durability = if number.is_multiple_of(5) {
            Durability::Synced
        } else {
            Durability::Queued
        };
        let seq = log.record(event("x"), durability).await.unwrap();
        // Not `println!`: the test harness would keep the lines.
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {seq}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_dash_nine_loses_nothing_that_was_acknowledged() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("record-until-killed"), b"").unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sink::log::tests::recording_until_killed",
            "--nocapture",
        ])
        .current_dir(&folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let acknowledged = |line: String| line.strip_prefix("acknowledged ")?.parse::<u64>().ok();
    lines
        .by_ref()
        .filter_map(acknowledged)
        .find(|seq| *seq >= 300)
        .unwrap();
    process.kill().unwrap();
    let last = lines.filter_map(acknowledged).last().unwrap_or(300);
    process.wait().unwrap();

    let log = Folder(folder.0.join("log"));
    drop(log.open());
    let summary = log.verify().unwrap();
    assert!(summary.last_seq >= last, "{} of {last}", summary.last_seq);
    assert_eq!(summary.records, summary.last_seq);
}
