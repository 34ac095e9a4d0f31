//! Where the tokens of one issuer say what.
//!
//! RFC 9068 fixes the names of claims, and many issuers use others: configuration says which. What is found lands in typed
//! fields; a place that holds something else than it should makes the token malformed, never the claim absent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::{Claim, Claims};
use crate::ids::{ClientId, GrantId, Scope, ScopeSet, Subject, TokenId};
use crate::jose::json::Value;
use crate::limits;

/// Most steps of one [`ClaimPath`].
pub const CLAIM_STEPS: usize = 8;
/// OpenID Connect Core §5.6.2: the claims that a token leaves to be fetched elsewhere.
const DISTRIBUTED: &str = "_claim_names";
/// Entra ID: the subject is in groups that do not fit into the token, and are to be asked for elsewhere.
const HAS_GROUPS: &str = "hasgroups";

/// What a claim is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Whom the token is about.
    Subject,
    /// The client that acts.
    Client,
    /// The name of the token.
    TokenId,
    /// Scopes as RFC 9068 §2.2.3 has them: one text, with spaces between.
    Scope,
    /// Scopes as one text or as a list of texts.
    Scopes,
    /// Groups of the subject: a text or a list of texts.
    Groups,
    /// Roles of the subject: a text or a list of texts.
    Roles,
    /// The tenant of the subject.
    Tenant,
    /// The grant that the token is of.
    Grant,
}

/// The place of a claim: the name of a member, or a JSON Pointer (RFC 6901) to a member of an object within. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    first: Box<str>,
    rest: Box<[Box<str>]>,
}

/// A text that names no claim. The message is for whoever wrote the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaimPath {
    /// Nothing, or a pointer to the whole token.
    #[error("it names no claim; write a name such as `scp`, or a pointer such as `/realm_access/roles`")]
    Empty,
    /// Longer than [`limits::NAME_BYTES`], or with a control character.
    #[error("it is too long, or has a control character")]
    Text,
    /// More than [`CLAIM_STEPS`] steps.
    #[error("it has more than {CLAIM_STEPS} steps")]
    TooDeep,
    /// A `~` that is neither `~0` nor `~1` (RFC 6901 §3).
    #[error("it has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`)")]
    Escape,
}

impl ClaimPath {
    /// Reads a text: with a `/` at its beginning it is a pointer, otherwise a name, whatever characters that has.
    ///
    /// # Errors
    /// [`InvalidClaimPath`].
    pub fn parse(text: &str) -> Result<Self, InvalidClaimPath> {
        if text.len() > limits::NAME_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidClaimPath::Text);
        }
        let mut steps: Vec<Box<str>> = match text.strip_prefix('/') {
            None => vec![text.into()],
            Some(steps) => steps.split('/').map(unescaped).collect::<Result<_, _>>()?,
        };
        if steps.iter().any(|step| step.is_empty()) {
            return Err(InvalidClaimPath::Empty);
        }
        if steps.len() > CLAIM_STEPS {
            return Err(InvalidClaimPath::TooDeep);
        }
        let rest = steps.split_off(1).into_boxed_slice();
        let first = steps.pop().ok_or(InvalidClaimPath::Empty)?;
        Ok(Self { first, rest })
    }

    /// A claim of the token itself.
    pub(super) fn member(name: &str) -> Self {
        Self {
            first: name.into(),
            rest: Box::default(),
        }
    }

    /// What is at this place below the member that its first step names.
    fn find<'v, 'a>(&self, member: &'v Value<'a>) -> Claim<&'v Value<'a>> {
        let mut at = member;
        for step in &self.rest {
            let Value::Object(object) = at else {
                return Claim::Malformed;
            };
            match object.get(step) {
                Some(value) => at = value,
                None => return Claim::Absent,
            }
        }
        Claim::Present(at)
    }
}

fn unescaped(step: &str) -> Result<Box<str>, InvalidClaimPath> {
    let mut out = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        out.push(match (character, character == '~') {
            (character, false) => character,
            (_, true) => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some(_) | None => return Err(InvalidClaimPath::Escape),
            },
        });
    }
    Ok(out.into_boxed_str())
}

/// The places of all fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources(Vec<(Field, ClaimPath)>);

impl Sources {
    pub(super) fn new(places: impl IntoIterator<Item = (Field, ClaimPath)>) -> Self {
        Self(places.into_iter().collect())
    }

    /// The same, with this field there and nowhere else.
    pub(super) fn with(mut self, field: Field, path: ClaimPath) -> Self {
        let is_scope = |field: Field| matches!(field, Field::Scope | Field::Scopes);
        self.0
            .retain(|(other, _)| *other != field && !(is_scope(*other) && is_scope(field)));
        self.0.push((field, path));
        self
    }

    fn reads(&self, field: Field) -> bool {
        self.0.iter().any(|(other, _)| *other == field)
    }

