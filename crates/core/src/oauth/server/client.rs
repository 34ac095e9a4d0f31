//! Clients: the agents that ask for tokens.

use std::collections::BTreeSet;

use super::Refusal;
use super::opaque::OpaqueHash;
use super::redirect::RedirectUri;
use super::token::PresentedClient;
use crate::ids::{ClientId, ScopeSet};
use crate::jose::jwk::ClientKeys;
use crate::time::UnixTime;

/// A grant type that exists here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantType {
    /// RFC 6749 §4.1, with PKCE.
    AuthorizationCode,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.4.
    ClientCredentials,
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::ClientCredentials,
    ];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// The grant type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}

/// How a client proves at the token endpoint that it is itself. One way each: a client registered for one is not
/// believed by another (RFC 9700 §2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It cannot: PKCE protects its codes, rotation its refresh tokens.
    Public,
    /// `client_secret_basic`.
    Basic(OpaqueHash),
    /// `client_secret_post`.
    Post(OpaqueHash),
    /// Either of the two, for clients that an operator set up.
    BasicOrPost(OpaqueHash),
}

/// How a client became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It registered itself (RFC 7591), then.
    Dynamic {
        /// When.
        at: UnixTime,
    },
    /// It published a metadata document under its id.
    Document,
    /// An operator set it up.
    Preregistered,
}

/// The name a client gave itself, fit to be shown: no control or direction characters, one line, not long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// Most characters of a name that are shown.
pub const CLIENT_NAME_CHARS: usize = 64;

impl ClientName {
    /// Cleans a name. Whatever it was, the result can stand in a sentence of ours without changing the rest of it.
    #[must_use]
    pub fn clean(text: &str) -> Self {
        let mut clean = String::new();
        for word in text.split_whitespace() {
            let shown: String = word.chars().filter(|c| is_shown(*c)).collect();
            if !clean.is_empty() && !shown.is_empty() {
                clean.push(' ');
            }
            clean.push_str(&shown);
        }
        if clean.chars().count() > CLIENT_NAME_CHARS {
            clean = clean.chars().take(CLIENT_NAME_CHARS - 1).collect();
            clean.push('…');
        }
        if clean.is_empty() {
            clean.push_str("Unnamed client");
        }
        Self(clean)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a control, and none of the format characters (Unicode category Cf) that turn, join, hide or tag text.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A client that may ask for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// Its name for people.
    pub name: ClientName,
    /// How it became known.
    pub provenance: Provenance,
    /// Where codes may be sent.
    pub redirects: Vec<RedirectUri>,
    /// The grants it may use.
    pub grants: BTreeSet<GrantType>,
    /// How it authenticates.
    pub authentication: Authentication,
    /// The scopes it may have for itself, without a user.
    pub allowance: ScopeSet,
    /// The keys it published, for sealed fields.
    pub keys: Option<ClientKeys>,
}

impl Client {
    /// Checks that it is this client who presented itself so.
    ///
    /// # Errors
    /// [`Refusal::ClientAuthentication`] for a wrong secret, for a secret sent the other way, for a secret from a
    /// client that has none, and for none from one that has.
    pub fn authenticate(&self, presented: &PresentedClient) -> Result<(), Refusal> {
        let held = match (&self.authentication, presented) {
            (Authentication::Public, PresentedClient::Public { .. }) => true,
            (
                Authentication::Basic(kept) | Authentication::BasicOrPost(kept),
                PresentedClient::Basic { secret, .. },
            )
            | (
                Authentication::Post(kept) | Authentication::BasicOrPost(kept),
                PresentedClient::Post { secret, .. },
            ) => secret.hash() == *kept,
            (
                Authentication::Public
                | Authentication::Basic(_)
                | Authentication::Post(_)
                | Authentication::BasicOrPost(_),
                PresentedClient::Public { .. } | PresentedClient::Basic { .. } | PresentedClient::Post { .. },
            ) => false,
        };
        if held {
            Ok(())
        } else {
            Err(Refusal::ClientAuthentication)
        }
    }

    /// Whether it may use this grant.
    #[must_use]
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::server::opaque::Opaque;

    #[test]
    fn names_are_fit_to_be_shown() {
        for (given, shown) in [
            ("Claude Code", "Claude Code"),
            ("  two\n\n words\t ", "two words"),
            ("a\u{202e}gnp.exe", "agnp.exe"),
            ("a\u{200b}\u{2066}b\u{feff}\u{e0041}", "ab"),
            ("\u{0}\u{7}\u{9b}x", "x"),
            ("\u{200d} \u{200d}", "Unnamed client"),
            ("", "Unnamed client"),
            ("Zoë 中文 🔑", "Zoë 中文 🔑"),
            ("<script>", "<script>"),
        ] {
            assert_eq!(ClientName::clean(given).as_str(), shown, "{given:?}");
        }
    }

    #[test]
    fn names_are_cut_at_the_limit() {
        let name = |n: usize| ClientName::clean(&"x".repeat(n)).as_str().to_owned();
        assert_eq!(name(CLIENT_NAME_CHARS), "x".repeat(CLIENT_NAME_CHARS));
        assert_eq!(
            name(CLIENT_NAME_CHARS + 1),
            format!("{}…", "x".repeat(CLIENT_NAME_CHARS - 1))
        );
    }

    #[test]
    fn a_client_is_believed_one_way_only() {
        let id = ClientId::parse("c").unwrap();
        let right = Opaque::presented("right");
        let wrong = Opaque::presented("wrong");
        let presented = |secret: &Opaque| {
            [
                PresentedClient::Public { id: id.clone() },
                PresentedClient::Basic {
                    id: id.clone(),
                    secret: secret.clone(),
                },
                PresentedClient::Post {
                    id: id.clone(),
                    secret: secret.clone(),
                },
            ]
        };
        // For each authentication: whether public, basic and post hold with the right secret.
        for (authentication, expected) in [
            (Authentication::Public, [true, false, false]),
            (Authentication::Basic(right.hash()), [false, true, false]),
            (Authentication::Post(right.hash()), [false, false, true]),
            (Authentication::BasicOrPost(right.hash()), [false, true, true]),
        ] {
            let client = Client {
                id: id.clone(),
                name: ClientName::clean("c"),
                provenance: Provenance::Preregistered,
                redirects: Vec::new(),
                grants: BTreeSet::new(),
                authentication,
                allowance: ScopeSet::new(),
                keys: None,
            };
            let held = presented(&right).map(|presented| client.authenticate(&presented).is_ok());
            assert_eq!(held, expected, "{:?}", client.authentication);
            let [_, basic, post] = presented(&wrong).map(|presented| client.authenticate(&presented));
            assert_eq!(
                (basic, post),
                (
                    Err(Refusal::ClientAuthentication),
                    Err(Refusal::ClientAuthentication)
                )
            );
        }
    }
}
