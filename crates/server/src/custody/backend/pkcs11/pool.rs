//! Sessions with one token: a few threads, each with one session, and bounded waiting for them.
//!
//! A call into a PKCS #11 module cannot be interrupted. The threads make it our choice how long to wait for one: who
//! waits too long gets an error, and an HSM that hangs costs these threads and no others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::super::BackendError;
use super::super::secret::SecretSource;
use super::module::{Inside, Module, short};

/// Longest wait for a signature or an opened key.
pub(super) const USE: Duration = Duration::from_secs(10);
/// Longest wait for a new key: a TPM takes its time over RSA.
pub(super) const MAKE: Duration = Duration::from_secs(120);
/// Work that may wait for a thread; more is refused at once.
const QUEUE: usize = 256;
/// First use, again with a new session, again after a restart of the module.
const ATTEMPTS: usize = 3;
/// Between two tries without a restart.
const BREATH: Duration = Duration::from_millis(50);

/// Which token, and how to log in there.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Its label or its serial number.
    pub(super) name: String,
    pub(super) pin: SecretSource,
}

/// What went wrong at the token.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The module said so.
    Token(TokenError),
    /// The module said so about an operation on what a stranger sent, so that it may be about the input.
    Input(TokenError),
    /// Final.
    Ours(BackendError),
    /// What was to be opened is not for this key.
    Invalid,
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<BackendError> for Trouble {
    fn from(error: BackendError) -> Self {
        Self::Ours(error)
    }
}

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The threads of one token.
pub(super) struct Pool {
    jobs: SyncSender<Job>,
    module: Arc<Module>,
}

/// What one thread has.
struct Desk {
    module: Arc<Module>,
    token: Arc<Token>,
    refused: Arc<Mutex<Option<Refused>>>,
    session: Option<Open>,
}

struct Open {
    session: Session,
    generation: u64,
}

/// A PIN that the token refused, as its digest. It is not tried again: a few more times lock the token.
struct Refused {
    digest: Vec<u8>,
    said: String,
}

impl Pool {
    /// Starts the threads. Nothing is opened yet.
    pub(super) fn start(module: Arc<Module>, token: Token, sessions: usize) -> Result<Self, BackendError> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let token = Arc::new(token);
        let refused = Arc::new(Mutex::new(None));
        for number in 0..sessions.max(1) {
            let queue = Arc::clone(&queue);
            let mut desk = Desk {
                module: Arc::clone(&module),
                token: Arc::clone(&token),
                refused: Arc::clone(&refused),
                session: None,
            };
            std::thread::Builder::new()
                .name(format!("pkcs11-{number}"))
                .spawn(move || desk.work_off(&queue))
                .map_err(|error| BackendError::Unavailable(format!("no thread can be started: {error}")))?;
        }
        Ok(Self { jobs, module })
    }

    /// Does `work` with a session, again with a new one where the old one was lost. `work` must bear being repeated.
    pub(super) fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Fn(&Session, &Place<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, answered) = sync_channel(1);
        let waiting = Arc::new(());
        let still = Arc::downgrade(&waiting);
        let job = Box::new(move |desk: &mut Desk| {
            if still.strong_count() > 0 {
                // Nobody listens any more when the wait was too long.
                drop(answer.send(desk.attempt(&still, &work)));
            }
        });
        self.jobs.try_send(job).map_err(|error| {
            self.module.unavailable(match error {
                TrySendError::Full(_) => "too much work is waiting for it",
                TrySendError::Disconnected(_) => "its threads have ended",
            })
        })?;
        answered.recv_timeout(patience).map_err(|error| {
            self.module.unavailable(match error {
                RecvTimeoutError::Timeout => "it does not answer in time",
                RecvTimeoutError::Disconnected => "it failed in an unexpected way",
            })
        })?
    }
}

/// Where a session is.
pub(super) struct Place<'a> {
    pub(super) inside: &'a Inside<'a>,
    pub(super) slot: Slot,
}

