//! The decision.

use std::fmt;
use std::sync::Arc;

use cedar_policy::EntityUid;

use super::arguments;
use super::compile::{Compiled, Server, Slot};
use super::engine::{self, Inquiry, Thing, Verdict};
use super::index::{Group, Layer, Question};
use super::rules::{Effect, PolicyError, Rules, ScopeDescription};
use super::vocabulary::Verb;
use crate::fault::Fault;
use crate::identity::{Names, VerifiedIdentity};
use crate::ids::{ScopeSet, ServerName, ToolName};
use crate::wire::{Call, Method, Target};

/// The compiled policy.
pub struct Policy {
    compiled: Compiled,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("servers", &self.compiled.servers.keys())
            .finish_non_exhaustive()
    }
}

/// Permission for exactly one call, which it owns: not `Clone`, spent by `forward`.
pub struct Permit {
    call: Call,
    server: ServerName,
    effect: Effect,
    rules: Vec<String>,
    needed: Arc<ScopeSet>,
    used: ScopeSet,
}

impl Permit {
    /// The call it permits.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The server it permits it on.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Its effect, which decides how durable the record must be before the call is forwarded.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Every scope such a call needs. The caller holds them, unless an operator's rule permits the call without.
    #[must_use]
    pub fn scopes_needed(&self) -> &ScopeSet {
        &self.needed
    }

    /// Ids of the rules that allowed it, in order.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Scopes of the caller the decision used: those that are or contain one that the call needs.
    #[must_use]
    pub fn scopes_used(&self) -> &ScopeSet {
        &self.used
    }

    /// Spends the permit: only `forward` may.
    pub(crate) fn spend(self) -> Call {
        self.call
    }
}

/// Without the call, whose arguments may hold secrets.
impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("server", &self.server)
            .field("method", &self.call.method())
            .field("effect", &self.effect)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Why not. Exhaustive on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// More scope would help: every scope the call needs, held or not. Whoever holds them all may make this call.
    InsufficientScope {
        /// All scopes needed.
        needed: ScopeSet,
    },
    /// No scope would help.
    Forbidden {
        /// Ids of the rules that forbade, in order; none when nothing permits the call.
        rules: Vec<String>,
    },
    /// The method is none this version knows: answered as JSON-RPC -32601.
    UnknownMethod,
    /// A rule failed to evaluate: denied, and the operator is told.
    Fault {
        /// What failed. For the operator: never sent to the caller.
        detail: String,
    },
}

impl Denial {
    /// Stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsufficientScope { .. } => "policy.insufficient-scope",
            Self::Forbidden { .. } => "policy.forbidden",
            Self::UnknownMethod => "policy.unknown-method",
            Self::Fault { .. } => "policy.fault",
        }
    }

    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::InsufficientScope { .. } | Self::Forbidden { .. } | Self::UnknownMethod => Fault::Caller,
            Self::Fault { .. } => Fault::Operator,
        }
    }
}

/// What a call needs, whoever makes it: for challenges and for records of refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// What it does to the world.
    pub effect: Effect,
    /// All scopes it needs.
    pub scopes: Arc<ScopeSet>,
}

impl Policy {
    /// Compiles; every error at once.
    ///
    /// # Errors
    /// All that is wrong: names given twice, scopes that contain themselves, and in Cedar files what does not parse,
    /// does not fit the schema, can never match, or names a server that there is none.
    pub fn compile(rules: &Rules) -> Result<Self, Vec<PolicyError>> {
        Ok(Self {
            compiled: Compiled::build(rules)?,
        })
    }

