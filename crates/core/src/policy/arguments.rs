//! Rules over the arguments of a call.
//!
//! A tool's arguments have no Cedar type until its input schema is known, so each rule is checked against what the
//! rule itself takes them for ([`typed`]): `context.arguments.amount > 100` makes `amount` a number, and another use
//! of it as text is an error at start. Members are optional, so the validator demands `context.arguments has amount`
//! first. A call whose argument is of another type makes the rule fail, and that denies.
//!
//! For a list of tools there are no arguments yet: a tool is listed when some arguments could be allowed. There,
//! `forbid` rules that read arguments are left out, and of `permit` rules every condition that reads them
//! ([`without_arguments`]): what is left holds whenever the whole rule could.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::engine;

/// Whether a rule (Cedar's JSON form of it) reads `context.arguments`, or all of the context at once.
pub(super) fn read_by(rule: &Value) -> bool {
    conditions(rule).any(|condition| mentions(condition.get("body")))
}

/// The rule, without its conditions that read arguments. For a `permit` this can only allow more.
pub(super) fn without_arguments(rule: &Value) -> Value {
    let mut weaker = rule.clone();
    if let Some(Value::Array(conditions)) = weaker.get_mut("conditions") {
        conditions.retain_mut(|condition| {
            if !mentions(condition.get("body")) {
                return true;
            }
            let Some(Value::String(kind)) = condition.get("kind") else {
                return false;
            };
            if kind != "when" {
                return false;
            }
            match condition.get_mut("body") {
                Some(body) => match conjuncts_without_arguments(body) {
                    Some(rest) => {
                        *body = rest;
                        true
                    }
                    None => false,
                },
                None => false,
            }
        });
    }
    weaker
}

fn conditions(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.get("conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Of `a && b && …`, those that do not read arguments; nothing when all do.
fn conjuncts_without_arguments(expression: &Value) -> Option<Value> {
    if !mentions(Some(expression)) {
        return Some(expression.clone());
    }
    let (operator, operands) = split(expression)?;
    if operator != "&&" {
        return None;
    }
    let rest: Vec<Value> = operands
        .into_iter()
        .filter_map(conjuncts_without_arguments)
        .collect();
    match <[Value; 2]>::try_from(rest) {
        Ok([left, right]) => Some(serde_json::json!({"&&": {"left": left, "right": right}})),
        Err(mut rest) => rest.pop(),
    }
}

/// One operator and its operands, of Cedar's JSON form of an expression.
fn split(expression: &Value) -> Option<(&str, Vec<&Value>)> {
    let (operator, body) = expression.as_object()?.iter().next()?;
    let operands = match (operator.as_str(), body) {
        ("Value" | "Var" | "Slot", _) => Vec::new(),
        ("Record", Value::Object(members)) => members.values().collect(),
        (_, Value::Array(items)) => items.iter().collect(),
        (_, Value::Object(parts)) => ["left", "right", "arg", "if", "then", "else", "in"]
            .iter()
            .filter_map(|part| parts.get(*part))
            .collect(),
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Vec::new(),
    };
    Some((operator, operands))
}

fn mentions(expression: Option<&Value>) -> bool {
    let Some(expression) = expression else {
        return false;
    };
    if let Some(attribute) = context_attribute(expression) {
        return attribute == "arguments";
    }
    is_context(expression)
        || split(expression)
            .is_some_and(|(_, operands)| operands.into_iter().any(|operand| mentions(Some(operand))))
}

fn is_context(expression: &Value) -> bool {
    expression.get("Var").and_then(Value::as_str) == Some("context")
}

/// `x` of `context.x` and of `context has x`.
fn context_attribute(expression: &Value) -> Option<&str> {
    let access = expression.get(".").or_else(|| expression.get("has"))?;
    is_context(access.get("left")?)
        .then(|| access.get("attr")?.as_str())
        .flatten()
}

/// The Cedar record type that a rule takes `context.arguments` for.
pub(super) fn typed(rule: &Value) -> String {
    let mut members = Members::default();
    for body in conditions(rule).filter_map(|condition| condition.get("body")) {
        infer(body, Some("Bool".to_owned()), &mut members);
    }
    members.to_string()
}

#[derive(Default)]
struct Members(BTreeMap<String, Member>);

enum Member {
    Value(Option<String>),
    Record(Members),
}

impl Members {
    /// Notes one use. The first type wins; the validator reports a second use that contradicts it.
    fn note(&mut self, path: &[&str], kind: Option<String>) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let member = self.0.entry((*first).to_owned()).or_insert(Member::Value(None));
        match member {
            Member::Record(inner) => inner.note(rest, kind),
            Member::Value(known) if rest.is_empty() => *known = known.take().or(kind),
            Member::Value(_) => {
                let mut inner = Members::default();
                inner.note(rest, kind);
                *member = Member::Record(inner);
            }
        }
    }
}

impl std::fmt::Display for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('{')?;
        for (name, member) in &self.0 {
            write!(f, "{name:?}?: ")?;
            match member {
                Member::Value(kind) => f.write_str(kind.as_deref().unwrap_or("String"))?,
                Member::Record(inner) => inner.fmt(f)?,
            }
            f.write_char(',')?;
        }
        f.write_char('}')
    }
}

