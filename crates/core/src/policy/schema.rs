//! What operators' rules may speak of: the Cedar schema that they are validated against.

use cedar_policy::{Schema, Validator};

use super::rules::PolicyError;

/// The schema, but for the shape of `context.arguments`, which depends on what a rule does with it.
///
/// An agent is in the user it acts for and in its issuer, so `principal in User::"https://as.example#alice"` is every
/// agent of alice. `Scope` groups the tools that one scope opens. `scopes` holds what the caller was granted and all
/// that this implies.
const VOCABULARY: &str = r#"
entity Issuer, Effect, Scope;
entity User in [Issuer];
entity Agent in [User, Issuer] {
    issuer: String, client: String, user?: String, workload?: String, groups: Set<String>, roles: Set<String>,
    tenant?: String
};
entity Server { name: String };
entity Tool in [Server, Effect, Scope] { name: String, server: String, effect: String, listed: Bool };
entity Prompt in [Server] { name: String, server: String };
entity Resource in [Server] { name: String, server: String };
entity Task in [Server] { name: String, server: String };
action use, listen appliesTo { principal: Agent, resource: Server, context: Call };
action call_tool appliesTo { principal: Agent, resource: Tool, context: Call };
action get_prompt appliesTo { principal: Agent, resource: Prompt, context: Call };
action read_resource appliesTo { principal: Agent, resource: Resource, context: Call };
action read_task, change_task appliesTo { principal: Agent, resource: Task, context: Call };
"#;

/// A validator for rules that take `context.arguments` to be of this Cedar type.
pub(super) fn validator(arguments: &str) -> Result<Validator, PolicyError> {
    let text = format!(
        "{VOCABULARY}type Call = {{ scopes: Set<String>, method: String, arguments: {arguments} }};\n"
    );
    let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| {
        PolicyError::new(format!(
            "the rule's use of `context.arguments` has no type: {error}"
        ))
    })?;
    Ok(Validator::new(schema))
}
