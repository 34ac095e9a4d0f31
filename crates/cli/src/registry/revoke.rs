//! `portcullis registry revoke` and `portcullis registry lift`.

use std::io::Write;

use portcullis_core::audit::TokenHash;
use portcullis_core::ids::{ClientId, GrantId, Issuer, RevocationId, ServerName, Subject, TokenId};
use portcullis_core::revocation::{self, By, Entry, Extent, REVOCATIONS, Reason, Target};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{self, Clock as _};
use portcullis_net::random;
use portcullis_server::revocation::{issued_until, new_id};

use super::list;
use super::scope::{OfIssuer, Registry, Where, refused};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// An agent: nothing it brings counts, for whichever user, until that is lifted
    Agent {
        /// Its `client_id`
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true, value_parser = ClientId::parse)]
        client: ClientId,
        /// Only what it was issued until now: it may come again with new tokens
        #[arg(long)]
        issued_so_far: bool,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        of: Of,
    },
    /// A user: nothing that was issued for them until now counts, for whichever agent. They may log in again
    User {
        /// Their `sub`
        #[arg(value_name = "SUB", allow_hyphen_values = true, value_parser = Subject::parse)]
        subject: Subject,
        /// What is issued later does not count either, until that is lifted
        #[arg(long)]
        until_lifted: bool,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        of: Of,
    },
    /// A grant: all tokens that come from one consent or login, for good
    Grant {
        /// Its identifier, as the tokens have it
        #[arg(value_name = "GRANT", allow_hyphen_values = true, value_parser = GrantId::parse)]
        grant: GrantId,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        of: Of,
    },
    /// One token, for good
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Token {
        /// The token, by the hash that the audit log names it by
        #[arg(value_name = "HASH", group = "which", value_parser = token_hash)]
        hash: Option<TokenHash>,
        /// The token, by its `jti`
        #[arg(long, value_name = "JTI", group = "which", allow_hyphen_values = true, value_parser = TokenId::parse)]
        jti: Option<TokenId>,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        of: Of,
    },
    /// A guarded server: no call of it goes on, until that is lifted
    Server {
        /// Its name in the configuration
        #[arg(value_name = "NAME", value_parser = ServerName::parse)]
        server: ServerName,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Of {
    /// Whose it is, where several issuers are trusted
    #[arg(long, value_name = "URL", value_parser = Issuer::parse_any)]
    issuer: Option<Issuer>,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Why: it stays with the revocation and goes on record
    #[arg(long, value_name = "TEXT", value_parser = Reason::parse)]
    reason: Reason,
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Lift {
    /// The revocation, by the name that `registry list` shows
    #[arg(value_name = "ID", allow_hyphen_values = true, value_parser = RevocationId::parse)]
    id: RevocationId,
    #[command(flatten)]
    common: Common,
}

fn token_hash(text: &str) -> Result<TokenHash, &'static str> {
    TokenHash::parse(text)
        .ok_or("32 hexadecimal characters, as `token` of a record; for a `jti` there is --jti")
}

/// How much of a user's or agent's is asked for. The moment is not known before it is there.
#[derive(Clone, Copy)]
enum Much {
    SoFar,
    UntilLifted,
}

impl Much {
    fn extent(self, now: UnixTime, ahead: Lifetime) -> Extent {
        match self {
            // By the issuer's clock, which may be ahead: what it issued just now has a later `iat` then.
            Self::SoFar => Extent::IssuedUntil(now.plus(ahead)),
            Self::UntilLifted => Extent::UntilLifted,
        }
    }
}

pub(super) async fn revoke(args: &Revoke, out: &mut dyn Write) -> Result<(), Failure> {
    let Parts {
        common,
        registry,
        longest,
        target,
    } = args.what.parts()?;
    if registry.log.count().map_err(refused)? >= REVOCATIONS {
        return Err(Failure::refused(format!(
            "there are {REVOCATIONS} revocations, the most there may be"
        ))
        .hint("revoke the agents or users that they are of instead: each is one revocation"));
    }
    let id = new_id(&random::System).map_err(refused)?;
    let reason = common.reason.clone();
    let make = move || {
        let now = clock::System.now();
        Entry::Revoke(target(now).revoked(id, now, longest, reason, By::Operator))
    };
    let entry = registry.log.add(make).map_err(refused)?;
    registry.record(&entry).await?;
    tell(&entry, common, out)
}

type Made = Box<dyn FnOnce(UnixTime) -> Target + Send>;

struct Parts<'a> {
    common: &'a Common,
    registry: Registry,
    longest: Lifetime,
    target: Made,
}

