//! The answers to callers who are withheld what they could have had: by a revocation, and by a quota.

use portcullis_core::revocation::Revoked;

use super::{Asked, RATE_LIMIT, RATE_LIMIT_POLICY, Row};
use crate::limits::{Limited, Whose};

impl Row {
    /// RFC 6750 §3.1: a revoked token is an `invalid_token`, and another one helps. Where none does, the answer is 403 without a
    /// challenge, so that no client goes round in circles.
    pub(super) fn revoked(revoked: Revoked, asked: &Asked<'_>) -> Self {
        let code = revoked.code();
        match revoked {
            Revoked::Token | Revoked::Grant | Revoked::UserTokens | Revoked::AgentTokens => Self::ours(
                401,
                code,
                "the access token was revoked; get a new one by logging in again",
            )
            .challenged(asked.invalid_token("the access token was revoked")),
            Revoked::User => Self::ours(
                403,
                code,
                "the user that the token is of is revoked here, and another token does not help; ask the operator",
            ),
            Revoked::Agent => Self::ours(
                403,
                code,
                "the agent that the token is of is revoked here, and another token does not help; ask the operator",
            ),
            Revoked::Server => Self::ours(
                403,
                code,
                "this server is revoked: no call of it goes on until its operator lifts that",
            ),
        }
    }

    /// RFC 6585 §4, with the fields of draft-ietf-httpapi-ratelimit-headers: the quota by its name, none of it left, and the seconds
    /// until there is some.
    pub(super) fn limited(limited: &Limited) -> Self {
        let (rate, wait) = (limited.rate, limited.wait.as_secs());
        let name = limited.whose.name();
        let whom = match limited.whose {
            Whose::Address(_) => "requests without a credential that holds come from this address",
            Whose::Asking(_) => "tokens that their issuer does not know come from this address",
            Whose::Client(..) => "requests come from this client",
            Whose::User(..) => "requests come from the clients of this user",
            Whose::Tool(..) => "calls of this tool are made by all of its callers",
        };
        let (count, per) = (rate.count(), rate.per().as_secs());
        let message = format!("more {whom} than the {rate} there may be; try again in {wait} seconds");
        Self {
            rate: [
                (
                    RATE_LIMIT_POLICY,
                    Some(format!("\"{name}\";q={count};w={per}").into()),
                ),
                (RATE_LIMIT, Some(format!("\"{name}\";r=0;t={wait}").into())),
            ],
            ..Self::ours(429, limited.whose.code(), message)
        }
        .retried_after(wait.to_string())
    }
}
