//! A command line becomes words. No shell ever sees it.

/// A command line that does not say what to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// There is no word in it.
    #[error("the command is empty")]
    Empty,
    /// A quote is opened and not closed.
    #[error("the command has a {0} that is not closed")]
    Unclosed(char),
    /// A backslash with nothing behind it.
    #[error("the command ends in a backslash")]
    TrailingBackslash,
    /// No system call takes it.
    #[error("the command has a NUL character")]
    Nul,
}

/// Splits `CMD ARGS…` at spaces, tabs and line ends. `'…'` is taken as it is; in `"…"` a backslash takes the meaning from `"` and `\`,
/// elsewhere from any character. Nothing else means anything: no variables, no `~`, no globs, no pipes.
///
/// # Errors
/// [`InvalidCommand`].
pub fn words(command: &str) -> Result<Vec<String>, InvalidCommand> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\0' => return Err(InvalidCommand::Nul),
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => quoted(c, &mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\0') => return Err(InvalidCommand::Nul),
                Some(taken) => word.get_or_insert_default().push(taken),
                None => return Err(InvalidCommand::TrailingBackslash),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        Err(InvalidCommand::Empty)
    } else {
        Ok(words)
    }
}

/// Reads on to the closing quote.
fn quoted(quote: char, chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), InvalidCommand> {
    while let Some(c) = chars.next() {
        match c {
            '\0' => return Err(InvalidCommand::Nul),
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next() {
                Some(taken @ ('"' | '\\')) => word.push(taken),
                Some('\0') => return Err(InvalidCommand::Nul),
                Some(other) => word.extend(['\\', other]),
                None => return Err(InvalidCommand::Unclosed(quote)),
            },
            plain => word.push(plain),
        }
    }
    Err(InvalidCommand::Unclosed(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_quotes_are_taken_off() {
        for (command, expected) in [
            ("npx -y server /tmp", vec!["npx", "-y", "server", "/tmp"]),
            ("  a\t b\n", vec!["a", "b"]),
            (
                r#"python3 "my server.py" 'it''s'"#,
                vec!["python3", "my server.py", "its"],
            ),
            (
                r#"a "say \"hi\" \\ \n" 'C:\new'"#,
                vec!["a", r#"say "hi" \ \n"#, r"C:\new"],
            ),
            (r"a\ b \'c", vec!["a b", "'c"]),
            (r#"a "" ''"#, vec!["a", "", ""]),
            (
                "a $HOME ~ *.rs; rm -rf / | `b` $(c) &",
                vec![
                    "a", "$HOME", "~", "*.rs;", "rm", "-rf", "/", "|", "`b`", "$(c)", "&",
                ],
            ),
        ] {
            assert_eq!(words(command).unwrap(), expected, "{command}");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for (command, expected) in [
            ("", InvalidCommand::Empty),
            (" \t", InvalidCommand::Empty),
            (r#""" a"#, InvalidCommand::Empty),
            ("a 'b", InvalidCommand::Unclosed('\'')),
            (r#"a "b"#, InvalidCommand::Unclosed('"')),
            (r#"a "b\"#, InvalidCommand::Unclosed('"')),
            (r"a \", InvalidCommand::TrailingBackslash),
            ("a\0b", InvalidCommand::Nul),
            ("a 'b\0'", InvalidCommand::Nul),
            ("a \\\0", InvalidCommand::Nul),
            ("a \"\\\0\"", InvalidCommand::Nul),
        ] {
            assert_eq!(words(command), Err(expected), "{command:?}");
        }
    }
}