impl What {
    /// The place, and what is to be revoked there of the moment in which it is.
    fn parts(&self) -> Result<Parts<'_>, Failure> {
        let of_issuer = |common: &Common, of: &Of| -> Result<(Registry, OfIssuer), Failure> {
            let registry = common.place.registry()?;
            let issuer = registry.issuer(of.issuer.as_ref())?;
            Ok((registry, issuer))
        };
        let (common, registry, longest, target): (_, _, _, Made) = match self {
            Self::Agent {
                client,
                issued_so_far,
                common,
                of,
            } => {
                let (registry, of) = of_issuer(common, of)?;
                let (client, much) = (
                    client.clone(),
                    if *issued_so_far {
                        Much::SoFar
                    } else {
                        Much::UntilLifted
                    },
                );
                let target: Made = Box::new(move |now| Target::Agent {
                    issuer: of.issuer,
                    client,
                    extent: much.extent(now, of.ahead),
                });
                (common, registry, of.longest, target)
            }
            Self::User {
                subject,
                until_lifted,
                common,
                of,
            } => {
                let (registry, of) = of_issuer(common, of)?;
                let (subject, much) = (
                    subject.clone(),
                    if *until_lifted {
                        Much::UntilLifted
                    } else {
                        Much::SoFar
                    },
                );
                let target: Made = Box::new(move |now| Target::User {
                    issuer: of.issuer,
                    subject,
                    extent: much.extent(now, of.ahead),
                });
                (common, registry, of.longest, target)
            }
            Self::Grant { grant, common, of } => {
                let (registry, of) = of_issuer(common, of)?;
                let grant = grant.clone();
                let target: Made = Box::new(move |_| Target::Grant {
                    issuer: of.issuer,
                    grant,
                });
                (common, registry, of.longest, target)
            }
            Self::Token {
                hash,
                jti,
                common,
                of,
            } => {
                let (registry, of) = of_issuer(common, of)?;
                let named = jti.as_ref().map(TokenHash::of);
                let token = hash
                    .clone()
                    .or(named)
                    .ok_or_else(|| Failure::usage("say which token"))?;
                let target: Made = Box::new(move |_| Target::Token {
                    issuer: of.issuer,
                    token,
                });
                (common, registry, of.longest, target)
            }
            Self::Server { server, common } => {
                let registry = common.place.registry()?;
                if !registry.knows_server(server.as_str()) {
                    return Err(Failure::usage(format!("there is no server `{server}`"))
                        .hint("`[[servers]]` of the configuration names those that there are"));
                }
                let server = server.clone();
                let target: Made = Box::new(move |_| Target::Server { server });
                (common, registry, Lifetime::from_secs(0), target)
            }
        };
        Ok(Parts {
            common,
            registry,
            longest,
            target,
        })
    }
}

pub(super) async fn lift(args: &Lift, out: &mut dyn Write) -> Result<(), Failure> {
    let common = &args.common;
    let registry = common.place.registry()?;
    let known = list::read(&registry)?;
    let found = known.iter().find(|row| row.revocation.id == args.id);
    match found {
        None => {
            return Err(Failure::usage(format!("there is no revocation `{}`", args.id))
                .hint("`portcullis registry list` names those that there are"));
        }
        Some(row) if !row.revocation.target.is_standing() => {
            return Err(Failure::refused(format!(
                "the revocation `{}` cannot be lifted: what was issued is void for good",
                args.id
            ))
            .hint("a new login gives what counts again"));
        }
        Some(_) => {}
    }
    let (id, lifts) = (new_id(&random::System).map_err(refused)?, args.id.clone());
    let reason = common.reason.clone();
    let entry = registry.log.add(move || {
        Entry::Lift(revocation::Lift {
            id,
            lifts,
            at: clock::System.now(),
            reason,
        })
    });
    let entry = entry.map_err(refused)?;
    registry.record(&entry).await?;
    tell(&entry, common, out)
}

fn tell(entry: &Entry, common: &Common, out: &mut dyn Write) -> Result<(), Failure> {
    if common.json {
        let text = serde_json::to_string_pretty(&list::shown(entry)).map_err(refused)?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    match entry {
        Entry::Lift(lift) => {
            writeln!(out, "the revocation {} is lifted", lift.lifts)?;
        }
        Entry::Revoke(revocation) => {
            let target = &revocation.target;
            let whose = target
                .issuer()
                .map_or_else(String::new, |issuer| format!(" of {issuer}"));
            writeln!(
                out,
                "{} {}{whose} is revoked ({})",
                target.kind(),
                target.name(),
                revocation.id
            )?;
            match (issued_until(target), target.is_standing()) {
                (Some(until), _) => writeln!(
                    out,
                    "what was issued until {} is void; what is issued later counts",
                    list::instant(until)
                )?,
                (None, true) => writeln!(out, "it lasts until `portcullis registry lift {}`", revocation.id)?,
                (None, false) => writeln!(out, "it is void for good")?,
            }
        }
    }
    writeln!(out, "servers on the same store follow within a second")?;
    Ok(())
}
