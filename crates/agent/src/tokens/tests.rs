use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use portcullis_core::ids::{ClientId, Issuer, ResourceUri};
use portcullis_core::oauth::client::{Client, ClientAuth, ClientOrigin, Tokens};
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixTime;
use portcullis_testkit::Scratch;

use super::*;

const SERVER: &str = "https://mcp.example/mcp";

fn grant(access: &str) -> Grant {
    Grant {
        issuer: Issuer::parse("https://as.example").unwrap(),
        resource: ResourceUri::parse(SERVER).unwrap(),
        token_endpoint: "https://as.example/token".to_owned(),
        revocation_endpoint: None,
        client: ClientRecord::from(Client {
            id: ClientId::parse("agent-1").unwrap(),
            auth: ClientAuth::Basic(Secret::new("hunter2-client")),
            origin: ClientOrigin::Dynamic,
            redirect_uri: None,
            secret_expires_at: None,
        }),
        requested: None,
        granted: None,
        access: Secret::new(access),
        refresh: Some(Secret::new("hunter2-refresh")),
        expires_at: Some(1_000),
        sealed: Default::default(),
    }
}

async fn open(folder: &Path) -> Result<TokenStore, StoreError> {
    TokenStore::open(folder.to_owned()).await
}

async fn put(store: &TokenStore, access: &str) {
    let grant = grant(access);
    store
        .update(move |kept| drop(kept.grants.insert(SERVER.to_owned(), grant)))
        .await
        .unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_kept_is_there_again_and_nowhere_in_the_clear() {
    let scratch = Scratch::new("tokens").unwrap();
    let folder = scratch.path().join("made");
    put(&open(&folder).await.unwrap(), "hunter2-access").await;
    let grant = open(&folder).await.unwrap().grant(SERVER).await.unwrap().unwrap();
    assert_eq!(grant.access, Secret::new("hunter2-access"));
    assert_eq!(
        Client::from(grant.client.clone()).auth,
        ClientAuth::Basic(Secret::new("hunter2-client"))
    );
    assert!(!format!("{grant:?}").contains("hunter2"));

    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        assert!(
            !bytes.windows(7).any(|window| window == b"hunter2"),
            "{}",
            path.display()
        );
        files += 1;
    }
    assert_eq!(files, 3, "the key, the tokens, the lock");
}

#[tokio::test]
async fn every_changed_byte_is_noticed() {
    let scratch = Scratch::new("tokens").unwrap();
    let store = open(scratch.path()).await.unwrap();
    put(&store, "one").await;
    let path = scratch.path().join("tokens");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(
            matches!(store.read().await, Err(StoreError::Damaged { .. })),
            "byte {at}"
        );
    }
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(
            matches!(store.read().await, Err(StoreError::Damaged { .. })),
            "cut at {cut}"
        );
    }
    fs::write(&path, &whole).unwrap();
    assert!(store.grant(SERVER).await.unwrap().is_some());
}

#[tokio::test]
async fn what_others_can_read_or_write_is_not_used() {
    // CLI-20.
    let scratch = Scratch::new("tokens").unwrap();
    let store = open(scratch.path()).await.unwrap();
    put(&store, "one").await;
    let set = |name: &str, mode| {
        fs::set_permissions(scratch.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["tokens", "key"] {
        for bad in [0o644, 0o640, 0o604, 0o660] {
            set(name, bad);
            assert!(
                matches!(store.read().await, Err(StoreError::Exposed { .. })),
                "{name} {bad:o}"
            );
        }
        set(name, 0o600);
    }
    for bad in [0o770, 0o707, 0o777] {
        set("", bad);
        assert!(
            matches!(open(scratch.path()).await, Err(StoreError::Exposed { .. })),
            "{bad:o}"
        );
    }
    set("", 0o700);
    let path = scratch.path().join("tokens");
    fs::rename(&path, scratch.path().join("elsewhere")).unwrap();
    symlink(scratch.path().join("elsewhere"), &path).unwrap();
    assert!(matches!(store.read().await, Err(StoreError::NotAFile { .. })));
}

#[tokio::test]
async fn a_lost_key_is_not_replaced() {
    let scratch = Scratch::new("tokens").unwrap();
    put(&open(scratch.path()).await.unwrap(), "one").await;
    fs::remove_file(scratch.path().join("key")).unwrap();
    assert!(matches!(
        open(scratch.path()).await,
        Err(StoreError::Damaged { .. })
    ));
}

#[tokio::test]
async fn changes_of_several_stores_on_one_folder_all_stay() {
    let scratch = Scratch::new("tokens").unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let folder = scratch.path().to_owned();
        writers.spawn(async move {
            // Each opens the folder itself, as another process would: one of them makes the key.
            let store = TokenStore::open(folder).await.unwrap();
            let grant = grant("one");
            store
                .update(move |kept| drop(kept.grants.insert(format!("{SERVER}/{number}"), grant)))
                .await
                .unwrap();
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(
        open(scratch.path())
            .await
            .unwrap()
            .read()
            .await
            .unwrap()
            .grants
            .len(),
        8
    );
}

#[tokio::test]
async fn one_at_a_time_holds_a_grant_and_others_are_free() {
    let scratch = Scratch::new("tokens").unwrap();
    let (one, two) = (
        open(scratch.path()).await.unwrap(),
        open(scratch.path()).await.unwrap(),
    );
    let held = one.hold(SERVER).await.unwrap();
    drop(two.hold("https://other.example/mcp").await.unwrap());
    let mut waiting = tokio::spawn(async move { two.hold(SERVER).await.map(drop) });
    // It has had its turn, and did not get it.
    put(&one, "one").await;
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(held);
    waiting.await.unwrap().unwrap();
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let usable = |now, refused: Option<&str>| {
        grant("one").is_usable(UnixTime::from_secs(now), refused.map(Secret::new).as_ref())
    };
    assert!(usable(969, None));
    assert!(!usable(970, None));
    assert!(!usable(0, Some("one")));
    assert!(usable(0, Some("two")));
    let endless = Grant {
        expires_at: None,
        ..grant("one")
    };
    assert!(endless.is_usable(UnixTime::from_secs(i64::MAX / 2000), None));
}

#[test]
fn a_refresh_without_a_new_refresh_token_keeps_the_old_one() {
    let tokens = |refresh: Option<&str>| Tokens {
        access: Secret::new("two"),
        refresh: refresh.map(Secret::new),
        expires_at: None,
        granted: None,
    };
    let mut grant = grant("one");
    grant.renew(tokens(None));
    assert_eq!(
        (grant.access.reveal(), grant.refresh.as_ref().unwrap().reveal()),
        ("two", "hunter2-refresh")
    );
    grant.renew(tokens(Some("next")));
    assert_eq!(grant.refresh.unwrap().reveal(), "next");
}
