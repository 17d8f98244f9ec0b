//! One grammar for every message of the program: `problem (why); suggestion`. The test reads the source,
//! takes every text that reaches a user as an error or a warning, and names those that read otherwise.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a message, or a part of one, is handed to: an opening bracket follows each. The fields of any `..Error::..`
/// hold messages as well.
const DOORS: &[&str] = &[
    "#[error",
    "Err",
    "bail!",
    "anyhow!",
    "ensure!",
    ".context",
    ".with_context",
    ".ok_or",
    ".ok_or_else",
    ".map_err",
    "refuse",
    "damaged",
    "impossible",
    "log::warn!",
    "log::error!",
];

/// Words that keep their capital at the start of a message.
const NAMES: &[&str] = &[
    "HDF5", "CUDA", "NVIDIA", "NaN", "JSON", "TOML", "PyTorch", "MiB", "GiB",
];

/// How a suggestion starts: none of these words may follow anything but a semicolon.
const SUGGESTIONS: &[&str] = &[
    "ask",
    "build",
    "check",
    "choose",
    "compare",
    "create",
    "cut",
    "delete",
    "deselect",
    "free",
    "give",
    "leave",
    "lower",
    "move",
    "omit",
    "pass",
    "please",
    "raise",
    "remove",
    "resume",
    "rewrite",
    "run",
    "save",
    "select",
    "set",
    "start",
    "store",
    "take",
    "this is a mistake",
    "train",
    "try",
    "update",
    "upgrade",
    "use",
    "wait",
    "write",
];

/// A string literal of a source file.
struct Literal {
    /// Where it starts and ends in the file, quotes included.
    from: usize,
    to: usize,
    text: String,
}

/// A source file: its literals, and its text with comments, strings and characters blanked, in which brackets can
/// be matched.
struct Source {
    literals: Vec<Literal>,
    bare: Vec<u8>,
}

impl Source {
    fn read(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut bare = bytes.to_vec();
        let mut literals = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &text[at..];
            let from = at;
            if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                at += rest.find("*/").map_or(rest.len(), |end| end + 2);
            } else if let Some((length, inside)) = string(rest, at.checked_sub(1).map(|i| bytes[i]))
            {
                at += length;
                literals.push(Literal {
                    from,
                    to: at,
                    text: inside,
                });
            } else if let Some(length) = character(rest) {
                at += length;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
            bare[from..at]
                .iter_mut()
                .filter(|b| **b != b'\n')
                .for_each(|b| *b = b' ');
        }
        Source { literals, bare }
    }

    /// The end of the group that opens at `open`.
    fn end(&self, open: usize) -> usize {
        let mut depth = 0;
        for (at, byte) in self.bare.iter().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return at;
                    }
                }
                _ => {}
            }
        }
        self.bare.len()
    }

    /// Groups that hold messages: what stands inside the brackets after a door, and the fields of an error.
    fn groups(&self) -> Vec<(usize, usize)> {
        let bare = String::from_utf8_lossy(&self.bare).into_owned();
        let mut groups = Vec::new();
        for door in DOORS {
            for (at, _) in bare.match_indices(&format!("{door}(")) {
                let before = at.checked_sub(1).map(|i| self.bare[i]);
                let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
                if !(door.starts_with(|c: char| c.is_alphanumeric()) && before.is_some_and(is_word))
                {
                    let open = at + door.len();
                    groups.push((open, self.end(open)));
                }
            }
        }
        for (at, _) in bare.match_indices("Error::") {
            let name = bare[at + 7..].find(|c: char| !c.is_alphanumeric() && c != '_');
            let after = at + 7 + name.unwrap_or(0);
            let open = after + bare[after..].len() - bare[after..].trim_start().len();
            if matches!(self.bare.get(open), Some(b'(' | b'{')) {
                groups.push((open, self.end(open)));
            }
        }
        groups
    }

    /// Every message, with what its placeholders print: (literal, arguments after it, text after the group).
    fn messages<'a>(&'a self, text: &'a str) -> Vec<(&'a Literal, Vec<&'a str>, &'a str)> {
        let groups = self.groups();
        let tests = self.tests(text);
        let lies = |l: &Literal, groups: &[(usize, usize)]| {
            groups
                .iter()
                .any(|(from, to)| (*from..*to).contains(&l.from))
        };
        let inside = |l: &&Literal| (lies(l, &groups) || sounds(&l.text)) && !lies(l, &tests);
        self.literals
            .iter()
            .filter(inside)
            .map(|literal| {
                let end = self.closing(literal.to);
                (
                    literal,
                    self.arguments(text, literal.to, end),
                    &text[(end + 2).min(text.len())..],
                )
            })
            .collect()
    }

    /// The tests inside the file: what they say is nobody's message.
    fn tests(&self, text: &str) -> Vec<(usize, usize)> {
        let module = |(at, _): (usize, &str)| {
            let open = at + text[at..].find(['{', ';'])?;
            (self.bare[open] == b'{').then(|| (open, self.end(open)))
        };
        text.match_indices("#[cfg(test)]\nmod ")
            .filter_map(module)
            .collect()
    }

    /// Where the group that `at` lies in closes.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0;
        for (at, byte) in self.bare.iter().enumerate().skip(at) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' if depth == 0 => return at,
                b')' | b']' | b'}' => depth -= 1,
                _ => {}
            }
        }
        self.bare.len()
    }

    /// The arguments between `from` and `to`, cut at commas outside brackets.
    fn arguments<'a>(&self, text: &'a str, from: usize, to: usize) -> Vec<&'a str> {
        let mut depth = 0;
        let mut start = from;
        let mut arguments = Vec::new();
        for (at, byte) in self.bare.iter().enumerate().take(to).skip(from) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    arguments.push(text[start..at].trim());
                    start = at + 1;
                }
                _ => {}
            }
        }
        arguments.push(text[start..to].trim());
        // The first piece is what stands between the literal and its comma: a method call, or nothing.
        arguments.remove(0);
        arguments.retain(|a| !a.is_empty());
        arguments
    }
}

