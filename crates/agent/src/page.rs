//! The page that a browser shows after a login.

/// What the page says.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    status: http::StatusCode,
    heading: &'static str,
    text: String,
}

impl Page {
    pub(crate) fn done(server: &str) -> Self {
        let text = format!("The agent may now use {server}. You can close this window.");
        Self {
            status: http::StatusCode::OK,
            heading: "You are logged in",
            text,
        }
    }

    /// `reason` is a text of ours, or one that the state machine cut to what may be shown.
    pub(crate) fn failed(reason: &str) -> Self {
        let text = format!(
            "Nothing was granted to the agent: {reason}. You can close this window; the terminal says more."
        );
        Self {
            status: http::StatusCode::OK,
            heading: "The login did not succeed",
            text,
        }
    }

    pub(crate) fn again() -> Self {
        let text =
            "The agent had to register anew. It has just opened another login page; please use that one."
                .to_owned();
        Self {
            status: http::StatusCode::OK,
            heading: "Once more, please",
            text,
        }
    }

    pub(crate) fn not_ours() -> Self {
        let text = "This address belongs to no login that is waiting. If you were logging in, use the newest login page.".to_owned();
        Self {
            status: http::StatusCode::BAD_REQUEST,
            heading: "Nothing happened",
            text,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self {
            status: http::StatusCode::NOT_FOUND,
            heading: "Not found",
            text: "There is nothing here.".to_owned(),
        }
    }

    pub(crate) fn status(&self) -> http::StatusCode {
        self.status
    }

    pub(crate) fn html(&self) -> String {
        let heading = self.heading;
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{heading} - Portcullis</title>\
             <style>body{{font:18px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em}}</style>\
             </head><body><main><h1>{heading}</h1><p>{}</p></main></body></html>\n",
            escaped(&self.text)
        )
    }
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_another_party_becomes_markup() {
        let html = Page::failed("<script>alert('x')</script>&\"").html();
        assert!(
            html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"),
            "{html}"
        );
        assert!(!html.contains("<script"));
    }
}