impl Desk {
    fn work_off(&mut self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else {
                self.put_away();
                return;
            };
            if catch_unwind(AssertUnwindSafe(|| job(self))).is_err() {
                tracing::error!("a PKCS #11 call panicked");
                self.session = None;
            }
        }
    }

    /// Tries until it works, is refused, or there is nothing left to renew.
    fn attempt<T>(
        &mut self,
        still: &Weak<()>,
        work: &impl Fn(&Session, &Place<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut last = self.module.unavailable("nobody waits for it any more");
        for number in 1..=ATTEMPTS {
            if still.strong_count() == 0 {
                break;
            }
            let module = Arc::clone(&self.module);
            let inside = module.enter()?;
            let generation = inside.generation;
            let trouble = match self.once(&inside, work) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let (error, about_input) = match trouble {
                Trouble::Token(error) => (error, false),
                Trouble::Input(error) => (error, true),
                Trouble::Ours(error @ (BackendError::Unavailable(_) | BackendError::Missing(_)))
                    if error.may_pass() || !self.token_is_there(&inside) =>
                {
                    // Some modules find no keys when the whole token is gone.
                    last = if error.may_pass() {
                        error
                    } else {
                        self.module.unavailable("the token is not there any more")
                    };
                    self.put_away_inside(&inside);
                    drop(inside);
                    if !renewed(&module, generation, number) {
                        return Err(Trouble::Ours(last));
                    }
                    continue;
                }
                other @ (Trouble::Ours(_) | Trouble::Invalid) => return Err(other),
            };
            last = match verdict(&error) {
                Verdict::Final(error) => return Err(Trouble::Ours(error)),
                Verdict::Invalid if about_input => return Err(Trouble::Invalid),
                // Whatever a stranger sends must not make us restart the module: does it still work?
                Verdict::Dead | Verdict::Invalid if about_input && self.is_well(&inside) => {
                    return Err(Trouble::Invalid);
                }
                Verdict::Stale | Verdict::Dead | Verdict::Invalid => self.module.unavailable(&short(&error)),
            };
            // With a dead session, closing it is all that can be tried.
            self.put_away_inside(&inside);
            drop(inside);
            let again = number > 1 || matches!(verdict(&error), Verdict::Dead);
            if again && !renewed(&module, generation, number) {
                return Err(Trouble::Ours(last));
            }
        }
        Err(Trouble::Ours(last))
    }

    fn once<T>(
        &mut self,
        inside: &Inside<'_>,
        work: &impl Fn(&Session, &Place<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        // A session of an earlier generation is gone; its number may be somebody else's by now, so it is not closed.
        let kept = self
            .session
            .take()
            .filter(|open| open.generation == inside.generation);
        let (open, slot) = match kept {
            Some(open) => {
                let slot = open.session.get_session_info()?.slot_id();
                (open, slot)
            }
            None => self.open(inside)?,
        };
        let done = work(&open.session, &Place { inside, slot });
        self.session = Some(open);
        done
    }

    fn open(&self, inside: &Inside<'_>) -> Result<(Open, Slot), Trouble> {
        let slot = self.find(inside)?;
        let session = inside.library().open_rw_session_no_drop(slot)?;
        let open = Open {
            session,
            generation: inside.generation,
        };
        if let Err(trouble) = self.login(&open.session) {
            drop(open.session.close());
            return Err(trouble);
        }
        Ok((open, slot))
    }

    fn find(&self, inside: &Inside<'_>) -> Result<Slot, Trouble> {
        let mut seen = Vec::new();
        for slot in inside.library().get_slots_with_token()? {
            // One broken reader says nothing of the others.
            let Ok(info) = inside.library().get_token_info(slot) else {
                continue;
            };
            if info.label() == self.token.name || info.serial_number() == self.token.name {
                return Ok(slot);
            }
            if info.token_initialized() {
                seen.push(format!("`{}`", info.label()));
            }
        }
        let there = if seen.is_empty() {
            "no token is there".to_owned()
        } else {
            format!("there are {}", seen.join(", "))
        };
        Err(Trouble::Ours(self.module.unavailable(&format!(
            "no token has the label or serial number `{}` ({there}); is it plugged in, and is `token` right?",
            self.token.name
        ))))
    }

    fn login(&self, session: &Session) -> Result<(), Trouble> {
        let pin = self.token.pin.read()?;
        let print = digest(&SHA256, pin.as_bytes());
        // Held while the token decides, so that one wrong PIN costs one try and not one for each thread.
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = refused
            .as_ref()
            .filter(|refused| refused.digest == print.as_ref())
        {
            return Err(Trouble::Ours(BackendError::Configuration(refused.said.clone())));
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin.to_string()))) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                *refused = None;
                Ok(())
            }
            Err(TokenError::Pkcs11(
                code @ (RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized),
                _,
            )) => {
                let said = format!(
                    "token `{}` refuses the PIN from {} ({code:?}); it is not tried again until it is changed, because \
                     tokens lock after a few wrong ones",
                    self.token.name, self.token.pin
                );
                *refused = Some(Refused {
                    digest: print.as_ref().to_vec(),
                    said: said.clone(),
                });
                Err(Trouble::Ours(BackendError::Configuration(said)))
            }
            Err(other) => Err(Trouble::Token(other)),
        }
    }

    /// Whether session, token and device still do something: asks the device for randomness and the store for objects.
    fn is_well(&self, inside: &Inside<'_>) -> bool {
        self.session
            .as_ref()
            .filter(|open| open.generation == inside.generation)
            .is_some_and(|open| {
                open.session.generate_random_vec(8).is_ok()
                    && open
                        .session
                        .find_objects(&[cryptoki::object::Attribute::Class(
                            cryptoki::object::ObjectClass::PRIVATE_KEY,
                        )])
                        .is_ok_and(|keys| !keys.is_empty())
            })
    }

    /// Whether the token still answers to its name.
    fn token_is_there(&self, inside: &Inside<'_>) -> bool {
        self.session
            .as_ref()
            .and_then(|open| open.session.get_session_info().ok())
            .and_then(|session| inside.library().get_token_info(session.slot_id()).ok())
            .is_some_and(|token| token.label() == self.token.name || token.serial_number() == self.token.name)
    }

    fn put_away(&mut self) {
        let module = Arc::clone(&self.module);
        if let Ok(inside) = module.enter() {
            self.put_away_inside(&inside);
        }
    }

    fn put_away_inside(&mut self, inside: &Inside<'_>) {
        if let Some(open) = self.session.take()
            && open.generation == inside.generation
            && let Err(error) = open.session.close()
        {
            tracing::debug!(error = short(&error), "a PKCS #11 session did not close");
        }
    }
}

