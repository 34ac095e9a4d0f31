//! The store on real files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::ids::{ClientId, Issuer, ResourceUri, RevocationId, ScopeSet, Subject};
use portcullis_core::oauth::pkce::Verifier;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::client::{Authentication, Client, ClientName, GrantType, Provenance};
use portcullis_core::oauth::server::code::{Code, Grant, Redemption};
use portcullis_core::oauth::server::opaque::Opaque;
use portcullis_core::oauth::server::redirect::RedirectUri;
use portcullis_core::oauth::server::refresh::{GRACE, Use};
use portcullis_core::revocation::{By, Entry, Extent, Reason, Target};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::random::System;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const SECOND: Lifetime = Lifetime::from_secs(1);

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = portcullis_core::random::token::<12>(&System).unwrap();
        let path = std::env::temp_dir().join(format!("portcullis-store-{name}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("portcullis.db")
    }

    async fn open(&self) -> Store {
        Store::open(&format!("sqlite:{}", self.file().display()))
            .await
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn alice() -> Subject {
    Subject::parse("alice").unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn resource() -> ResourceUri {
    ResourceUri::parse("https://rs.example/mcp").unwrap()
}

fn opaque() -> Opaque {
    Opaque::generate(&System).unwrap()
}

fn client(name: &str) -> Client {
    Client {
        id: id(name),
        name: ClientName::clean(name),
        provenance: Provenance::Dynamic { at: NOW },
        redirects: vec![
            RedirectUri::parse("https://c.example/cb").unwrap(),
            RedirectUri::parse("http://127.0.0.1/cb").unwrap(),
        ],
        grants: BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]),
        authentication: Authentication::Public,
        allowance: ScopeSet::new(),
        keys: None,
    }
}

/// A store with a user and a client.
async fn peopled(folder: &Folder) -> Store {
    let store = folder.open().await;
    assert!(store.add_user(&alice(), "hash", NOW).await.unwrap());
    store.keep_client(&client("c1"), NOW).await.unwrap();
    store
}

async fn keep_code(store: &Store, verifier: &Verifier) -> Opaque {
    let text = opaque();
    let grant = Grant {
        client: id("c1"),
        user: alice(),
        resource: resource(),
        scopes: scopes("n:read n:write"),
        refreshable: true,
    };
    let code = Code {
        grant,
        redirect: "https://c.example/cb".to_owned(),
        challenge: verifier.challenge(),
        expires: NOW.plus(Lifetime::from_secs(60)),
        used: false,
    };
    store.keep_code(&text.hash(), &code).await.unwrap();
    text
}

fn family(first: &Opaque) -> NewFamily {
    NewFamily {
        id: portcullis_core::random::token::<16>(&System).unwrap(),
        first: first.hash(),
        idle_expires: NOW.plus(Lifetime::from_days(14)),
        expires: NOW.plus(Lifetime::from_days(30)),
    }
}

async fn redeem(store: &Store, code: &Opaque, verifier: &Verifier, first: &Opaque) -> Result<Grant, Refusal> {
    let client = id("c1");
    let shown = Redemption {
        client: &client,
        redirect: None,
        verifier,
        resource: None,
    };
    store
        .redeem(&code.hash(), &shown, &family(first), NOW)
        .await
        .unwrap()
}

/// A store with one refresh token family, and its first member.
async fn refreshable(folder: &Folder) -> (Store, Opaque) {
    let store = peopled(folder).await;
    let verifier = Verifier::generate(&System).unwrap();
    let code = keep_code(&store, &verifier).await;
    let first = opaque();
    redeem(&store, &code, &verifier, &first).await.unwrap();
    (store, first)
}

async fn rotate(store: &Store, token: &Opaque, now: UnixTime) -> Result<Opaque, Refusal> {
    let client = id("c1");
    let next = opaque();
    let successor = Successor {
        hash: next.hash(),
        idle_expires: now.plus(Lifetime::from_days(14)),
    };
    let shown = Use {
        client: &client,
        scopes: None,
        resource: None,
    };
    store
        .rotate(&token.hash(), &shown, &successor, now)
        .await
        .unwrap()
        .map(|_| next)
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    let confidential = Client {
        provenance: Provenance::Preregistered,
        redirects: Vec::new(),
        authentication: Authentication::BasicOrPost(opaque().hash()),
        allowance: scopes("n:read n:write"),
        keys: None,
        ..client("c2")
    };
    store.keep_client(&confidential, NOW).await.unwrap();
    let session = opaque();
    store
        .keep_session(&session.hash(), &alice(), NOW.plus(SECOND))
        .await
        .unwrap();
    store
        .allow(&alice(), &id("c1"), &resource(), &scopes("n:read"), NOW)
        .await
        .unwrap();
    let verifier = Verifier::generate(&System).unwrap();
    let code = keep_code(&store, &verifier).await;
    // Without `close`: as after a crash.
    drop(store);

    let store = folder.open().await;
    assert_eq!(
        store.password("alice").await.unwrap(),
        Some((alice(), "hash".to_owned()))
    );
    assert_eq!(store.client(&id("c1")).await.unwrap(), Some(client("c1")));
    assert_eq!(store.client(&id("c2")).await.unwrap(), Some(confidential));
    assert_eq!(store.session(&session.hash(), NOW).await.unwrap(), Some(alice()));
    assert_eq!(
        store.allowed(&alice(), &id("c1"), &resource()).await.unwrap(),
        scopes("n:read")
    );
    assert!(redeem(&store, &code, &verifier, &opaque()).await.is_ok());
    // AS-45: used before the restart is used after it.
    drop(store);
    let store = folder.open().await;
    assert_eq!(
        redeem(&store, &code, &verifier, &opaque()).await,
        Err(Refusal::CodeReplayed)
    );
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let _store = peopled(&folder).await;
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
    }
}

