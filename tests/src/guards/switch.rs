//! Many guards in one build: each function with guards asks at run time which of them is out.
//!
//! A build for each guard would take hours. So the body of such a function becomes a `match` over
//! [`VARIABLE`], with a copy of the body without the guard for each, and the body as it is for
//! everything else. A guard outside of functions, or in one that cannot be doubled, has a build of
//! its own.

use std::ops::Range;

use super::list::Guard;

/// Names the guard that is out, by its number; without it all are in.
pub const VARIABLE: &str = "BUKTI_GUARD_OUT";

/// What the root of each package gets.
pub const ASKED: &str = r#"
#[allow(missing_docs, clippy::all)]
pub fn guard_that_is_out() -> u32 {
    static OUT: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *OUT.get_or_init(|| {
        let named = std::env::var("BUKTI_GUARD_OUT").ok();
        named.and_then(|number| number.parse().ok()).unwrap_or(0)
    })
}
"#;

/// A file in which guards can be switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// The file.
    pub text: String,
    /// Which lines, from 1, stand for which guards.
    pub lines: Vec<(Range<usize>, Vec<u32>)>,
    /// Guards that cannot be switched here.
    pub unplaced: Vec<u32>,
}

impl Switched {
    /// The guards to blame for an error in this line.
    pub fn blamed(&self, line: usize) -> &[u32] {
        let of_line = self.lines.iter().filter(|(lines, _)| lines.contains(&line));
        // Copies stand inside their function.
        let narrowest = of_line.min_by_key(|(lines, _)| lines.len());
        narrowest.map_or(&[], |(_, guards)| guards)
    }
}

/// Doubles the functions of `text` that hold the guards, which go by their numbers.
pub fn switched(text: &str, guards: &[(u32, &Guard)]) -> Switched {
    let bodies = bodies(text);
    let mut unplaced = Vec::new();
    let mut of_body: Vec<Vec<(u32, String)>> = vec![Vec::new(); bodies.len()];
    for (number, guard) in guards {
        let place = text.find(&guard.find).map(|at| at..at + guard.find.len());
        let holding = place.clone().and_then(|place| {
            let around = |body: &Range<usize>| body.start <= place.start && place.end <= body.end;
            bodies.iter().position(around)
        });
        match (place, holding) {
            (Some(place), Some(index)) => {
                let body = &bodies[index];
                let without = [
                    &text[body.start..place.start],
                    &guard.replace,
                    &text[place.end..body.end],
                ];
                of_body[index].push((*number, without.concat()));
            }
            (_, _) => unplaced.push(*number),
        }
    }
    let mut out = String::new();
    let mut lines = Vec::new();
    let mut copied = 0;
    let line_now = |out: &str| out.bytes().filter(|&byte| byte == b'\n').count() + 1;
    for (body, copies) in bodies.iter().zip(&of_body) {
        if copies.is_empty() {
            continue;
        }
        out.push_str(&text[copied..body.start]);
        copied = body.end;
        let first = line_now(&out);
        out.push_str("\nmatch crate::guard_that_is_out() {\n");
        for (number, without) in copies {
            let begin = line_now(&out);
            out.push_str(&format!("{number} => {{{without}}}\n"));
            lines.push((begin..line_now(&out), vec![*number]));
        }
        out.push_str(&format!("_ => {{{}}}\n}}\n", &text[body.clone()]));
        let all = copies.iter().map(|(number, _)| *number).collect();
        lines.push((first..line_now(&out), all));
    }
    out.push_str(&text[copied..]);
    Switched {
        text: out,
        lines,
        unplaced,
    }
}

/// What stands between the braces of each outermost function that is not `const`, in order.
fn bodies(text: &str) -> Vec<Range<usize>> {
    let code = code_of(text);
    let mut bodies: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|at| from + at) {
        from = at + 3;
        let begins_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let named = code[from..].starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !begins_word || !named {
            continue;
        }
        let Some(open) = end_of_signature(&code[from..]).map(|open| from + open) else {
            break;
        };
        let is_const = code[..at].trim_end().ends_with("const");
        if code[open..].starts_with(';') || is_const {
            continue;
        }
        let Some(length) = length_to_close(&code[open..]) else {
            break;
        };
        bodies.push(open + 1..open + length);
        from = open + length;
    }
    bodies
}