    /// Decides one call: `subscriptions/listen` as listening, and as reading each resource that it names.
    ///
    /// # Errors
    /// [`Denial`].
    pub fn decide(&self, who: &VerifiedIdentity, server: &ServerName, call: Call) -> Result<Permit, Denial> {
        let verb = Verb::of(call.method()).ok_or(Denial::UnknownMethod)?;
        let rules = self
            .compiled
            .servers
            .get(server)
            .ok_or(Denial::Forbidden { rules: Vec::new() })?;
        let (slot, name) = aim(verb, call.target(), rules, server)?;
        let method = call.method().as_str();
        let case = self.case(who, server, verb, slot, name, method);
        let mut judged = Judged::new(Arc::clone(&slot.needed));
        judged.add(self.decide_case(&case, call.arguments()))?;
        // Who hears that a resource changes follows it, as with `resources/subscribe`: as many decisions as resources.
        for uri in call.subscriptions() {
            let slot = rules
                .verbs
                .get(&Verb::ReadResource)
                .ok_or_else(|| Denial::Fault {
                    detail: "there is no rule for resources".to_owned(),
                })?;
            let case = self.case(who, server, Verb::ReadResource, slot, uri, method);
            judged.need(&slot.needed);
            judged.add(self.decide_case(&case, call.arguments()))?;
        }
        let (allowed_by, needed) = judged.end()?;
        let covers = |held: &&crate::ids::Scope| {
            needed
                .iter()
                .any(|needed| self.compiled.hierarchy.covers(held, needed))
        };
        let used = who.scopes().iter().filter(covers).cloned().collect();
        let effect = slot.effect;
        Ok(Permit {
            call,
            server: server.clone(),
            effect,
            rules: allowed_by,
            needed,
            used,
        })
    }

    /// Whether the caller could call this tool with some arguments: the rule for listing.
    ///
    /// Same decision, with rules over arguments taken at their best: `forbid` rules that read arguments do not count,
    /// `permit` rules that do count as if those conditions held. A tool that is listed may still be refused, a tool
    /// that is not listed would always be.
    #[must_use]
    pub fn may_list(&self, who: &VerifiedIdentity, server: &ServerName, tool: &ToolName) -> bool {
        let Some(rules) = self.compiled.servers.get(server) else {
            return false;
        };
        let slot = rules.tools.get(tool).unwrap_or(&rules.unlisted);
        let case = self.case(
            who,
            server,
            Verb::CallTool,
            slot,
            tool.as_str(),
            Method::ToolsCall.as_str(),
        );
        match self.judge(&case, Question::Listing, None, None) {
            Ok(Verdict::Allowed { .. }) => true,
            Ok(Verdict::Denied { .. } | Verdict::Failed { .. }) | Err(_) => false,
        }
    }

    /// What a call would need; nothing for a method or server we do not know.
    #[must_use]
    pub fn needs(&self, server: &ServerName, method: &Method, target: Option<&Target>) -> Option<Needs> {
        let verb = Verb::of(method)?;
        let rules = self.compiled.servers.get(server)?;
        let (slot, _) = aim(verb, target, rules, server).ok()?;
        Some(Needs {
            effect: slot.effect,
            scopes: Arc::clone(&slot.needed),
        })
    }

    /// The least scope a server's caller needs for basic use: challenged on 401, listed in metadata.
    #[must_use]
    pub fn basic_scopes(&self, server: &ServerName) -> ScopeSet {
        self.compiled
            .servers
            .get(server)
            .map(|rules| rules.basic.clone())
            .unwrap_or_default()
    }

    /// Every scope that means something on a server.
    #[must_use]
    pub fn scopes(&self, server: &ServerName) -> Vec<ScopeDescription> {
        self.compiled
            .servers
            .get(server)
            .map(|rules| rules.scopes.clone())
            .unwrap_or_default()
    }

    /// The effect of a tool: the worst for a server we do not know.
    #[must_use]
    pub fn effect(&self, server: &ServerName, tool: &ToolName) -> Effect {
        let Some(rules) = self.compiled.servers.get(server) else {
            return Effect::Irreversible;
        };
        rules.tools.get(tool).unwrap_or(&rules.unlisted).effect
    }

