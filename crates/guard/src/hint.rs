//! What would make a refusal go away, for whoever reads the record: the caller is told less (see [`crate::refusal`]).

use portcullis_core::fault::Fault;
use portcullis_core::identity::{Failed, dpop};
use portcullis_core::policy::Denial;
use portcullis_core::revocation::Revoked;
use portcullis_core::wire;
use portcullis_net::introspection::IntrospectionUnavailable;

use crate::limits::Whose;
use crate::reason::{CertificateRefused, Reason, UpstreamError};
use crate::replay::ReplayUnavailable;
use crate::sealing::SealProblem;

impl Reason {
    /// What would fix it, and who can: one sentence, without anything of the request.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotFound => "call the address that the server's metadata names",
            Self::MethodNotAllowed { .. } => "use a method that `Allow` names",
            Self::HostMalformed => "send one `Host` header with a host and perhaps a port",
            Self::HostRefused => "call the gateway by its `public_url`, or correct `[gateway] public_url`",
            Self::OriginRefused => "add the page's origin to `[gateway] origins`, if it may send requests",
            Self::Request(error) => request(error),
            Self::NoCredential => {
                "get a token from the issuer that the metadata names, and send it as `Authorization: Bearer`"
            }
            Self::WorkloadNotGranted => {
                "add the workload to `[trust_domains.servers.NAME]`, or send an access token"
            }
            Self::Certificate(refused) => certificate(*refused),
            Self::Token(failed) => token(*failed),
            Self::Revoked(revoked) => match revoked {
                Revoked::Token | Revoked::Grant | Revoked::UserTokens | Revoked::AgentTokens => {
                    "get a new token by logging in again"
                }
                Revoked::User | Revoked::Agent | Revoked::Server => {
                    "lift the revocation (docs/revocation.md), if it may be used again"
                }
            },
            Self::RevocationsUnreadable(_) => {
                "make the list of revocations readable again; `/readyz` says when it is"
            }
            Self::Proof(failed) => proof(*failed),
            Self::NonceNeeded => "make a new proof with the nonce of `DPoP-Nonce`",
            Self::ProofReplayed => "make a new proof, with a new `jti`, for every request",
            Self::TokenReplayed => {
                "get a new token for every call; the issuer's are for one (`tokens_for` of `[[issuers]]`)"
            }
            Self::ReplayUnavailable(why) => replay(why),
            Self::IntrospectionUnavailable(why) => match why {
                IntrospectionUnavailable::Unreachable { .. } => {
                    "find out why the issuer's introspection endpoint does not answer; the log has what it said"
                }
                IntrospectionUnavailable::RefusesUs { .. } => {
                    "correct `client_id` or the secret of `[issuers.introspection]`"
                }
                IntrospectionUnavailable::Busy { .. } => {
                    "wait: as many tokens as may be are being asked about"
                }
            },
            Self::IssuerNotForTarget => {
                "add the tool to `tools` of `[issuers.servers.NAME]`, if the issuer may speak for it"
            }
            Self::KeysUnavailable(_) => {
                "find out why the issuer's keys cannot be had; the log has what was tried"
            }
            Self::BodyTooLarge { .. } => "send less, or raise `[limits] body`",
            Self::BodyTooSlow => "send the body at once",
            Self::BodyBroken => "send the whole body, framed as HTTP has it",
            Self::TooManyStreams { .. } => "close a stream before opening another",
            Self::StreamsFull { .. } => "raise `[limits] streams`, or find out who holds them open",
            Self::Limited(limited) => match limited.whose {
                Whose::Address(_) => "send credentials that hold, or raise `[limits] per_address`",
                Whose::Asking(_) => {
                    "send tokens that their issuer knows; of others it is asked about ten a second"
                }
                Whose::Client(..) => "ask less often, or raise `[limits] per_client`",
                Whose::User(..) => "ask less often, or raise `[limits] per_user`",
                Whose::Tool(..) => "call the tool less often, or raise `rate` of the tool",
            },
            Self::SessionNeeded => "send the `Mcp-Session-Id` that the answer to `initialize` had",
            Self::SessionUnknown => "begin a new session with `initialize`; one belongs to whoever began it",
            Self::Sealing(refused) => sealing(&refused.problem),
            Self::Denied(denial) => match denial {
                Denial::InsufficientScope { .. } => "get a token with the scopes that the challenge names",
                Denial::Forbidden { .. } => {
                    "change the rule that `rules` names; without one, no rule permits the call"
                }
                Denial::UnknownMethod => "use a method of MCP, in the era that has it",
                Denial::Fault { .. } => "correct the rule that failed to evaluate; the log names it",
            },
            Self::RecorderUnavailable(_) => "make the audit log writable again; `/readyz` says when it is",
            Self::Upstream(error) => upstream(error),
        }
    }
}

