//! `portcullis gateway` and authorization servers that are not ours: published clients get tokens of `oidc-provider`, Authlib and
//! idpyoidc, and call a tool of a published MCP server with them. Names of tests have the rows of the attack catalogue.

mod oidc_provider;
mod parts;
mod python;
mod stage;
mod tls;