/// The length and the text of the string literal that `rest` starts with.
fn string(rest: &str, before: Option<u8>) -> Option<(usize, String)> {
    let word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let prefix = ["br", "cr", "r", "b", "c", ""]
        .into_iter()
        .find(|p| rest.starts_with(p) && rest[p.len()..].starts_with(['"', '#']))
        .filter(|p| p.is_empty() || !word)?;
    let body = &rest[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body[hashes..].strip_prefix('"')?;
    let opening = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close)?;
        return Some((opening + end + close.len(), body[..end].into()));
    }
    if hashes > 0 {
        return None;
    }
    let mut text = String::new();
    let mut characters = body.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((opening + at + 1, text)),
            '\\' => match characters.next()?.1 {
                '\n' => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                'n' => text.push('\n'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            c => text.push(c),
        }
    }
    None
}

/// The length of the character literal that `rest` starts with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let first = body.chars().next()?;
    let length = match first {
        '\\' => 2 + body[2..].find('\'')?,
        c => c.len_utf8(),
    };
    body[length..].starts_with('\'').then_some(length + 2)
}

/// Whether a text is a message wherever it stands: it gives a reason and goes on, or says that something cannot be.
fn sounds(text: &str) -> bool {
    let reason = text.contains("); ") || text.replace("): {", "").contains("): ");
    (reason || text.contains("cannot ")) && !text.contains('<')
}