    /// Gathers what the rules are asked about.
    fn case<'p>(
        &'p self,
        who: &'p VerifiedIdentity,
        server: &'p ServerName,
        verb: Verb,
        slot: &'p Slot,
        name: &'p str,
        method: &'p str,
    ) -> Case<'p> {
        let vocabulary = &self.compiled.vocabulary;
        let resource = vocabulary.target(verb, server, name);
        let own = slot
            .open
            .then(|| self.compiled.index.layer(verb, &resource))
            .flatten();
        let agent = vocabulary.agent(who);
        let agent_in = vocabulary
            .user(who)
            .into_iter()
            .chain([vocabulary.issuer(who)])
            .collect();
        Case {
            who,
            server,
            verb,
            slot,
            name,
            method,
            resource,
            own,
            agent,
            agent_in,
        }
    }

    /// The ids of the rules that allow, or why not.
    fn decide_case(&self, case: &Case<'_>, arguments: Option<&str>) -> Result<Vec<String>, Denial> {
        let held = case.who.scopes();
        match self.judge(case, Question::Call, arguments, None)? {
            Verdict::Allowed { rules } => Ok(rules),
            Verdict::Failed { detail } => Err(Denial::Fault { detail }),
            Verdict::Denied { rules } if self.compiled.hierarchy.satisfies(held, &case.slot.needed) => {
                Err(Denial::Forbidden { rules })
            }
            // Would the scopes it lacks help? Whoever is told to get them must not be refused again with them.
            Verdict::Denied { .. } => {
                match self.judge(case, Question::Call, arguments, Some(&case.slot.needed))? {
                    Verdict::Allowed { .. } => Err(Denial::InsufficientScope {
                        needed: ScopeSet::clone(&case.slot.needed),
                    }),
                    Verdict::Denied { rules } => Err(Denial::Forbidden { rules }),
                    Verdict::Failed { detail } => Err(Denial::Fault { detail }),
                }
            }
        }
    }

    /// Asks the rules, as if the caller held `granted` too.
    fn judge(
        &self,
        case: &Case<'_>,
        question: Question,
        arguments: Option<&str>,
        granted: Option<&ScopeSet>,
    ) -> Result<Verdict, Denial> {
        let groups: Vec<&Group> = case
            .layers()
            .flat_map(|layer| layer.groups(&case.agent, &case.agent_in))
            .collect();
        let mut context = vec![
            ("scopes", self.scopes_in_effect(case.who.scopes(), granted)),
            ("method", case.method.into()),
        ];
        let reading = || groups.iter().flat_map(|group| group.reading());
        if question == Question::Call && reading().next().is_some() {
            // Arguments that no rule can read cannot be judged, so the rules that want to read them are not passed.
            let record = arguments::record(arguments).ok_or_else(|| Denial::Forbidden {
                rules: reading().map(|rule| rule.id().to_owned()).collect(),
            })?;
            context.push(("arguments", record));
        }
        let action = self.compiled.vocabulary.action(case.verb);
        let inquiry =
            Inquiry::new(case.caller(), action, case.called(), context).map_err(|error| Denial::Fault {
                detail: error.to_string(),
            })?;
        Ok(inquiry.answer(groups.iter().flat_map(|group| group.rules(question))))
    }

    /// What the caller holds, and all that this contains.
    fn scopes_in_effect(&self, held: &ScopeSet, granted: Option<&ScopeSet>) -> engine::Value {
        let all = held.iter().chain(granted.into_iter().flat_map(ScopeSet::iter));
        let all = all.flat_map(|scope| std::iter::once(scope).chain(self.compiled.hierarchy.implied(scope)));
        engine::set(all.map(|scope| scope.as_str().into()))
    }
}

/// The decisions about all that one call asks for: it is allowed when each is.
struct Judged {
    rules: Vec<String>,
    needed: Arc<ScopeSet>,
    lacks_scope: Lacks,
}

/// Whether more scope would help with what was refused so far.
#[derive(Clone, Copy)]
enum Lacks {
    Nothing,
    Scope,
}

impl Judged {
    fn new(needed: Arc<ScopeSet>) -> Self {
        Self {
            rules: Vec::new(),
            needed,
            lacks_scope: Lacks::Nothing,
        }
    }

    /// One more thing needs these.
    fn need(&mut self, scopes: &ScopeSet) {
        if scopes.iter().any(|scope| !self.needed.contains(scope)) {
            self.needed = Arc::new(self.needed.iter().chain(scopes.iter()).cloned().collect());
        }
    }

