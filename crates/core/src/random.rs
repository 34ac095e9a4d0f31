//! Randomness as an argument.

/// A source of cryptographically secure random bytes. The one real source lives in `portcullis-net`.
pub trait SecureRandom: Send + Sync {
    /// Fills all of `out`, or fails and leaves `out` unspecified.
    ///
    /// # Errors
    /// [`RandomUnavailable`] when the system's source gives nothing; the caller must refuse what it was about to do.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable>;
}

/// The system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's source of randomness gave nothing")]
pub struct RandomUnavailable;

/// `N` random bytes as unpadded base64url text: an unguessable value for codes, states, ids and secrets.
///
/// # Errors
/// [`RandomUnavailable`] as [`SecureRandom::fill`].
pub fn token<const N: usize>(random: &dyn SecureRandom) -> Result<String, RandomUnavailable> {
    let mut bytes = [0_u8; N];
    random.fill(&mut bytes)?;
    Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes))
}