/// What is wrong with a message.
fn faults(text: &str, arguments: &[&str], after: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let first: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
    if first.starts_with(char::is_uppercase) && !NAMES.contains(&first.as_str()) {
        faults.push("starts with a capital".into());
    }
    if text.ends_with('.') && !text.ends_with("..") {
        faults.push("ends with a full stop".into());
    }
    if text.contains("  ") {
        faults.push("two spaces in a row".into());
    }
    if text.contains('`') {
        faults.push("a backtick: names and paths stand in single quotes".into());
    }
    if text.ends_with('?') || text.contains("? ") {
        faults.push("a question: a message says what is wrong and what to do".into());
    }
    if text.contains("): ") {
        faults.push("a colon after the reason: the suggestion follows a semicolon".into());
    }
    for word in SUGGESTIONS {
        for mark in [") ", ": ", ". ", "? "] {
            let starts = |(at, found): (usize, &str)| {
                !text[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            };
            if text.match_indices(&format!("{mark}{word}")).any(starts) {
                faults.push(format!(
                    "'{word}' after '{}': the suggestion follows a semicolon",
                    mark.trim()
                ));
            }
        }
    }
    for (at, name) in placeholders(text) {
        let bytes = text.as_bytes();
        let close = at + text[at..].find('}').unwrap_or(0);
        let quoted = at > 0 && bytes[at - 1] == b'\'' && bytes.get(close + 1) == Some(&b'\'');
        if !quoted && is_path(&name, arguments, after) {
            faults.push(format!("the path {{{name}}} stands outside single quotes"));
        }
    }
    faults
}

/// The placeholders of a format string: where each starts, and its name or number.
fn placeholders(text: &str) -> Vec<(usize, String)> {
    let hidden = text.replace("{{", "\0\0");
    let mut found = Vec::new();
    let mut number = 0;
    for (at, _) in hidden.match_indices('{') {
        let inside = hidden[at + 1..].split('}').next().unwrap_or_default();
        let mut name = inside.split(':').next().unwrap_or_default().to_string();
        if name.is_empty() {
            name = number.to_string();
            number += 1;
        }
        found.push((at, name));
    }
    found
}

/// Whether a placeholder prints a path: its argument is displayed, its name says so, or, for an error's own field,
/// the field is one.
fn is_path(name: &str, arguments: &[&str], after: &str) -> bool {
    let named = arguments.iter().find_map(|a| {
        let (left, right) = a.split_once('=')?;
        (left.trim() == name).then_some(right)
    });
    let positional: Vec<&&str> = arguments.iter().filter(|a| !a.contains(" = ")).collect();
    let argument = named.or_else(|| positional.get(name.parse::<usize>().ok()?).map(|a| **a));
    match argument {
        Some(argument) => argument.contains(".display()"),
        None if ["path", "directory", "file", "parent"].contains(&name) => true,
        // The variant that an `#[error(..)]` stands above, as far as its end.
        None => {
            let variant = after.split("#[error").next().unwrap_or_default();
            let variant = variant.split("\n    }\n").next().unwrap_or_default();
            let tuple = variant.split_once('(').map_or("", |(_, fields)| fields);
            (name == "0"
                && variant.trim_start().starts_with(|c: char| c.is_uppercase())
                && tuple.starts_with("PathBuf"))
                || variant.contains(&format!(" {name}: PathBuf,"))
        }
    }
}

/// Offenders of a source text, `name:line: "text": fault`, and how many messages it holds.
fn offenders(name: &str, text: &str) -> (String, usize) {
    let source = Source::read(text);
    let messages = source.messages(text);
    let mut said = String::new();
    for (literal, arguments, after) in &messages {
        let line = 1 + text[..literal.from].matches('\n').count();
        for fault in faults(&literal.text, arguments, after) {
            let _ = writeln!(said, "{name}:{line}: {:?}: {fault}", literal.text);
        }
    }
    (said, messages.len())
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// A test of the test: each of these is wrong in the way named, or right.
#[test]
fn faults_are_seen() {
    let wrong = [
        (r#"bail!("Cannot open the file")"#, "a capital"),
        (r#"bail!("cannot open the file.")"#, "a full stop"),
        (r#"bail!("cannot  open the file")"#, "two spaces"),
        (r#"bail!("cannot open `x`")"#, "a backtick"),
        (r#"bail!("how many? as many as you like")"#, "a question"),
        (
            r#"bail!("cannot open x (it is gone): look elsewhere")"#,
            "a colon",
        ),
        (
            r#"bail!("cannot open x (it is gone) check the path")"#,
            "'check' after ')'",
        ),
        (r#"bail!("there is no x: use y")"#, "'use' after ':'"),
        (r#"bail!("cannot open {}", path.display())"#, "the path {0}"),
        (
            r#"bail!("cannot open {x}", x = path.display())"#,
            "the path {x}",
        ),
        (
            r#"log::warn!("{} of {}", 3, path.display())"#,
            "the path {1}",
        ),
        (
            "#[error(\"{0} is there\")]\n    Exists(PathBuf),",
            "the path {0}",
        ),
        (
            "#[error(\"{to} is there\")]\n    Exists {\n        to: PathBuf,\n    }\n",
            "the path {to}",
        ),
        (
            r#"fn f() { fault("cannot do it (no idea): do not") }"#,
            "a colon",
        ),
        (
            r#"fn f() { EngineError::Device(format!("No device {n}")) }"#,
            "a capital",
        ),
        (
            r#"fn f() { x.map_err(|e| DataError::Io { action: "Open", e }) }"#,
            "a capital",
        ),
    ];
    for (text, fault) in wrong {
        let (said, _) = offenders("x.rs", text);
        assert!(
            said.starts_with("x.rs:1: ") && said.contains(fault),
            "{text}: {said:?}"
        );
    }
    let right = [
        r#"bail!("cannot open '{}' ({}); check the path", path.display(), "it is gone")"#,
        r#"bail!("HDF5 is not there, nor {shape:?}")"#,
        "#[error(\"'{0}' is there\")]\n    Exists(PathBuf),",
        // Neither comments nor what only a test says are messages.
        "// bail!(\"Cannot open.\")",
        "#[cfg(test)]\nmod tests {\n    fn f() { bail!(\"Cannot open.\") }\n}",
        r##"const C: char = '"'; const R: &str = r#"bail!("No.")"#;"##,
    ];
    for text in right {
        assert_eq!(offenders("x.rs", text).0, "", "{text}");
    }
}

#[test]
fn every_message_reads_problem_why_suggestion() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    let mut said = String::new();
    let mut messages = 0;
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let (wrong, count) = offenders(&name, &text);
        said += &wrong;
        messages += count;
    }
    assert!(
        said.is_empty(),
        "{} of {messages} messages:\n{said}",
        said.lines().count()
    );
    // Fewer would mean that the reader of the source has gone blind.
    assert!(messages > 250, "only {messages} messages found");
}