/// Where the `{` or `;` behind a function's signature stands; arrays have semicolons, too.
fn end_of_signature(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    code.bytes().position(|byte| {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(byte, b'{' | b';')
    })
}

/// How far behind an opening brace its closing one stands.
fn length_to_close(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The text with every byte of comments, strings and characters blank, so that braces are braces.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|&byte| byte == b'\n')
        } else if rest.starts_with(b"/*") {
            text[at..].find("*/").map(|end| end + 2)
        } else if let Some(hashes) = raw_string(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = 2 + hashes;
            text[at + open..]
                .find(&close)
                .map(|end| open + end + close.len())
        } else if rest[0] == b'"' || (rest[0] == b'\'' && is_character(rest)) {
            quoted_length(rest)
        } else {
            at += 1;
            continue;
        };
        let end = length.map_or(bytes.len(), |length| at + length);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code.iter().map(|byte| byte & 0x7f).collect()).unwrap_or_default()
}

/// The hashes of a raw string that begins here.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes[at..].strip_prefix(b"r")?;
    let inside_a_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    let is_byte_string = at > 0 && bytes[at - 1] == b'b';
    (rest.get(hashes) == Some(&b'"') && (!inside_a_word || is_byte_string)).then_some(hashes)
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(&byte) if byte < 0x80 => rest.get(2) == Some(&b'\''),
        Some(_) => rest.iter().skip(2).take(4).any(|&byte| byte == b'\''),
        None => false,
    }
}

/// Bytes of a string or character with its quotes.
fn quoted_length(rest: &[u8]) -> Option<usize> {
    let quote = rest[0];
    let mut escaped = false;
    rest.iter()
        .skip(1)
        .position(|&byte| {
            let ends = byte == quote && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::super::list::Ending;
    use super::*;

    fn guard(find: &str, replace: &str) -> Guard {
        Guard {
            holds: "something".into(),
            file: "a.rs".into(),
            find: find.into(),
            replace: replace.into(),
            package: "bukti-core".into(),
            tests: "tests".into(),
            binary: None,
            ends: Ending::Fails,
        }
    }

    #[test]
    fn a_function_is_doubled_for_each_of_its_guards() {
        let text = "fn other() {}\nfn bounded(n: u32) -> bool {\n    n > 0 && n < 10\n}\n";
        let (zero, ten) = (guard("n > 0 && ", ""), guard(" && n < 10", ""));
        let switched = switched(text, &[(1, &zero), (2, &ten)]);
        let expected = "fn other() {}\nfn bounded(n: u32) -> bool {\n\
                        match crate::guard_that_is_out() {\n\
                        1 => {\n    n < 10\n}\n2 => {\n    n > 0\n}\n\
                        _ => {\n    n > 0 && n < 10\n}\n}\n}\n";
        assert_eq!(switched.text, expected);
        assert_eq!(switched.unplaced, [0_u32; 0]);
        assert_eq!(switched.blamed(5), [1]);
        assert_eq!(switched.blamed(8), [2]);
        assert_eq!(switched.blamed(11), [1, 2]);
        assert_eq!(switched.blamed(1), [0_u32; 0]);
    }

    #[test]
    fn guards_outside_of_functions_and_in_constant_ones_are_left() {
        let text = "const MAX: u32 = 5;\nconst fn most() -> u32 { MAX }\n";
        let (max, most) = (guard("= 5", "= 6"), guard("{ MAX }", "{ 7 }"));
        let left = switched(text, &[(1, &max), (2, &most)]);
        assert_eq!((left.text.as_str(), left.unplaced), (text, vec![1, 2]));
    }

    #[test]
    fn braces_in_strings_characters_and_comments_are_none() {
        let body = r####"
    // } a comment
    let text = "} \" }";
    let raw = r#"} " }"#;
    let (one, other) = ('}', '\'');
    /* } */
    fn inner<'a>(part: &'a str) -> &'a str { part }
    let _ = (text, raw, one, other, b"}", 'ä', inner(text));
"####;
        let text = format!(
            "impl A {{\n    fn f(&self) {{{body}}}\n\n    fn g(of: [u8; 2]) -> [u8; 2];\n}}\nfn h(of: [u8; 2]) {{}}\n"
        );
        let found: Vec<&str> = bodies(&text).into_iter().map(|body| &text[body]).collect();
        assert_eq!(found, [body, ""]);
    }
}
