//! A record as one line for people.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::names::Names;

/// With or without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Colour,
}

impl Style {
    pub(super) fn for_terminal(terminal: bool) -> Self {
        if terminal { Self::Colour } else { Self::Plain }
    }

    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (Self::Colour, Tone::Neutral) => return text.to_owned(),
            (Self::Colour, Tone::Good) => 32,
            (Self::Colour, Tone::Bad) => 31,
            (Self::Colour, Tone::Odd) => 33,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[derive(Clone, Copy)]
enum Tone {
    Good,
    Bad,
    Odd,
    Neutral,
}

/// A parsed record.
pub(super) struct Record(Map<String, Value>);

impl Record {
    /// Reads a line; nothing when it is no JSON object.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().map(Self)
    }

    /// A text member.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// Whether it records that somebody was refused something.
    pub(super) fn is_refusal(&self) -> bool {
        match self.text("kind") {
            Some("decision") => self.text("verdict") == Some("denied"),
            Some("login" | "consent" | "registration") => self.text("result") != Some("ok"),
            Some("refusals") => true,
            Some("token") => matches!(self.text("result"), Some("refused" | "reuse_detected")),
            _ => false,
        }
    }

    /// One line without its line feed. What others chose (names, addresses) cannot break out of it.
    pub(super) fn line(&self, names: &Names, style: Style) -> String {
        let (word, rest) = match self.text("kind") {
            Some("decision") => self.decision(names),
            Some("outcome") => self.outcome(),
            Some("login") => (self.get("result"), self.join(&[("", "user"), ("from", "peer")])),
            Some("consent") => (
                self.get("result"),
                self.join(&[
                    ("", "user"),
                    ("lets", "agent"),
                    ("named", "client_name"),
                    ("at", "redirect_host"),
                    ("use", "scopes"),
                    ("on", "resource"),
                ]),
            ),
            Some("registration") => (
                self.get("result"),
                self.join(&[("", "agent"), ("by", "how"), ("named", "client_name")]),
            ),
            Some("token") => (self.get("result"), self.granted(names) + &self.reason()),
            Some("key_transition") => (
                self.get("to"),
                self.join(&[
                    ("", "kid"),
                    ("of", "role"),
                    ("from", "from"),
                    ("by", "cause"),
                    ("for", "reason"),
                ]),
            ),
            Some("key_use") => {
                let count = self.number("count").unwrap_or_default();
                (
                    "used",
                    format!("{count} times ")
                        + &self.join(&[("", "kid"), ("of", "role"), ("for", "purpose")]),
                )
            }
            Some("refusals") => {
                let number = |name| self.number(name).unwrap_or_default();
                let rest = self.join(&[
                    ("for", "reason"),
                    ("of", "agent"),
                    ("of", "user"),
                    ("of", "target"),
                    ("on", "server"),
                    ("from", "peer"),
                ]);
                let (count, seconds) = (number("count"), number("seconds"));
                ("denied", format!("{count} more in {seconds} s {rest}"))
            }
            Some("system") => (self.get("what"), shown(self.get("detail"))),
            _ => ("?", String::new()),
        };
        let tone = match (self.is_refusal(), word) {
            (true, _) => Tone::Bad,
            (false, "allowed" | "completed" | "ok" | "issued" | "refreshed") => Tone::Good,
            (false, "withheld" | "upstream_failed" | "timed_out" | "abandoned" | "log.repaired") => Tone::Odd,
            (false, _) => Tone::Neutral,
        };
        let (time, kind) = (shown(self.get("time")), shown(self.get("kind")));
        let seq = self.number("seq").unwrap_or_default();
        let word = style.paint(tone, &format!("{:<9}", shown(word)));
        format!("{time} {seq:>6} {kind:<12} {word} {rest}")
            .trim_end()
            .to_owned()
    }

    fn decision(&self, names: &Names) -> (&str, String) {
        let mut rest = match (self.text("user"), self.text("agent")) {
            (Some(user), Some(agent)) if user != agent => format!("{} by {}", shown(user), names.told(agent)),
            (_, Some(agent)) => names.told(agent),
            (Some(user), None) => shown(user),
            (None, None) => "nobody".to_owned(),
        };
        // Writing to a String cannot fail; the results carry no information.
        let _ = write!(rest, " on {}", shown(self.get("server")));
        for member in ["method", "target"] {
            if let Some(text) = self.text(member) {
                let _ = write!(rest, " {}", shown(text));
            }
        }
        if let Some(effect) = self.text("effect") {
            let _ = write!(rest, " [{}]", shown(effect));
        }
        rest += &self.reason();
        // Only where more scope would have helped: a rule that forbids asks for none.
        let lacking = self.text("reason") == Some("policy.insufficient-scope");
        if let (true, Some(needed)) = (lacking, self.text("scopes_needed")) {
            let _ = write!(rest, ", needs {}", shown(needed));
        }
        (self.get("verdict"), rest)
    }

    fn granted(&self, names: &Names) -> String {
        let mut text = self.join(&[("", "grant_type")]);
        if let Some(agent) = self.text("agent") {
            // Writing to a String cannot fail; the results carry no information.
            let _ = write!(text, " to {}", names.told(agent));
        }
        let rest = self.join(&[("for", "user"), ("with", "scopes"), ("on", "resource")]);
        format!("{text} {rest}").trim().to_owned()
    }

    fn outcome(&self) -> (&str, String) {
        let mut rest = format!("of {}", self.number("decision_seq").unwrap_or_default());
        if let Some(status) = self.number("upstream_status") {
            let _ = write!(rest, ", status {status}");
        }
        let (bytes, millis) = (
            self.number("bytes_out").unwrap_or_default(),
            self.number("millis").unwrap_or_default(),
        );
        let _ = write!(rest, ", {bytes} bytes, {millis} ms");
        (self.get("result"), rest)
    }

    fn reason(&self) -> String {
        match self.text("reason") {
            Some("ok") | None => String::new(),
            Some(reason) => format!(": {}", shown(reason)),
        }
    }

    fn get(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    fn join(&self, parts: &[(&str, &str)]) -> String {
        let parts = parts.iter().filter_map(|(word, name)| {
            let text = shown(self.text(name).filter(|text| !text.is_empty())?);
            Some(if word.is_empty() {
                text
            } else {
                format!("{word} {text}")
            })
        });
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// The text with everything escaped that a terminal or an eye could be fooled by: control characters, and marks that
/// turn the direction of writing or take no room.
pub(super) fn shown(text: &str) -> String {
    let fooling = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if fooling(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}
