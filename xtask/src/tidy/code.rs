//! Rust source without its comments and literals, so that a rule about code does not fire on prose.

/// `text` with every comment, string and character literal replaced by spaces. Offsets and lines stay as they are.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = blank_length(rest);
        let length = blank.unwrap_or_else(|| word_length(rest).max(first.len_utf8()));
        let (piece, after) = rest.split_at(length);
        if blank.is_some() {
            code.extend(
                piece
                    .bytes()
                    .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
            );
        } else {
            code.push_str(piece);
        }
        rest = after;
    }
    code
}

/// Words are taken whole, so that the `r` at the end of one does not begin a raw string.
fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len())
}

/// The length of the comment or literal at the start of `rest`, if one is there.
fn blank_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest, '"'));
    }
    if let Some(length) = raw_string_length(rest) {
        return Some(length);
    }
    // 'a' and '\n' are literals, 'a is a lifetime.
    let mut chars = rest.strip_prefix('\'')?.chars();
    let is_literal = chars.next()? == '\\' || chars.next() == Some('\'');
    is_literal.then(|| quoted_length(rest, '\''))
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, quote)| at + quote.len_utf8())
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let start = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let body = start.trim_start_matches('#');
    let hashes = &start[..start.len() - body.len()];
    let body = body.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}
