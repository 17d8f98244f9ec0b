//! Rust sources as far as paths go: words and signs, without comments, strings and tests.

/// A path that a file names.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrow {
    /// Module of the file, with the file's own name: `families`, `sarm`, `model`. `mod.rs` is `mod`.
    pub from: Vec<String>,
    pub line: usize,
    /// What is named, from the root.
    pub to: Vec<String>,
}

/// A word or sign of a source, and its line.
pub type Token = (String, usize);

/// A source without comments and without the contents of its strings.
pub fn tokens(text: &str) -> Vec<Token> {
    let source: Vec<char> = text.chars().collect();
    let at = |i: usize| source.get(i).copied().unwrap_or('\0');
    let (mut found, mut line, mut i) = (Vec::new(), 1, 0);
    while i < source.len() {
        let start = i;
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < source.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= source.len() {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < source.len() && at(i) != '"' {
                i += 1 + usize::from(at(i) == '\\');
            }
            i += 1;
        } else if c == '\'' {
            // A character, or the name of a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while i < source.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else {
                i += if at(i + 2) == '\'' { 3 } else { 1 };
            }
        } else if c.is_alphanumeric() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let name = word(&source[start..i]);
            let fence = source[i..].iter().take_while(|c| **c == '#').count();
            if ["r", "br", "cr"].contains(&&*name) && at(i + fence) == '"' {
                // A raw string, to the quote that as many # follow.
                i += fence + 1;
                let ends = |i: usize| at(i) == '"' && (1..=fence).all(|k| at(i + k) == '#');
                while i < source.len() && !ends(i) {
                    i += 1;
                }
                i += fence + 1;
            } else if !(["b", "c"].contains(&&*name) && at(i) == '"') {
                found.push((name, line));
            }
        } else if c == ':' && at(i + 1) == ':' {
            found.push(("::".into(), line));
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push((c.into(), line));
            }
            i += 1;
        }
        line += source[start..i.min(source.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    found
}

fn word(characters: &[char]) -> String {
    characters.iter().collect()
}

/// Where the item or block ends that starts at `start`: after its `;`, or after the brace that closes its first one.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (i, (token, _)) in tokens.iter().enumerate().skip(start) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && token == "}" {
                    return i + 1;
                }
            }
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The tokens that are compiled into the program, and the files that belong to tests only (`#[cfg(test)] mod name;`).
pub fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|(token, _)| token == text);
    while i < tokens.len() {
        let of_tests = ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(k, text)| is(i + k, text));
        if !of_tests {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += 7;
        while is(i, "#") {
            i = tokens[i..]
                .iter()
                .position(|(t, _)| t == "]")
                .map_or(tokens.len(), |k| i + k + 1);
        }
        if is(i, "mod") && is(i + 2, ";") {
            modules.push(tokens[i + 1].0.clone());
        }
        i = end_of_item(&tokens, i);
    }
    (kept, modules)
}

/// Every path of a file that starts at `crate`, `$crate` or `super`.
pub fn arrows(from: &[String], tokens: &[Token]) -> Vec<Arrow> {
    // The modules within the file that are open, each with the depth of its brace.
    let (mut open, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
    let mut found = Vec::new();
    let mut i = 0;
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|(token, _)| token == text);
    while i < tokens.len() {
        let (token, _) = &tokens[i];
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                open.retain(|(_, brace)| *brace < depth);
            }
            "mod" if is(i + 2, "{") => open.push((tokens[i + 1].0.clone(), depth)),
            "crate" | "super" | "self" if is(i + 1, "::") && (i == 0 || !is(i - 1, "::")) => {
                let mut here: Vec<String> = from.to_vec();
                if here.last().is_some_and(|name| name == "mod") {
                    here.pop();
                }
                here.extend(open.iter().map(|(name, _)| name.clone()));
                i = tree(tokens, i, &here, &mut |line, to: Vec<String>| {
                    found.push(Arrow {
                        from: from.to_vec(),
                        line,
                        to,
                    });
                });
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// One tree of a `use`, or a path: calls `leaf` with each path from the root; returns where it ends.
fn tree(
    tokens: &[Token],
    mut i: usize,
    prefix: &[String],
    leaf: &mut impl FnMut(usize, Vec<String>),
) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[i].1;
    loop {
        let Some((token, _)) = tokens.get(i) else {
            leaf(line, path);
            return i;
        };
        match token.as_str() {
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|(t, _)| t != "}") {
                    match tokens[i].0.as_str() {
                        "," => i += 1,
                        _ => i = tree(tokens, i, &path, leaf),
                    }
                }
                return i + 1;
            }
            "crate" => path.clear(),
            "self" => {}
            "super" => {
                path.pop();
            }
            "*" => {}
            name => path.push(name.to_string()),
        }
        i += 1;
        if tokens.get(i).is_some_and(|(t, _)| t == "as") {
            i += 2;
        }
        let next = |k: usize| tokens.get(i + k).map_or("", |(t, _)| t.as_str());
        if next(0) != "::" || next(1) == "<" {
            leaf(line, path);
            return i;
        }
        i += 1;
    }
}

/// Paths of a source as the file `from`, each joined by `::`.
fn read(from: &str, text: &str) -> Vec<(usize, String)> {
    let from: Vec<String> = from.split("::").map(String::from).collect();
    let (kept, _) = without_tests(tokens(text));
    (arrows(&from, &kept).into_iter())
        .map(|arrow| (arrow.line, arrow.to.join("::")))
        .collect()
}

#[test]
fn paths_are_found() {
    let paths = |from: &str, text: &str| -> Vec<String> {
        read(from, text).into_iter().map(|(_, path)| path).collect()
    };
    assert_eq!(
        paths("a::b", "use crate::{c::{self, d as e}, f};"),
        ["c", "c::d", "f"]
    );
    assert_eq!(paths("a::b", "fn f() { crate::c::d::<u8>() }"), ["c::d"]);
    assert_eq!(paths("a::b", "use super::super::c::*;"), ["c"]);
    assert_eq!(paths("a::mod", "use super::c; use self::d;"), ["c", "a::d"]);
    assert_eq!(
        paths("a::b", "pub(super) fn f(self) {}"),
        Vec::<String>::new()
    );
    assert_eq!(
        paths("a::b", "mod m { mod n {} use super::super::c; }"),
        ["a::c"]
    );
    assert_eq!(paths("a::b", "mod m {} use super::c;"), ["a::c"]);
    assert_eq!(
        paths("a::b", "macro_rules! m { () => { $crate::c::d } }"),
        ["c::d"]
    );
    assert_eq!(paths("a::b", "pub use crate::*;"), [""]);
    // Neither in comments, nor in strings, nor in tests.
    let text = r##"
        /* crate::a /* */ crate::a */ // crate::a
        const X: &str = "crate::a \" crate::a"; const Y: &[u8] = br#"" crate::a"#; const Z: char = '"';
        fn f<'a>(x: &'a u8) { let q = '\''; crate::c() }
        #[cfg(test)] #[allow(unused)] mod tests { use crate::a; fn f() {} }
        #[cfg(test)] use crate::a;
        #[cfg(test)] fn f(x: [u8; 2]) -> u8 { crate::a() }
        use crate::d;
    "##;
    assert_eq!(read("a::b", text), [(4, "c".into()), (8, "d".into())]);
    let (_, of_tests) = without_tests(tokens("#[cfg(test)]\nmod golden;\nmod other;"));
    assert_eq!(of_tests, ["golden"]);
}
