use super::*;
use crate::audit::TokenHash;
use crate::ids::{ClientId, GrantId, Issuer, ServerName, Subject, TokenId};
use crate::time::{Lifetime, UnixTime};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const LONGEST: Lifetime = Lifetime::from_hours(1);

fn issuer() -> Issuer {
    Issuer::parse("https://as.example").unwrap()
}

fn user(extent: Extent) -> Target {
    Target::User {
        issuer: issuer(),
        subject: Subject::parse("ada").unwrap(),
        extent,
    }
}

fn agent(extent: Extent) -> Target {
    Target::Agent {
        issuer: issuer(),
        client: ClientId::parse("agent-1").unwrap(),
        extent,
    }
}

fn server() -> Target {
    Target::Server {
        server: ServerName::parse("notes").unwrap(),
    }
}

fn token() -> Target {
    Target::Token {
        issuer: issuer(),
        token: TokenHash::of(&TokenId::parse("t-1").unwrap()),
    }
}

fn grant() -> Target {
    Target::Grant {
        issuer: issuer(),
        grant: GrantId::parse("g-1").unwrap(),
    }
}

fn revoke(id: &str, target: Target) -> Entry {
    let reason = Reason::parse("a test").unwrap();
    let id = RevocationId::parse(id).unwrap();
    Entry::Revoke(target.revoked(id, NOW, LONGEST, reason, By::Operator))
}

fn lift(id: &str, lifts: &str) -> Entry {
    Entry::Lift(Lift {
        id: RevocationId::parse(id).unwrap(),
        lifts: RevocationId::parse(lifts).unwrap(),
        at: NOW,
        reason: Reason::parse("over").unwrap(),
    })
}

struct Holder {
    issuer: &'static str,
    subject: &'static str,
    client: &'static str,
    token: &'static str,
    grant: Option<&'static str>,
    issued: UnixTime,
    server: &'static str,
}

const ADA: Holder = Holder {
    issuer: "https://as.example",
    subject: "ada",
    client: "agent-1",
    token: "t-1",
    grant: Some("g-1"),
    issued: NOW,
    server: "notes",
};

impl Holder {
    fn judged(&self, table: &Table) -> Option<Revoked> {
        let grant = self.grant.map(|grant| GrantId::parse(grant).unwrap());
        table.judge(&Claim {
            issuer: &Issuer::parse(self.issuer).unwrap(),
            subject: &Subject::parse(self.subject).unwrap(),
            client: &ClientId::parse(self.client).unwrap(),
            token: Some(&TokenId::parse(self.token).unwrap()),
            grant: grant.as_ref(),
            issued: self.issued,
            server: Some(&ServerName::parse(self.server).unwrap()),
        })
    }
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    for entry in entries {
        table.apply(entry, NOW);
    }
    table
}

#[test]
fn each_kind_concerns_what_it_names_and_nothing_else() {
    let until = Extent::IssuedUntil(NOW);
    let rows = [
        (token(), Revoked::Token, Holder { token: "t-2", ..ADA }),
        (grant(), Revoked::Grant, Holder { grant: None, ..ADA }),
        (
            user(until),
            Revoked::UserTokens,
            Holder {
                subject: "eve",
                ..ADA
            },
        ),
        (
            agent(until),
            Revoked::AgentTokens,
            Holder {
                client: "agent-2",
                ..ADA
            },
        ),
        (
            user(Extent::UntilLifted),
            Revoked::User,
            Holder {
                subject: "eve",
                ..ADA
            },
        ),
        (
            agent(Extent::UntilLifted),
            Revoked::Agent,
            Holder {
                client: "agent-2",
                ..ADA
            },
        ),
        (server(), Revoked::Server, Holder { server: "crm", ..ADA }),
    ];
    for (target, expected, other) in rows {
        let is_of_issuer = target.issuer().is_some();
        let table = table(&[revoke("r-1", target)]);
        assert_eq!(ADA.judged(&table), Some(expected));
        assert_eq!(other.judged(&table), None, "{expected:?}");
        let elsewhere = Holder {
            issuer: "https://as.example/",
            ..ADA
        };
        assert_eq!(elsewhere.judged(&table).is_none(), is_of_issuer, "{expected:?}");
    }
}

