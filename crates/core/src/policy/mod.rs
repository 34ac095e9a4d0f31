//! Room 4: may this identity make this call? Cedar decides; scopes, effects and hierarchy compile to it.
//!
//! Takes: [`VerifiedIdentity`](crate::identity::VerifiedIdentity), [`Call`](crate::wire::Call). Gives: [`Permit`] or
//! [`Denial`]. May use: `identity`, `wire`. Never: touches network, clock or raw claims; allows by default.
//!
//! Everything is one Cedar policy set: what scopes open is generated from [`Rules`], what is finer comes from the
//! operator's files, and a `forbid` anywhere beats a `permit` anywhere. What operators may write is the schema in
//! `schema.rs`. Cedar skips a rule that fails to evaluate; we deny, since the rule may have been a `forbid`.
//!
//! Cedar walks every policy of a set for every question, so the set is cut by action, resource and principal when it
//! is compiled (`index.rs`), and a decision looks only at what can apply: its cost does not grow with the number of
//! tools, servers or rules. What can be prepared is (`engine.rs`).

mod arguments;
mod compile;
mod decide;
mod engine;
mod index;
mod rules;
mod schema;
mod scopes;
mod vocabulary;

pub use decide::{Denial, Needs, Permit, Policy};
pub use rules::{Effect, PolicyError, Rules, ScopeDescription, ServerRules, ToolRule};
