//! Configuration: one TOML file becomes a [`Config`], or a [`Report`] of everything that is wrong with it.
//!
//! Takes: the text of a file. Gives: [`Config`], the JSON Schema, the reference page. May use: core's types.
//! Never: reads the environment, opens what the file names, guesses a value that grants, trusts or skips.
//!
//! `shape.rs` is the one table of sections and keys. Reading, "did you mean", the JSON Schema and `docs/config.md`
//! all come from it, so none of them can know a key that another does not.

mod build;
mod custody;
mod document;
mod fixed;
mod issuers;
mod limits;
mod mtls;
mod proofs;
mod report;
mod settings;
mod shape;
mod show;
mod signals;
mod tls;
mod units;
mod workloads;

pub use limits::LimitsConfig;
pub use mtls::{MtlsConfig, MtlsRequired, ProxyConfig};
pub use report::{Finding, Report};
pub use settings::{
    AuditConfig, AuthorityConfig, ClientConfig, Config, CustodyConfig, DpopConfig, DpopNonce, DpopRequired,
    DpopRule, EphemeralConfig, GatewayConfig, IntrospectionConfig, IssuerConfig, KeptIn, KeysConfig,
    PolicyConfig, RedisConfig, ResourceConfig, SealConfig, SecretFrom, ServerConfig, StoreConfig, TlsConfig,
    Transport, UserConfig,
};
pub use shape::{json_schema, reference_page};
pub use show::Shown;
pub use signals::SignalsConfig;
pub use workloads::TrustDomainConfig;

#[cfg(test)]
mod tests;