/// Notes what each argument in an expression must be, given what the expression around it wants.
fn infer(expression: &Value, wanted: Option<String>, members: &mut Members) {
    if let Some(path) = argument(expression) {
        members.note(&path, wanted);
        return;
    }
    let Some((operator, operands)) = split(expression) else {
        return;
    };
    let long = || Some("Long".to_owned());
    let [left, right] =
        [operands.first(), operands.get(1)].map(|operand| operand.and_then(|operand| kind_of(operand)));
    let wants: Vec<Option<String>> = match operator {
        "==" | "!=" => vec![right, left],
        "<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "neg" => vec![long(), long()],
        "&&" | "||" | "!" => vec![Some("Bool".to_owned()); 2],
        "if-then-else" => vec![Some("Bool".to_owned()), wanted.clone(), wanted],
        "contains" => vec![Some(set_of(right)), left.as_deref().and_then(element_of)],
        "containsAll" | "containsAny" => {
            vec![
                Some(right.unwrap_or_else(|| set_of(None))),
                Some(left.unwrap_or_else(|| set_of(None))),
            ]
        }
        "isEmpty" => vec![Some(set_of(None))],
        _ => Vec::new(),
    };
    for (index, operand) in operands.into_iter().enumerate() {
        infer(operand, wants.get(index).cloned().flatten(), members);
    }
    if let Some(path) = expression.get("has").and_then(|has| {
        let mut path = argument(has.get("left")?)?;
        path.push(has.get("attr")?.as_str()?);
        Some(path)
    }) {
        members.note(&path, None);
    }
}

/// `["a", "b"]` of `context.arguments.a.b`.
fn argument(expression: &Value) -> Option<Vec<&str>> {
    let access = expression.get(".")?;
    let (left, attribute) = (access.get("left")?, access.get("attr")?.as_str()?);
    if is_context(left) {
        return (attribute == "arguments").then(Vec::new);
    }
    let mut path = argument(left)?;
    path.push(attribute);
    Some(path)
}

/// The type of an expression, where its outermost operator tells.
fn kind_of(expression: &Value) -> Option<String> {
    let (operator, operands) = split(expression)?;
    let kind = match operator {
        "Value" => match expression.get("Value")? {
            Value::Bool(_) => "Bool",
            Value::Number(_) => "Long",
            Value::String(_) => "String",
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        },
        "+" | "-" | "*" | "neg" => "Long",
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||" | "!" | "has" | "in" | "is" | "like"
        | "contains" | "containsAll" | "containsAny" | "isEmpty" => "Bool",
        "Set" => return Some(set_of(operands.first().and_then(|first| kind_of(first)))),
        _ => return None,
    };
    Some(kind.to_owned())
}

fn set_of(element: Option<String>) -> String {
    format!("Set<{}>", element.as_deref().unwrap_or("String"))
}

fn element_of(set: &str) -> Option<String> {
    Some(set.strip_prefix("Set<")?.strip_suffix('>')?.to_owned())
}

/// The arguments of a call (the JSON text of an object) as a Cedar record; nothing when they are no object. `null`
/// counts as absent. Numbers become longs; those that are none become a record, which no comparison accepts: a rule
/// must not be passed by writing `1e30`.
pub(super) fn record(text: Option<&str>) -> Option<engine::Value> {
    let members = match text {
        None => Map::new(),
        Some(text) => serde_json::from_str(text).ok()?,
    };
    Some(object(members))
}

