//! A PKCS #11 module in this process: loaded once, initialised once, restarted when it died.
//!
//! A process may call `C_Initialize` once per module, whoever in it uses it, and `C_Finalize` ends every session of
//! everyone. So there is one [`Module`] per library, shared by all keyrings, with a gate: work goes in and out, and a
//! restart waits until nobody is inside. A restart gives all sessions up, which is what the generation is for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};

use super::super::BackendError;

/// A module is restarted no more often than this, however much work fails.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the others to leave before a restart, and for a restart to end.
const GATE: Duration = Duration::from_secs(5);

/// One loaded library.
pub(super) struct Module {
    path: PathBuf,
    library: Pkcs11,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    initialised: bool,
    restarting: bool,
    /// Calls that are in the library now.
    inside: usize,
    /// Counts initialisations: a session of another generation is gone.
    generation: u64,
    tried: Option<Instant>,
}

/// Permission to call into the library; a restart waits until it is dropped.
pub(super) struct Inside<'m> {
    module: &'m Module,
    /// The initialisation that sessions opened now belong to.
    pub(super) generation: u64,
}

impl Module {
    /// The module at this path, loaded now or before.
    ///
    /// # Errors
    /// [`BackendError::Configuration`] when the file is not a PKCS #11 module.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, BackendError> {
        static LOADED: OnceLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = OnceLock::new();
        // Two names of one file are one module. A bare name is looked up by the dynamic linker.
        let key = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut loaded = locked(LOADED.get_or_init(Mutex::default));
        if let Some(module) = loaded.get(&key) {
            return Ok(Arc::clone(module));
        }
        let library =
            Pkcs11::new(path).map_err(|error| BackendError::Configuration(unloadable(path, &error)))?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            library,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        loaded.insert(key, Arc::clone(&module));
        Ok(module)
    }

    /// Goes in, waiting for a restart to end and initialising the module where that did not succeed before.
    pub(super) fn enter(&self) -> Result<Inside<'_>, BackendError> {
        let state = locked(&self.state);
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, GATE, |state| state.restarting)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(self.unavailable("it is being restarted, which takes long"));
        }
        if !state.initialised {
            self.pause(&mut state)?;
            self.initialise(&mut state)?;
        }
        state.inside += 1;
        Ok(Inside {
            module: self,
            generation: state.generation,
        })
    }

    /// Ends the module and starts it again, unless somebody did since `generation`.
    pub(super) fn restart(&self, generation: u64) -> Result<(), BackendError> {
        let mut state = locked(&self.state);
        if state.restarting || state.generation != generation {
            return Ok(());
        }
        self.pause(&mut state)?;
        state.restarting = true;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, GATE, |state| state.inside > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.restarting = false;
        self.changed.notify_all();
        if state.inside > 0 {
            return Err(
                self.unavailable("a call into it does not come back; restart the server if that stays so")
            );
        }
        tracing::warn!(module = %self.path.display(), "restarting the PKCS #11 module");
        state.initialised = false;
        if let Err(error) = self.library.clone().finalize() {
            tracing::debug!(%error, "the PKCS #11 module did not end well");
        }
        self.initialise(&mut state)
    }

    /// Everything that failed within the pause is answered without asking the module again.
    fn pause(&self, state: &mut State) -> Result<(), BackendError> {
        if state.tried.is_some_and(|tried| tried.elapsed() < RESTART_PAUSE) {
            return Err(self.unavailable("it failed a moment ago"));
        }
        state.tried = Some(Instant::now());
        Ok(())
    }

    fn initialise(&self, state: &mut State) -> Result<(), BackendError> {
        match self
            .library
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        {
            // Somebody else in this process did.
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                state.initialised = true;
                state.generation += 1;
                // The pause is between failures; the first one after a success is dealt with at once.
                if state.generation == 1 {
                    state.tried = None;
                }
                Ok(())
            }
            Err(error) => Err(self.unavailable(&format!("it does not start ({})", short(&error)))),
        }
    }

    pub(super) fn unavailable(&self, detail: &str) -> BackendError {
        BackendError::Unavailable(format!("PKCS #11 module `{}`: {detail}", self.path.display()))
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Inside<'_> {
    pub(super) fn library(&self) -> &Pkcs11 {
        &self.module.library
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.module.state);
        state.inside = state.inside.saturating_sub(1);
        self.module.changed.notify_all();
    }
}

/// What the library said, in its own name for it: the crate's text explains each code at length.
pub(super) fn short(error: &TokenError) -> String {
    if let TokenError::Pkcs11(code, function) = error {
        format!("{function:?} gave {code:?}")
    } else {
        error.to_string()
    }
}

fn unloadable(path: &Path, error: &TokenError) -> String {
    let path = path.display();
    if let TokenError::LibraryLoading(error) = error {
        format!(
            "`{path}` cannot be loaded as a PKCS #11 module: {error}; set `module` in [keys.pkcs11] to the HSM's library \
             (SoftHSM: /usr/lib/softhsm/libsofthsm2.so, a TPM: libtpm2_pkcs11.so.1)"
        )
    } else {
        format!(
            "`{path}` is a library, but not a PKCS #11 module ({}); set `module` in [keys.pkcs11] to the HSM's library",
            short(error)
        )
    }
}

/// A panic elsewhere left nothing half done that matters here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
