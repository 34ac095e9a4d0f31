//! Questions to an issuer about its opaque tokens (RFC 7662).
//!
//! Takes: an endpoint and our credential for it, from configuration; tokens. Gives: the issuer's answer as it came. May use:
//! `fetch`, `clock`. Never: reads the answer, keeps it, asks twice at once about one token, asks more often than its limit.
//!
//! Whoever sends tokens that nobody knows makes us ask, so how often we ask is bounded by time alone: beyond that nobody's
//! token is asked about, and none is accepted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use portcullis_core::fault::Fault;
use portcullis_core::ids::Issuer;
use portcullis_core::limits;
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixTime;
use portcullis_core::wire::AccessToken;
use tokio::sync::OnceCell;
use url::{Url, form_urlencoded};

use crate::clock::Clock;
use crate::fetch::{self, Fetcher, Limits};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that may be asked at once after a quiet time.
pub const BURST: u32 = 100;
/// Questions that may be asked in each second after that.
pub const PER_SECOND: u32 = 50;

/// No answer about a token, so that it is not known whether it is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionUnavailable {
    /// No connection, no answer in time, or an answer with another status than 200.
    #[error("issuer `{issuer}` cannot be asked about tokens: {detail}")]
    Unreachable {
        /// The issuer.
        issuer: Issuer,
        /// What went wrong.
        detail: String,
    },
    /// The issuer does not accept our credential.
    #[error(
        "issuer `{issuer}` does not accept the credential with which it is asked about tokens (status {status})"
    )]
    RefusesUs {
        /// The issuer.
        issuer: Issuer,
        /// Its status.
        status: u16,
    },
    /// So many tokens that nobody knew came, that it is asked about no more of them now.
    #[error("issuer `{issuer}` is asked about as many tokens as it may be")]
    Busy {
        /// The issuer.
        issuer: Issuer,
    },
}

impl IntrospectionUnavailable {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "issuer.introspection-unavailable",
            Self::RefusesUs { .. } => "issuer.introspection-refuses-us",
            Self::Busy { .. } => "issuer.introspection-busy",
        }
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => Fault::Peer,
            Self::RefusesUs { .. } => Fault::Operator,
        }
    }
}

/// What is asked for by whoever waits for the same answer.
type Question = OnceCell<Result<Bytes, IntrospectionUnavailable>>;

/// Asks one issuer.
pub struct Introspection {
    issuer: Issuer,
    url: Url,
    authorization: HeaderValue,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// Questions under way, by the hash of the whole token.
    asking: Mutex<HashMap<[u8; 32], Weak<Question>>>,
    budget: Mutex<Budget>,
}

/// A credential that is none for an `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential has characters that no header can have")]
pub struct InvalidCredential;

impl Introspection {
    /// For one issuer. `authorization` is the whole value of the header with which we identify ourselves (RFC 7662 §2.1).
    ///
    /// # Errors
    /// [`InvalidCredential`].
    pub fn new(
        issuer: Issuer,
        url: Url,
        authorization: &Secret,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidCredential> {
        let mut authorization =
            HeaderValue::from_str(authorization.reveal()).map_err(|_| InvalidCredential)?;
        authorization.set_sensitive(true);
        let budget = Mutex::new(Budget::full(clock.now()));
        Ok(Self {
            issuer,
            url,
            authorization,
            fetcher,
            clock,
            asking: Mutex::default(),
            budget,
        })
    }

    /// The body of the issuer's answer about this token, whatever it says. Whoever asks about a token that is being asked
    /// about waits for the same answer.
    ///
    /// # Errors
    /// [`IntrospectionUnavailable`].
    pub async fn ask(&self, token: &AccessToken) -> Result<Bytes, IntrospectionUnavailable> {
        let waiting = Waiting::join(self, token);
        waiting.question.get_or_init(|| self.fetch(token)).await.clone()
    }

    async fn fetch(&self, token: &AccessToken) -> Result<Bytes, IntrospectionUnavailable> {
        if !self.spend() {
            tracing::warn!(issuer = %self.issuer, "too many unknown tokens: the issuer is not asked about more of them now");
            return Err(IntrospectionUnavailable::Busy {
                issuer: self.issuer.clone(),
            });
        }
        let answer = self.send(token).await;
        if let Err(trouble) = &answer {
            tracing::warn!(issuer = %self.issuer, %trouble, "a token cannot be checked");
        }
        answer
    }

    async fn send(&self, token: &AccessToken) -> Result<Bytes, IntrospectionUnavailable> {
        let unreachable = |detail: String| IntrospectionUnavailable::Unreachable {
            issuer: self.issuer.clone(),
            detail,
        };
        // RFC 7662 §2.1: a form, in a POST, with our own credential.
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.reveal())
            .append_pair("token_type_hint", "access_token")
            .finish();
        let request = http::Request::post(self.url.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Bytes::from(form))
            .map_err(|error| unreachable(error.to_string()))?;
        let limits = Limits {
            body: limits::INTROSPECTION_BYTES,
            time: PATIENCE,
        };
        let answer = self
            .fetcher
            .send(request, limits)
            .await
            .map_err(|error: fetch::Error| unreachable(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(IntrospectionUnavailable::RefusesUs {
                    issuer: self.issuer.clone(),
                    status: status.as_u16(),
                })
            }
            status => Err(unreachable(format!("it answered {status}"))),
        }
    }

    fn spend(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend(self.clock.now())
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<[u8; 32], Weak<Question>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("issuer", &self.issuer)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// One of those who wait for an answer. The last one that goes, with or without it, takes the question along.
struct Waiting<'i> {
    of: &'i Introspection,
    key: [u8; 32],
    question: Arc<Question>,
}

impl<'i> Waiting<'i> {
    fn join(of: &'i Introspection, token: &AccessToken) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.reveal().as_bytes()).as_ref());
        let mut asking = of.asking();
        let question = asking.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::new(Question::new());
            asking.insert(key, Arc::downgrade(&new));
            new
        });
        Self { of, key, question }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Under the lock, so that nobody joins a question that is just being taken away.
        let mut asking = self.of.asking();
        self.question = Arc::default();
        if asking
            .get(&self.key)
            .is_some_and(|question| question.strong_count() == 0)
        {
            asking.remove(&self.key);
        }
    }
}

/// A bucket of questions, in thousandths, that fills with time.
struct Budget {
    left: u64,
    at: UnixTime,
}

impl Budget {
    const FULL: u64 = BURST as u64 * 1000;

    fn full(at: UnixTime) -> Self {
        Self { left: Self::FULL, at }
    }

    fn spend(&mut self, now: UnixTime) -> bool {
        // A clock that was set back fills nothing, and does not stop the filling for good.
        let passed = u64::try_from(now.as_millis().saturating_sub(self.at.as_millis())).unwrap_or(0);
        self.at = now;
        let filled = passed.saturating_mul(u64::from(PER_SECOND));
        self.left = self.left.saturating_add(filled).min(Self::FULL);
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