fn object(members: Map<String, Value>) -> engine::Value {
    engine::record(
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value_of(value)?))),
    )
}

fn value_of(value: Value) -> Option<engine::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match whole(&number) {
            Some(long) => long.into(),
            None => engine::record([("number".to_owned(), number.to_string().into())]),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => engine::set(items.into_iter().filter_map(value_of)),
        Value::Object(members) => object(members),
    })
}

/// `7`, and what JSON takes for the same: `7.0`, `70e-1`. Beyond 2^53 a float no longer says which integer it is.
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number of at most 2^53 fits"
        )]
        Some(float as i64)
    })
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn rule(condition: &str) -> Value {
        Policy::parse(None, format!("permit(principal, action, resource) {condition};"))
            .unwrap()
            .to_json()
            .unwrap()
    }

    #[test]
    fn arguments_are_found_however_they_are_written() {
        for (condition, reads) in [
            ("", false),
            ("when { context.method == \"arguments\" }", false),
            ("when { context.scopes.contains(\"x\") }", false),
            ("when { context.arguments.x == 1 }", true),
            ("when { context[\"\\u{61}rguments\"].x == 1 }", true),
            ("when { context has arguments }", true),
            ("unless { [context.arguments.x].contains(1) }", true),
            (
                "when { if principal has user then true else {a: context.arguments.x} == {a: 1} }",
                true,
            ),
            ("when { ip(context.arguments.host).isLoopback() }", true),
            ("when { context == {} }", true),
        ] {
            assert_eq!(read_by(&rule(condition)), reads, "{condition}");
        }
    }

    #[test]
    fn types_follow_from_use() {
        for (condition, kind) in [
            (
                "context.arguments has amount && context.arguments.amount < 5",
                r#"{"amount"?: Long,}"#,
            ),
            ("context.arguments.to == \"x\"", r#"{"to"?: String,}"#),
            ("context.arguments.to like \"x*\"", r#"{"to"?: String,}"#),
            ("context.arguments.force", r#"{"force"?: Bool,}"#),
            ("[1, 2].contains(context.arguments.n)", r#"{"n"?: Long,}"#),
            (
                "context.arguments.tags.contains(\"x\")",
                r#"{"tags"?: Set<String>,}"#,
            ),
            (
                "context.arguments.ids.containsAny([1])",
                r#"{"ids"?: Set<Long>,}"#,
            ),
            (
                "context.arguments.a.b == 1 && context.arguments.a has c",
                r#"{"a"?: {"b"?: Long,"c"?: String,},}"#,
            ),
            (
                "context.arguments.owner == principal.client",
                r#"{"owner"?: String,}"#,
            ),
            ("if context.arguments.x then true else false", r#"{"x"?: Bool,}"#),
        ] {
            assert_eq!(
                typed(&rule(&format!("when {{ {condition} }}"))),
                kind,
                "{condition}"
            );
        }
    }

    #[test]
    fn conditions_on_arguments_are_dropped_and_others_kept() {
        for (condition, rest) in [
            ("when { context.arguments.x == 1 }", ""),
            ("unless { context.arguments.x == 1 }", ""),
            ("unless { principal has user && context.arguments.x == 1 }", ""),
            (
                "when { principal has user && context.arguments.x == 1 }",
                "when { principal has user }",
            ),
            (
                "when { context.arguments.x == 1 } unless { principal has user }",
                "unless { principal has user }",
            ),
            (
                "when { principal has user && context.arguments.x == 1 && principal.user == \"a\" }",
                "when { principal has user && principal.user == \"a\" }",
            ),
            ("when { principal has user || context.arguments.x == 1 }", ""),
        ] {
            assert_eq!(without_arguments(&rule(condition)), rule(rest), "{condition}");
        }
    }

    #[test]
    fn numbers_are_longs_when_they_are_whole() {
        for (text, long) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("70e-1", Some(7)),
            ("-0.0", Some(0)),
            ("9007199254740992.0", Some(9_007_199_254_740_992)),
            ("9007199254740994.0", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("7.5", None),
            ("1e30", None),
        ] {
            assert_eq!(whole(&serde_json::from_str(text).unwrap()), long, "{text}");
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_nothing() {
        assert!(record(None).is_some());
        assert!(record(Some("{\"a\":[1,null,{\"b\":null}]}")).is_some());
        assert!(record(Some("[1]")).is_none());
        assert!(record(Some("null")).is_none());
    }
}