fn request(error: &wire::Error) -> &'static str {
    match error {
        wire::Error::TwoAuthorizationHeaders => "send one `Authorization` header",
        wire::Error::MalformedAuthorization => "send `Authorization: Bearer` and the token, and nothing else",
        wire::Error::AuthorizationTooLong => "have the issuer put less into its tokens",
        wire::Error::TokenInQuery => {
            "send the token in `Authorization`; what was in a URL is in logs and has to be replaced"
        }
        wire::Error::ProofMissing => "send a proof in `DPoP` with the scheme `DPoP`",
        wire::Error::TwoProofs => "send one `DPoP` header",
        wire::Error::MalformedProof => "send one compact JWS in `DPoP`",
        wire::Error::ProofTooLong => "make proofs with a small key and no further claims",
        wire::Error::ContentType => "send `Content-Type: application/json`",
        wire::Error::ContentEncoding => "send the body without a content coding",
        wire::Error::NotJson => "send one JSON text in UTF-8",
        wire::Error::DuplicateKey | wire::Error::AmbiguousKey { .. } => {
            "send every name of an object once, spelled as the protocol has it"
        }
        wire::Error::TooDeep => "send a message that is nested less deeply",
        wire::Error::Batch => "send each message in a request of its own",
        wire::Error::NotAMessage { .. } => "send one JSON-RPC 2.0 message as MCP has it",
        wire::Error::InvalidParams { .. } | wire::Error::NameTooLong { .. } => {
            "send the `params` that the method has"
        }
        wire::Error::HeaderMismatch { .. } => {
            "send `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` once, as the body has them"
        }
        wire::Error::MissingMeta { .. } => {
            "send `_meta` with the protocol version and the client's capabilities"
        }
        wire::Error::UnsupportedVersion { .. } => "use a protocol version that `supported` names",
        wire::Error::BadSession { .. } => {
            "send `Mcp-Session-Id` and `Last-Event-ID` once, as they were given out"
        }
        wire::Error::PostOnly => "use POST; the protocol version has no other method",
    }
}

fn certificate(refused: CertificateRefused) -> &'static str {
    match refused {
        CertificateRefused::Two => "have the proxy remove its header from requests before it sets it",
        CertificateRefused::Malformed => "set `[mtls.proxy] form` and `header` to what the proxy sends",
        CertificateRefused::Untrusted => {
            "use a certificate that is valid now, of an authority of `[mtls] client_ca_files` or of a bundle"
        }
    }
}

