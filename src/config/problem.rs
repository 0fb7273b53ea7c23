//! What is wrong with a configuration file: the place, what was expected, and the line with a caret under it.
//!
//! Invariant: no value of a key that ends in `password`, `secret`, `api_key` or `webhook` is ever part of a message or of a printed line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use zeroize::Zeroizing;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: the configuration file cannot be read: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is wrong in these places.
    #[error("{}", Report(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    pub expected: String,
    /// All of it for a person: message, place, line and caret.
    #[serde(skip)]
    picture: String,
}

/// How keys end whose values are secrets.
const SECRET_KEYS: [&str; 6] = ["password", "secret", "api_key", "refresh_token", "uthorization", "webhook"];

struct Report<'a>(&'a [Problem]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "the configuration has a mistake\n{}", one.picture),
            all => {
                write!(f, "the configuration has {} mistakes", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n{}", problem.picture))
            }
        }
    }
}

/// A second place that explains the first.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) span: Range<usize>,
    pub(super) label: String,
}

/// The text of a configuration file, for telling places in it.
#[derive(Clone)]
pub(super) struct Source {
    path: PathBuf,
    text: Arc<Zeroizing<String>>,
    secrets: Vec<Range<usize>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.path.display())
    }
}

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let secrets = secrets(&text);
        Self { path: path.to_owned(), text: Arc::new(Zeroizing::new(text)), secrets }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether `span` touches a secret value.
    pub(super) fn is_secret(&self, span: &Range<usize>) -> bool {
        self.secrets.iter().any(|secret| secret.start < span.end.max(span.start + 1) && span.start < secret.end)
    }

    pub(super) fn problem(
        &self,
        span: Range<usize>,
        message: String,
        expected: String,
        context: Option<Context>,
    ) -> Problem {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let masked = self.masked();
        let path = self.path.display().to_string();
        let mut snippet = Snippet::source(masked.as_str())
            .path(path)
            .annotation(AnnotationKind::Primary.span(span).label(format!("expected {expected}")));
        if let Some(Context { span, label }) = context {
            snippet = snippet.annotation(AnnotationKind::Context.span(span).label(label));
        }
        let picture = Renderer::plain().render(&[Level::ERROR.primary_title(message.as_str()).element(snippet)]);
        Problem { file: self.path.clone(), line, column, message, expected, picture }
    }

    /// The text with stars for the secrets, every place where it was.
    fn masked(&self) -> String {
        let mut masked = String::with_capacity(self.text.len());
        for (at, character) in self.text.char_indices() {
            if character != '\n' && self.secrets.iter().any(|secret| secret.contains(&at)) {
                masked.extend(std::iter::repeat_n('*', character.len_utf8()));
            } else {
                masked.push(character);
            }
        }
        masked
    }
}

/// Where values of keys that end in one of [`SECRET_KEYS`] stand: what follows the `=`, to the end of the line or of the
/// multi-line string.
///
/// It works on text and not on parsed TOML, since a file that is no TOML must not tell its secrets either.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    for (at, key) in SECRET_KEYS.iter().flat_map(|key| text.match_indices(key)) {
        let after = at + key.len();
        let rest = text.get(after..).unwrap_or_default();
        let value = rest.trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let Some(value) = value.strip_prefix('=').map(|value| value.trim_start_matches([' ', '\t'])) else { continue };
        // The name before tells whether this is a position of the sign-on form, `password = [6, 53]`, which is no secret.
        if value.starts_with('[') {
            continue;
        }
        let start = text.len() - value.len();
        let multiline = ["\"\"\"", "'''"].into_iter().find(|quote| value.starts_with(quote));
        let length = match multiline {
            Some(quote) => value.get(3..).and_then(|inner| inner.find(quote)).map_or(value.len(), |end| end + 6),
            None => value.find('\n').unwrap_or(value.len()),
        };
        secrets.push(start..start + length);
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = Source::new(Path::new("a.toml"), "x = 1\nä = 2\n".into());
        let problem = source.problem(11..12, "wrong".into(), "3".into(), None);
        assert_eq!((problem.line, problem.column), (2, 5));
        assert!(problem.picture.contains("--> a.toml:2:5"), "{}", problem.picture);
        assert!(problem.picture.contains("^ expected 3"), "{}", problem.picture);
    }

    #[test]
    fn secrets_are_starred_out_wherever_they_stand() {
        for text in [
            "password = \"hunter2\"",
            "\"password\"='hunter2'\n",
            "smtp = { password = \"hunter2\" }",
            "smtp.password = hunter2",
            "password = \"\"\"\nhunter2\n\"\"\"\n",
            "password = \"hunter2",
            "password = '''hunter2",
            "password = 'höhunter2'",
            "secret = \"hunter2\"",
            "[yubikey]\napi_key = hunter2",
        ] {
            let source = Source::new(Path::new("a.toml"), text.into());
            for at in 0..text.len() {
                if text.is_char_boundary(at) {
                    let problem = source.problem(at..at, "wrong".into(), "x".into(), None);
                    assert!(!problem.picture.contains("hunter2"), "{}", problem.picture);
                }
            }
        }
        assert!(secrets("password = [6, 53]").is_empty());
        assert!(secrets("secret_file = \"x\"").is_empty());
        assert!(secrets("password_file = \"x\"").is_empty());
    }
}