    /// One more decision. What no scope would help with ends it at once.
    fn add(&mut self, decided: Result<Vec<String>, Denial>) -> Result<(), Denial> {
        match decided {
            Ok(rules) => {
                for rule in rules {
                    if !self.rules.contains(&rule) {
                        self.rules.push(rule);
                    }
                }
            }
            Err(Denial::InsufficientScope { .. }) => self.lacks_scope = Lacks::Scope,
            Err(denial @ (Denial::Forbidden { .. } | Denial::UnknownMethod | Denial::Fault { .. })) => {
                return Err(denial);
            }
        }
        Ok(())
    }

    /// The rules that allowed, and every scope needed.
    fn end(self) -> Result<(Vec<String>, Arc<ScopeSet>), Denial> {
        match self.lacks_scope {
            Lacks::Nothing => Ok((self.rules, self.needed)),
            Lacks::Scope => Err(Denial::InsufficientScope {
                needed: ScopeSet::clone(&self.needed),
            }),
        }
    }
}

/// What a call is aimed at. The request parser gives every method its target, so a call without is our bug.
fn aim<'r, 't>(
    verb: Verb,
    target: Option<&'t Target>,
    rules: &'r Server,
    server: &'t ServerName,
) -> Result<(&'r Slot, &'t str), Denial> {
    let name = match (verb, target) {
        (Verb::CallTool, Some(Target::Tool(name))) => {
            return Ok((rules.tools.get(name).unwrap_or(&rules.unlisted), name.as_str()));
        }
        (Verb::GetPrompt, Some(Target::Prompt(name)))
        | (Verb::ReadResource, Some(Target::Resource(name)))
        | (Verb::ReadTask | Verb::ChangeTask, Some(Target::Task(name))) => Some(&**name),
        (Verb::Use | Verb::Listen, None) => Some(server.as_str()),
        (_, Some(_) | None) => None,
    };
    let slot = rules.verbs.get(&verb);
    slot.zip(name).ok_or_else(|| Denial::Fault {
        detail: format!("{verb:?} is aimed at {target:?}"),
    })
}

fn texts(names: &Names) -> engine::Value {
    engine::set(names.iter().map(|name| (**name).into()))
}

/// One question to the rules: who wants to do what to what.
struct Case<'p> {
    who: &'p VerifiedIdentity,
    server: &'p ServerName,
    verb: Verb,
    slot: &'p Slot,
    name: &'p str,
    method: &'p str,
    resource: EntityUid,
    own: Option<&'p Arc<Layer>>,
    agent: EntityUid,
    /// What the agent is in: its user and its issuer.
    agent_in: Vec<EntityUid>,
}

impl Case<'_> {
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.slot.layers.iter().chain(self.own).map(|layer| &**layer)
    }

    fn caller(&self) -> Thing<'_> {
        let mut attributes = vec![
            ("issuer", self.who.issuer().as_str().into()),
            ("client", self.who.client().as_str().into()),
            ("groups", texts(self.who.groups())),
            ("roles", texts(self.who.roles())),
        ];
        if let Some(tenant) = self.who.tenant() {
            attributes.push(("tenant", tenant.into()));
        }
        if let Some(workload) = self.who.workload() {
            attributes.push(("workload", workload.as_str().into()));
        }
        if !self.who.is_client_itself() {
            attributes.push(("user", self.who.subject().as_str().into()));
        }
        Thing {
            uid: &self.agent,
            groups: &self.agent_in,
            attributes,
        }
    }

    fn called(&self) -> Thing<'_> {
        let mut attributes = vec![("name", self.name.into())];
        match self.verb {
            Verb::Use | Verb::Listen => {}
            Verb::GetPrompt | Verb::ReadResource | Verb::ReadTask | Verb::ChangeTask => {
                attributes.push(("server", self.server.as_str().into()));
            }
            Verb::CallTool => attributes.extend([
                ("server", self.server.as_str().into()),
                ("effect", self.slot.effect.as_str().into()),
                ("listed", self.slot.listed.into()),
            ]),
        }
        Thing {
            uid: &self.resource,
            groups: &self.slot.groups,
            attributes,
        }
    }
}
