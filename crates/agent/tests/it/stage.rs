//! The stage: a person, a clock, a folder.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_agent::{Agent, Presenter, Settings};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{self, Clock};
use portcullis_testkit::{Request, Scratch};
use tokio::task::JoinHandle;

use crate::parties::Parties;

/// A person who logs in at once: opens the address, follows the redirect, reads the page.
#[derive(Default)]
pub(crate) struct Person(Mutex<Vec<JoinHandle<String>>>);

impl Presenter for Person {
    fn authorize(&self, url: &str) {
        let url = url.to_owned();
        self.0.lock().unwrap().push(tokio::spawn(async move {
            let redirect = Request::get(url).send().await.unwrap();
            assert_eq!(redirect.status, 302, "{}", redirect.text());
            let page = Request::get(redirect.header("location")).send().await.unwrap();
            assert_eq!(page.header("cache-control"), "no-store");
            page.text()
        }));
    }
}

/// The system's clock, moved on by some seconds.
#[derive(Default)]
pub(crate) struct Shifted(AtomicI64);

impl Clock for Shifted {
    fn now(&self) -> UnixTime {
        let by = u64::try_from(self.0.load(Ordering::Relaxed)).unwrap();
        clock::System.now().plus(Lifetime::from_secs(by))
    }
}

/// An agent with a person and a clock.
pub(crate) struct Stage {
    pub(crate) parties: Parties,
    folder: Scratch,
    clock: Arc<Shifted>,
    person: Arc<Person>,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self {
            parties: Parties::start().await,
            folder: Scratch::new("agent").unwrap(),
            clock: Arc::default(),
            person: Arc::default(),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.folder.path(), Arc::clone(&self.person) as Arc<dyn Presenter>);
        settings.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        settings
    }

    /// Another process, as far as the folder can tell.
    pub(crate) async fn agent(&self) -> Agent {
        Agent::open(self.settings()).await.unwrap()
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The page that the person saw after this login, counted from 0.
    pub(crate) async fn page(&self, login: usize) -> String {
        let seen = self.person.0.lock().unwrap().remove(login);
        seen.await.unwrap()
    }
}