/// Starts the module again. Where that is too soon after the last time, a new session alone is worth one more try.
fn renewed(module: &Module, generation: u64, attempt: usize) -> bool {
    if module.restart(generation).is_ok() {
        return true;
    }
    std::thread::sleep(BREATH);
    attempt == 1
}

enum Verdict {
    /// The session or a handle is no longer valid: open another.
    Stale,
    /// The device or the module is gone: start it again.
    Dead,
    /// The data does not fit the key.
    Invalid,
    /// Trying again changes nothing.
    Final(BackendError),
}

fn verdict(error: &TokenError) -> Verdict {
    let TokenError::Pkcs11(code, _) = error else {
        return Verdict::Final(BackendError::Refused(format!(
            "the PKCS #11 module cannot be used: {}",
            short(error)
        )));
    };
    // The table of codes is long and grows; what is not named is taken for an answer about what was asked.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "about a hundred codes, most of them refusals"
    )]
    match code {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::KeyChanged
        | RvError::OperationActive
        | RvError::OperationNotInitialized => Verdict::Stale,
        RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::HostMemory
        | RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized
        | RvError::SessionCount
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => Verdict::Dead,
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::PublicKeyInvalid => Verdict::Invalid,
        _ => Verdict::Final(BackendError::Refused(format!(
            "the token refuses: {}",
            short(error)
        ))),
    }
}