#[tokio::test]
async fn a_commit_is_synced() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
}

#[tokio::test]
async fn a_user_is_added_once_and_a_new_password_ends_sessions() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    assert!(!store.add_user(&alice(), "other", NOW).await.unwrap());
    let session = opaque();
    store
        .keep_session(&session.hash(), &alice(), NOW.plus(SECOND))
        .await
        .unwrap();
    let device = opaque();
    let known = async || store.device(&device.hash(), NOW).await.unwrap();
    store
        .keep_device(&device.hash(), &alice(), NOW.plus(SECOND))
        .await
        .unwrap();
    assert_eq!(known().await, Some(alice()));
    store.change_password(&alice(), "new").await.unwrap();
    assert_eq!(known().await, None);
    assert_eq!(store.password("alice").await.unwrap().unwrap().1, "new");
    assert_eq!(store.session(&session.hash(), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn sessions_end() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    let session = opaque();
    store.keep_session(&session.hash(), &alice(), NOW).await.unwrap();
    assert_eq!(
        store.session(&session.hash(), NOW.minus(SECOND)).await.unwrap(),
        Some(alice())
    );
    assert_eq!(store.session(&session.hash(), NOW).await.unwrap(), None);
    store.end_session(&session.hash()).await.unwrap();
    assert_eq!(
        store.session(&session.hash(), NOW.minus(SECOND)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_browser_is_known_until_long_after_its_last_login() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    let device = opaque();
    for last in [NOW, NOW.plus(SECOND)] {
        store.keep_device(&device.hash(), &alice(), last).await.unwrap();
        let known = async |at| store.device(&device.hash(), at).await.unwrap();
        assert_eq!(known(last.minus(SECOND)).await, Some(alice()));
        assert_eq!(known(last).await, None);
    }
    assert_eq!(store.reap(NOW).await.unwrap().devices, 0);
    assert_eq!(store.reap(NOW.plus(SECOND)).await.unwrap().devices, 1);
}

#[tokio::test]
async fn consents_add_up_and_are_of_one_user_client_and_resource() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    store
        .allow(&alice(), &id("c1"), &resource(), &scopes("n:read"), NOW)
        .await
        .unwrap();
    store
        .allow(&alice(), &id("c1"), &resource(), &scopes("n:write"), NOW)
        .await
        .unwrap();
    assert_eq!(
        store.allowed(&alice(), &id("c1"), &resource()).await.unwrap(),
        scopes("n:read n:write")
    );
    let other = ResourceUri::parse("https://rs.example/other").unwrap();
    assert!(
        store
            .allowed(&alice(), &id("c1"), &other)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .allowed(&alice(), &id("c2"), &resource())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_parallel_redemptions_give_one_grant_and_revoke_it() {
    let folder = Folder::new();
    let store = Arc::new(peopled(&folder).await);
    let verifier = Verifier::generate(&System).unwrap();
    let code = keep_code(&store, &verifier).await;
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let (store, code, verifier, first) =
                (Arc::clone(&store), code.clone(), verifier.clone(), opaque());
            tokio::spawn(async move { redeem(&store, &code, &verifier, &first).await.map(|_| first) })
        })
        .collect();
    let mut given = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(first) => given.push(first),
            Err(refusal) => assert_eq!(refusal, Refusal::CodeReplayed),
        }
    }
    assert_eq!(given.len(), 1);
    assert_eq!(
        rotate(&store, &given[0], NOW).await.err(),
        Some(Refusal::RefreshTokenRevoked)
    );
}