    /// Takes from one member of the payload what it holds.
    pub(super) fn read(&self, name: &str, value: &Value<'_>, claims: &mut Claims<'_>) {
        for (field, path) in &self.0 {
            if *path.first == *name {
                match path.find(value) {
                    Claim::Absent => {}
                    Claim::Malformed => put_malformed(*field, claims),
                    Claim::Present(value) => put(*field, value, claims),
                }
            }
        }
        // What is to be fetched elsewhere is not absent: taken for absent, a rule that forbids somebody of a group something
        // would not hold for whoever is in more groups than fit into a token.
        if let (HAS_GROUPS, Value::Bool(true), true) = (name, value, self.reads(Field::Groups)) {
            put_malformed(Field::Groups, claims);
        }
        if let (DISTRIBUTED, Value::Object(names)) = (name, value) {
            for (field, path) in &self.0 {
                if names.get(&path.first).is_some() {
                    put_malformed(*field, claims);
                }
            }
        }
    }
}

fn put(field: Field, value: &Value<'_>, claims: &mut Claims<'_>) {
    let text = value.as_text();
    match field {
        Field::Subject => set(
            &mut claims.subject,
            text.and_then(|text| Subject::parse(text).ok()),
        ),
        Field::Client => set(
            &mut claims.client,
            text.and_then(|text| ClientId::parse(text).ok()),
        ),
        Field::TokenId => set(
            &mut claims.token_id,
            text.and_then(|text| TokenId::parse(text).ok()),
        ),
        Field::Scope => set(
            &mut claims.scopes,
            text.and_then(|text| ScopeSet::parse(text).ok()),
        ),
        Field::Scopes => set(&mut claims.scopes, scopes(value)),
        Field::Groups => set(&mut claims.groups, names(value)),
        Field::Roles => set(&mut claims.roles, names(value)),
        Field::Tenant => set(&mut claims.tenant, text.and_then(self::name)),
        Field::Grant => set(&mut claims.grant, text.and_then(|text| GrantId::parse(text).ok())),
    }
}

fn put_malformed(field: Field, claims: &mut Claims<'_>) {
    match field {
        Field::Subject => claims.subject = Claim::Malformed,
        Field::Client => claims.client = Claim::Malformed,
        Field::TokenId => claims.token_id = Claim::Malformed,
        Field::Scope | Field::Scopes => claims.scopes = Claim::Malformed,
        Field::Groups => claims.groups = Claim::Malformed,
        Field::Roles => claims.roles = Claim::Malformed,
        Field::Tenant => claims.tenant = Claim::Malformed,
        Field::Grant => claims.grant = Claim::Malformed,
    }
}

/// Two places that both say who it is say nothing.
fn set<T>(claim: &mut Claim<T>, value: Option<T>) {
    *claim = match claim {
        Claim::Absent => Claim::of(value),
        Claim::Malformed | Claim::Present(_) => Claim::Malformed,
    };
}

fn scopes(value: &Value<'_>) -> Option<ScopeSet> {
    if let Some(text) = value.as_text() {
        return ScopeSet::parse(text).ok();
    }
    let items = value.as_array().filter(|items| items.len() <= limits::SCOPES)?;
    let scopes = items.iter().map(|item| Scope::parse(item.as_text()?).ok());
    scopes.collect()
}

/// Names of groups or roles.
pub type Names = BTreeSet<Arc<str>>;

fn names(value: &Value<'_>) -> Option<Names> {
    if let Some(text) = value.as_text() {
        return Some(BTreeSet::from([name(text)?]));
    }
    let items = value.as_array().filter(|items| items.len() <= limits::GROUPS)?;
    items.iter().map(|item| name(item.as_text()?)).collect()
}

fn name(text: &str) -> Option<Arc<str>> {
    let whole = !text.is_empty() && text.len() <= limits::NAME_BYTES && !text.chars().any(char::is_control);
    whole.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_or_a_pointer() {
        let parsed = |text: &str| ClaimPath::parse(text).map(|path| (path.first, path.rest));
        let boxed = |steps: &[&str]| steps.iter().map(|step| Box::from(*step)).collect::<Box<[_]>>();
        assert_eq!(parsed("scp"), Ok(("scp".into(), boxed(&[]))));
        assert_eq!(
            parsed("https://acme.example/roles"),
            Ok(("https://acme.example/roles".into(), boxed(&[])))
        );
        assert_eq!(parsed("/a~1b/c~0d"), Ok(("a/b".into(), boxed(&["c~d"]))));
        for (text, error) in [
            ("", InvalidClaimPath::Empty),
            ("/", InvalidClaimPath::Empty),
            ("/a//b", InvalidClaimPath::Empty),
            ("/a~2", InvalidClaimPath::Escape),
            ("/a~", InvalidClaimPath::Escape),
            ("a\n", InvalidClaimPath::Text),
        ] {
            assert_eq!(parsed(text).unwrap_err(), error, "{text:?}");
        }
        assert!(parsed(&"/a".repeat(CLAIM_STEPS)).is_ok());
        assert_eq!(
            parsed(&"/a".repeat(CLAIM_STEPS + 1)).unwrap_err(),
            InvalidClaimPath::TooDeep
        );
        assert!(parsed(&"x".repeat(limits::NAME_BYTES)).is_ok());
        assert_eq!(
            parsed(&"x".repeat(limits::NAME_BYTES + 1)).unwrap_err(),
            InvalidClaimPath::Text
        );
    }
}