#[test]
fn what_was_issued_at_the_moment_is_void_and_a_millisecond_later_it_counts() {
    let until = UnixTime::from_millis(NOW.as_millis() + 500);
    let table = table(&[revoke("r-1", user(Extent::IssuedUntil(until)))]);
    let issued = |millis: i64| Holder {
        issued: UnixTime::from_millis(millis),
        ..ADA
    };
    assert_eq!(
        issued(until.as_millis()).judged(&table),
        Some(Revoked::UserTokens)
    );
    assert_eq!(issued(until.as_millis() + 1).judged(&table), None);
    // `iat` is in whole seconds, rounded down: what was issued in the same second counts as before.
    assert_eq!(ADA.judged(&table), Some(Revoked::UserTokens));
}

#[test]
fn entries_say_the_same_in_any_order_and_twice() {
    let (early, late) = (NOW.minus(Lifetime::from_hours(2)), NOW);
    let entries = [
        revoke("r-1", user(Extent::IssuedUntil(late))),
        revoke("r-2", user(Extent::IssuedUntil(early))),
        revoke("r-3", agent(Extent::UntilLifted)),
        lift("r-4", "r-3"),
        revoke("r-5", server()),
        lift("r-6", "r-5"),
    ];
    let mut backwards = entries.clone();
    backwards.reverse();
    let twice: Vec<Entry> = entries.iter().chain(&backwards).cloned().collect();
    for entries in [&entries[..], &backwards[..], &twice[..]] {
        let table = table(entries);
        assert_eq!(ADA.judged(&table), Some(Revoked::UserTokens));
        assert_eq!(
            Holder {
                subject: "eve",
                ..ADA
            }
            .judged(&table),
            None
        );
    }
}

#[test]
fn a_lifted_revocation_leaves_others_of_the_same_in_force() {
    let first = revoke("r-1", agent(Extent::UntilLifted));
    let second = revoke("r-2", agent(Extent::UntilLifted));
    let table = table(&[first, second, lift("r-3", "r-1")]);
    assert_eq!(ADA.judged(&table), Some(Revoked::Agent));
}

#[test]
fn what_is_void_by_its_name_cannot_be_lifted() {
    let table = table(&[revoke("r-1", token()), lift("r-2", "r-1")]);
    assert_eq!(ADA.judged(&table), Some(Revoked::Token));
}

#[test]
fn entries_die_when_nothing_is_left_that_they_could_concern() {
    let until = Extent::IssuedUntil(NOW.plus(Lifetime::from_secs(30)));
    let mut table = table(&[
        revoke("r-1", token()),
        revoke("r-2", grant()),
        revoke("r-3", user(until)),
        revoke("r-4", agent(Extent::UntilLifted)),
        revoke("r-5", server()),
    ]);
    assert_eq!(table.count(), 5);
    let end = NOW.plus(LONGEST);
    table.forget(end.minus(Lifetime::from_secs(1)));
    assert_eq!(table.count(), 5);
    table.forget(end);
    assert_eq!(
        table.count(),
        3,
        "the user's lasts as long as what was issued 30 s later"
    );
    table.forget(end.plus(Lifetime::from_secs(30)));
    assert_eq!(table.count(), 2, "a standing revocation has no end of its own");
    let mut late = Table::new();
    late.apply(&revoke("r-1", token()), end);
    assert_eq!(late.count(), 0, "what is over is not taken in");
}

#[test]
fn entries_are_read_as_they_were_written_and_nothing_else_is() {
    for entry in [
        revoke("r-1", token()),
        revoke("r-2", grant()),
        revoke("r-3", user(Extent::IssuedUntil(NOW))),
        revoke("r-4", agent(Extent::UntilLifted)),
        revoke("r-5", server()),
        lift("r-6", "r-5"),
    ] {
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
    }
    let text = serde_json::to_string(&revoke("r-5", server())).unwrap();
    for (from, to) in [
        ("\"server\"", "\"planet\""),
        ("\"by\"", "\"per\""),
        ("notes", "No Name"),
        ("a test", ""),
        ("r-5", ""),
    ] {
        let other = text.replace(from, to);
        assert!(serde_json::from_str::<Entry>(&other).is_err(), "{other}");
    }
}

#[test]
fn a_reason_is_one_line_of_bounded_length() {
    assert!(Reason::parse(&"x".repeat(REASON_BYTES)).is_ok());
    for bad in ["", "  ", "two\nlines", &"x".repeat(REASON_BYTES + 1)] {
        assert!(Reason::parse(bad).is_err());
        assert!(Reason::parse(Reason::of(bad).as_str()).is_ok(), "{bad:?}");
    }
    assert_eq!(Reason::of(&"ä".repeat(REASON_BYTES)).as_str().len(), REASON_BYTES);
}