#[tokio::test]
async fn a_failed_redemption_leaves_the_code_and_another_client_cannot_end_the_grant() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    let verifier = Verifier::generate(&System).unwrap();
    let code = keep_code(&store, &verifier).await;
    let stranger = id("c2");
    let shown = Redemption {
        client: &stranger,
        redirect: None,
        verifier: &verifier,
        resource: None,
    };
    let first = opaque();
    let stolen = store
        .redeem(&code.hash(), &shown, &family(&opaque()), NOW)
        .await
        .unwrap();
    assert_eq!(stolen, Err(Refusal::Code));
    assert!(redeem(&store, &code, &verifier, &first).await.is_ok());
    let stolen = store
        .redeem(&code.hash(), &shown, &family(&opaque()), NOW)
        .await
        .unwrap();
    assert_eq!(stolen, Err(Refusal::Code));
    assert!(rotate(&store, &first, NOW).await.is_ok());
    assert_eq!(
        redeem(&store, &opaque(), &verifier, &opaque()).await,
        Err(Refusal::Code)
    );
}

#[tokio::test]
async fn a_rotated_token_that_comes_back_ends_its_family() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    let second = rotate(&store, &first, NOW).await.unwrap();
    let third = rotate(&store, &second, NOW).await.unwrap();
    // The successor was used: no answer was lost, however soon it is.
    assert_eq!(
        rotate(&store, &first, NOW).await.err(),
        Some(Refusal::RefreshTokenReused)
    );
    assert_eq!(
        rotate(&store, &third, NOW).await.err(),
        Some(Refusal::RefreshTokenRevoked)
    );
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_the_lost_token_is_dead() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    let lost = rotate(&store, &first, NOW).await.unwrap();
    let last_moment = NOW.plus(GRACE).minus(SECOND);
    let again = rotate(&store, &first, last_moment).await.unwrap();
    let next = rotate(&store, &again, last_moment).await.unwrap();
    // Whoever has the lost one shows that it was not lost.
    assert_eq!(
        rotate(&store, &lost, last_moment).await.err(),
        Some(Refusal::RefreshTokenReused)
    );
    assert_eq!(
        rotate(&store, &next, last_moment).await.err(),
        Some(Refusal::RefreshTokenRevoked)
    );
}

#[tokio::test]
async fn after_the_grace_a_used_token_ends_its_family() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    rotate(&store, &first, NOW).await.unwrap();
    assert_eq!(
        rotate(&store, &first, NOW.plus(GRACE)).await.err(),
        Some(Refusal::RefreshTokenReused)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_rotations_never_leave_two_live_tokens() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let (store, first) = (store.clone(), first.clone());
            tokio::spawn(async move { rotate(&store, &first, NOW).await })
        })
        .collect();
    let mut given = Vec::new();
    for attempt in attempts {
        given.extend(attempt.await.unwrap());
    }
    let live: i64 = sqlx::query_scalar("SELECT count(*) FROM refresh_tokens WHERE state = 'live'")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert_eq!((given.len(), live), (20, 1));
}

#[tokio::test]
async fn a_client_revokes_its_own_family_only() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    assert_eq!(store.revoke(&first.hash(), &id("c2"), NOW).await.unwrap(), None);
    assert_eq!(
        store.revoke(&opaque().hash(), &id("c1"), NOW).await.unwrap(),
        None
    );
    let second = rotate(&store, &first, NOW).await.unwrap();
    assert!(
        store
            .revoke(&second.hash(), &id("c1"), NOW)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        rotate(&store, &second, NOW).await.err(),
        Some(Refusal::RefreshTokenRevoked)
    );
}