fn token(failed: Failed) -> &'static str {
    match failed {
        Failed::NotCompact => {
            "send an access token that is a signed JWT; opaque ones need `[issuers.introspection]`"
        }
        Failed::Header | Failed::Payload => "have the issuer write strict JSON into its tokens",
        Failed::HeaderRefused(_) => {
            "use tokens that bring no key and ask for no extension; keys come from the issuer's JWK Set"
        }
        Failed::AlgorithmUnsupported => "have the issuer sign with an algorithm that docs/config.md lists",
        Failed::AlgorithmNotAllowed => "add the algorithm to `algorithms` of the issuer, if it may use it",
        Failed::IssuerUnknown => {
            "get a token from an issuer that is configured here, or add `[[issuers]]`; `iss` is compared as a string"
        }
        Failed::IssuerNotForServer => "add `[issuers.servers.NAME]`, if the issuer may speak for the server",
        Failed::Inactive => {
            "get a new token; its issuer says that this one is expired, revoked or not its own"
        }
        Failed::IntrospectionAnswer => "have the issuer answer as RFC 7662 has it",
        Failed::KeyUnknown => {
            "compare `kid` and `alg` with the issuer's JWK Set: it has no such key, or one that is refused"
        }
        Failed::Signature => "get a new token; this one was altered, or signed by somebody else",
        Failed::NotAnAccessToken => {
            "send the access token, not an ID token; for an issuer with tokens of its own set `profile`"
        }
        Failed::OtherIssuer => "get a token from the issuer whose keys sign it",
        Failed::OtherAudience => {
            "get a token for this resource (`resource` of the metadata), or set `audience` of the issuer"
        }
        Failed::ManyAudiences => "get a token for this resource alone",
        Failed::ClaimMissing(_) => {
            "have the issuer add the claim, or say where it is (`client_claim` and others)"
        }
        Failed::ClaimMalformed(_) => "have the issuer write the claim as RFC 9068 has it",
        Failed::Expired => "refresh the token, or get a new one; if it is new, compare the clocks",
        Failed::NotYetValid | Failed::IssuedInFuture => {
            "compare the clocks of the issuer and of this machine"
        }
        Failed::Lifetime => "have the issuer give out shorter tokens, or raise `max_token_lifetime`",
        Failed::SenderConstrained => "send the token with the scheme `DPoP` and a proof of its key",
        Failed::OtherKey => "make the proof with the key that the token is bound to",
        Failed::NotBound => "send the token as `Bearer`, or get one that is bound to the key",
        Failed::CertificateMissing | Failed::OtherCertificate => {
            "connect with the certificate that the token is bound to"
        }
        Failed::OtherWorkload => "send the JWT-SVID of the workload that the connection's certificate names",
        Failed::ConfirmationUnknown => "have the issuer bind tokens with `jkt` or `x5t#S256`",
        Failed::NotConstrained => "get a token that is bound to a key; this server takes no other",
    }
}

fn proof(failed: dpop::Failed) -> &'static str {
    match failed {
        dpop::Failed::NotCompact | dpop::Failed::Header | dpop::Failed::Payload => {
            "make the proof as RFC 9449 §4.2 has it"
        }
        dpop::Failed::HeaderRefused(_) => "leave the parameter out of the proof's header",
        dpop::Failed::Type => "set `typ` of the proof to `dpop+jwt`",
        dpop::Failed::Algorithm => "sign proofs with an algorithm that `algs` of the challenge names",
        dpop::Failed::KeyMissing | dpop::Failed::Key => "put the public key of the signature into `jwk`",
        dpop::Failed::KeyPrivate => "leave the private key out of `jwk`, and replace it: it was sent",
        dpop::Failed::Signature => "sign the proof with the key in its `jwk`",
        dpop::Failed::ClaimMissing(_) | dpop::Failed::ClaimMalformed(_) => {
            "write the claim as RFC 9449 §4.2 has it"
        }
        dpop::Failed::OtherMethod => "set `htm` to the method, in capitals",
        dpop::Failed::OtherTarget => {
            "set `htu` to the public URL that is called; behind a proxy, correct `[gateway] public_url`"
        }
        dpop::Failed::OtherToken => "set `ath` to the base64url of the token's SHA-256",
        dpop::Failed::Stale => "make a new proof for each request, or set the sender's clock",
        dpop::Failed::Future => "set the sender's clock",
    }
}

fn replay(why: &ReplayUnavailable) -> &'static str {
    match why.fault() {
        Fault::Caller => "use fewer proofs at a time",
        Fault::Peer | Fault::Operator | Fault::Bug => {
            "make the ephemeral store answer again (docs/ephemeral.md); `/readyz` says when it does"
        }
    }
}

fn sealing(problem: &SealProblem) -> &'static str {
    match problem.fault() {
        Fault::Caller if problem.wants_sealing_afresh() => {
            "agree on a new session, seal the call afresh and repeat it"
        }
        Fault::Caller => {
            "seal the fields that the tool's definition names, as docs/sealed-payloads.md has it"
        }
        Fault::Peer => "have the server behind answer with one JSON-RPC message",
        Fault::Operator => "look at the log for the key or the memory that cannot be used now",
        Fault::Bug => "report it",
    }
}

fn upstream(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Unreachable { .. } => "start the server behind, or correct its `url` or `command`",
        UpstreamError::TimedOut => "find out what the server behind waits for",
        UpstreamError::Busy => "wait; the server behind has as much to do as it may",
        UpstreamError::RefusesUs { .. } => "correct `credential_file` or `credential_env` of the server",
        UpstreamError::Withheld => "make the call again, and take its answer from there",
        UpstreamError::BadAnswer { .. } => "have the server behind answer as MCP has it",
    }
}
