//! Where private keys are, against real parts: SoftHSM 2, a software TPM behind tpm2-pkcs11, a key service's stand-ins.
//!
//! One contract for every place. Each test makes its own token, TPM or server in a folder of its own, on ports of its
//! own, and ends what it started by its process id. A part that is not on this machine fails its test with its name and
//! how to get it; with `PORTCULLIS_ALLOW_MISSING=1` the test says so and passes.

#[cfg(test)]
mod aws;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod file;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod softhsm;
#[cfg(test)]
mod token;
#[cfg(test)]
mod tpm;