#[tokio::test]
async fn what_is_over_is_reaped_and_nothing_else() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    store.keep_client(&client("unused"), NOW).await.unwrap();
    store
        .allow(&alice(), &id("unused"), &resource(), &scopes("n:read"), NOW)
        .await
        .unwrap();
    let document = id("https://c.example/c.json");
    store
        .allow(&alice(), &document, &resource(), &scopes("n:read"), NOW)
        .await
        .unwrap();
    store
        .keep_client(
            &Client {
                provenance: Provenance::Preregistered,
                ..client("fixed")
            },
            NOW,
        )
        .await
        .unwrap();
    store
        .keep_session(&opaque().hash(), &alice(), NOW.plus(SECOND))
        .await
        .unwrap();

    let before = store.reap(NOW.plus(UNUSED_CLIENT).minus(SECOND)).await.unwrap();
    assert_eq!(
        before,
        Reaped {
            sessions: 1,
            codes: 1,
            ..Reaped::default()
        }
    );
    let after = store.reap(NOW.plus(UNUSED_CLIENT)).await.unwrap();
    assert_eq!(
        after,
        Reaped {
            clients: 1,
            ..Reaped::default()
        }
    );
    assert_eq!(store.client(&id("unused")).await.unwrap(), None);
    assert!(
        store
            .allowed(&alice(), &id("unused"), &resource())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        !store
            .allowed(&alice(), &document, &resource())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(rotate(&store, &first, NOW.plus(UNUSED_CLIENT)).await.is_ok());

    let idle = store
        .reap(NOW.plus(UNUSED_CLIENT).plus(IDLE_CLIENT))
        .await
        .unwrap();
    assert_eq!(
        idle,
        Reaped {
            clients: 1,
            families: 1,
            ..Reaped::default()
        }
    );
    assert!(store.client(&id("fixed")).await.unwrap().is_some());
}

#[tokio::test]
async fn registrations_are_counted_from_an_instant_on() {
    let folder = Folder::new();
    let store = peopled(&folder).await;
    store
        .keep_client(
            &Client {
                provenance: Provenance::Preregistered,
                ..client("fixed")
            },
            NOW,
        )
        .await
        .unwrap();
    assert_eq!(store.registered_since(NOW).await.unwrap(), 1);
    assert_eq!(store.registered_since(NOW.plus(SECOND)).await.unwrap(), 0);
}

#[tokio::test]
async fn no_secret_is_in_the_files() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    let session = opaque();
    store.keep_session(&session.hash(), &alice(), NOW).await.unwrap();
    store.close().await;
    let bytes = std::fs::read(folder.file()).unwrap();
    for secret in [&first, &session] {
        let text = secret.reveal().as_bytes();
        assert!(!bytes.windows(text.len()).any(|window| window == text));
    }
}

#[tokio::test]
async fn a_revocation_that_comes_again_ends_nothing_that_began_since() {
    let folder = Folder::new();
    let (store, first) = refreshable(&folder).await;
    let issuer = Issuer::parse("https://as.example").unwrap();
    let store = store.issuing(&issuer, Lifetime::from_hours(1)).await.unwrap();
    let log = RevocationLog::open(&format!("sqlite:{}", folder.file().display())).unwrap();
    let target = Target::User {
        issuer,
        subject: alice(),
        extent: Extent::IssuedUntil(NOW),
    };
    let by = By::Transmitter("https://ssf.example".to_owned());
    let id = RevocationId::parse("s-1").unwrap();
    let entry =
        Entry::Revoke(target.revoked(id, NOW, Lifetime::from_days(1), Reason::of("session-revoked"), by));
    let again = entry.clone();
    log.add(move || entry).unwrap();
    assert_eq!(
        rotate(&store, &first, NOW).await.err(),
        Some(Refusal::RefreshTokenRevoked)
    );
    // Alice logs in again.
    let verifier = Verifier::generate(&System).unwrap();
    let code = keep_code(&store, &verifier).await;
    let second = opaque();
    redeem(&store, &code, &verifier, &second).await.unwrap();
    log.add(move || again).unwrap();
    assert!(rotate(&store, &second, NOW).await.is_ok());
    assert_eq!(log.count().unwrap(), 1);
}
