//! Just enough HTML to use a server-rendered form as a person without scripts would: find the forms of a page, their
//! fields and their buttons.

/// One `<form>`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    /// Where it goes; empty for the page itself.
    pub(crate) action: String,
    /// What a browser would send without a click or a key: hidden, checked and pre-filled fields.
    pub(crate) fields: Vec<(String, String)>,
    /// Name of the first text or e-mail field.
    pub(crate) text: Option<String>,
    /// Name of the first password field.
    pub(crate) password: Option<String>,
    /// Its submit buttons.
    pub(crate) buttons: Vec<Button>,
}

/// One submit button.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Button {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) label: String,
}

impl Button {
    fn approves(&self) -> bool {
        let says = format!("{} {} {}", self.name, self.value, self.label).to_lowercase();
        ["approve", "allow", "accept", "grant", "yes"]
            .iter()
            .any(|word| says.contains(word))
            && !["deny", "disallow", "cancel", "reject"]
                .iter()
                .any(|word| says.contains(word))
    }
}

impl Form {
    /// What is sent when a person fills in name and password.
    pub(crate) fn filled(&self, user: &str, password: &str) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        for (name, value) in [(&self.text, user), (&self.password, password)] {
            if let Some(name) = name {
                fields.retain(|(given, _)| given != name);
                fields.push((name.clone(), value.to_owned()));
            }
        }
        fields
    }

    /// What is sent when a person clicks the button that approves; `None` when no button does.
    pub(crate) fn approved(&self) -> Option<Vec<(String, String)>> {
        let button = self.buttons.iter().find(|button| button.approves())?;
        let mut fields = self.fields.clone();
        if !button.name.is_empty() {
            fields.push((button.name.clone(), button.value.clone()));
        }
        Some(fields)
    }
}

/// The forms of a page, in order.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut open = false;
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, text) = after.split_once('>').unwrap_or((after, ""));
        rest = text;
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let attribute = |wanted: &str| attribute(attributes, wanted);
        match (name.to_ascii_lowercase().as_str(), forms.last_mut()) {
            ("form", _) => {
                open = true;
                forms.push(Form {
                    action: attribute("action").unwrap_or_default(),
                    ..Form::default()
                });
            }
            ("/form", _) => open = false,
            ("button", Some(form)) if open => {
                let label = text.split_once("</button").map_or("", |(label, _)| label);
                let kind = attribute("type").unwrap_or_else(|| "submit".to_owned());
                if kind == "submit" {
                    form.buttons.push(Button {
                        name: attribute("name").unwrap_or_default(),
                        value: attribute("value").unwrap_or_default(),
                        label: unescape(label.trim()),
                    });
                }
            }
            ("input", Some(form)) if open => {
                let field = attribute("name").unwrap_or_default();
                let value = attribute("value").unwrap_or_default();
                match attribute("type").unwrap_or_else(|| "text".to_owned()).as_str() {
                    "password" => form.password = Some(field),
                    "text" | "email" => {
                        form.fields.push((field.clone(), value));
                        form.text.get_or_insert(field);
                    }
                    "submit" => form.buttons.push(Button {
                        name: field,
                        label: value.clone(),
                        value,
                    }),
                    "checkbox" | "radio" if attribute("checked").is_none() => {}
                    _ => form.fields.push((field, value)),
                }
            }
            _ => {}
        }
    }
    forms
}

/// The value of one attribute; an attribute without a value has an empty one.
fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        let (value, after) = match after.trim_start().strip_prefix('=').map(str::trim_start) {
            None => ("", after),
            Some(quoted) if quoted.starts_with(['"', '\'']) => {
                let quote = quoted.chars().next()?;
                quoted.strip_prefix(quote)?.split_once(quote)?
            }
            Some(bare) => bare.split_once(char::is_whitespace).unwrap_or((bare, "")),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescape(value));
        }
        rest = after.trim_start();
        if name.is_empty() && value.is_empty() {
            return None;
        }
    }
    None
}

/// The character references that a template engine writes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let decoded = after
            .split_once(';')
            .and_then(|(name, after)| reference(name).map(|c| (c, after)));
        match decoded {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain + rest
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!doctype html><input name="outside">
        <form method="post" action="/login?a=1&amp;b=2">
          <input type="hidden" name="csrf" value="x&#x2F;&quot;y">
          <input name=user autofocus required><input type='password' name="password">
          <button>Sign in</button>
        </form>
        <form method="post">
          <input type=checkbox name=scope value=a checked><input type="checkbox" name="scope" value="b">
          <button name="decision" value="deny">Cancel</button>
          <button class="big" name="decision" value="approve">Allow</button>
        </form>"#;

    #[test]
    fn a_login_form_is_filled_in() {
        let login = forms(PAGE).remove(0);
        assert_eq!(login.action, "/login?a=1&b=2");
        let sent = login.filled("demo", "secret");
        let expected = [("csrf", "x/\"y"), ("user", "demo"), ("password", "secret")];
        assert_eq!(
            sent,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn the_approving_button_is_found_and_only_checked_boxes_are_sent() {
        let consent = forms(PAGE).remove(1);
        let expected = [("scope", "a"), ("decision", "approve")];
        let sent = consent.approved().unwrap();
        assert_eq!(
            sent,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_form_that_only_denies_approves_nothing() {
        let denying = forms("<form><button name=decision value=deny>Do not allow</button></form>").remove(0);
        assert_eq!(denying.approved(), None);
    }

    #[test]
    fn broken_markup_ends() {
        for broken in [
            "<form",
            "<form action=",
            "<form><input name='x",
            "<form><input = = value",
            "<<<>>>",
            "&;&#;&#xzz;",
        ] {
            let _ = forms(broken).len();
            assert!(!unescape(broken).is_empty());
        }
    }
}
