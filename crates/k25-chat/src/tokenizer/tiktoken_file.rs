//! `tiktoken.model`: one line `base64(token) rank` for every base token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::error::{TokenizerError, shortened};
use super::vocabulary::{MAX_BASE_TOKENS, MAX_TOKEN_BYTES, Vocabulary, VocabularyFault};

const DOWNLOAD_AGAIN: &str = "every line is `base64(token) rank`; the file is damaged or not a tiktoken \
     vocabulary (a Git LFS pointer, for example): download it again";

/// One line of the file.
struct Entry {
    rank: u32,
    line: usize,
    token: Vec<u8>,
}

/// Reads a vocabulary. Lines may stand in any order and end in LF or CRLF; empty lines are allowed.
/// The ranks must be exactly `0..n`, each once, and no token may stand twice: the special tokens are
/// counted from `n`, so a gap would shift every one of them.
pub(super) fn parse_tiktoken(data: &[u8], origin: &str) -> Result<Vocabulary, TokenizerError> {
    let mut entries = Vec::new();
    for (at, line) in data.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let entry = parse_line(line, at + 1).map_err(|reason| TokenizerError::Line {
            origin: origin.to_owned(),
            line: at + 1,
            reason,
            hint: DOWNLOAD_AGAIN,
        })?;
        entries.push(entry);
        if entries.len() > MAX_BASE_TOKENS {
            return Err(ranks_error(origin, too_many()));
        }
    }
    let ordered = in_rank_order(entries, origin)?;
    let tokens: Vec<&[u8]> = ordered.iter().map(|entry| entry.token.as_slice()).collect();
    Vocabulary::from_tokens(&tokens).map_err(|fault| match fault {
        VocabularyFault::Duplicate { rank, first_rank } => {
            let [line, first] = [rank, first_rank].map(|rank| ordered[rank as usize].line);
            duplicate_line(
                origin,
                line.max(first),
                format!(
                    "this token already stands on line {}, with another rank",
                    line.min(first)
                ),
            )
        }
        fault => ranks_error(origin, describe(&fault)),
    })
}

fn parse_line(line: &[u8], number: usize) -> Result<Entry, String> {
    let mut fields = line
        .split(|byte| b" \t".contains(byte))
        .filter(|field| !field.is_empty());
    let (Some(token), Some(rank), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!("expected `base64 rank`, found {}", quoted(line)));
    };
    if token.len() > MAX_TOKEN_BYTES.div_ceil(3) * 4 {
        return Err(format!("the token is longer than {MAX_TOKEN_BYTES} bytes"));
    }
    let token = BASE64
        .decode(token)
        .map_err(|error| format!("{} is not base64: {error}", quoted(token)))?;
    let rank = std::str::from_utf8(rank)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("the rank {} is not a number of 32 bits", quoted(rank)))?;
    Ok(Entry {
        rank,
        line: number,
        token,
    })
}

/// Sorts the entries by rank and makes sure that the ranks are `0..n`.
fn in_rank_order(mut entries: Vec<Entry>, origin: &str) -> Result<Vec<Entry>, TokenizerError> {
    entries.sort_by_key(|entry| (entry.rank, entry.line));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].rank == pair[1].rank) {
        let (first, second) = (&pair[0], &pair[1]);
        let reason = format!("rank {} already stands on line {}", second.rank, first.line);
        return Err(duplicate_line(origin, second.line, reason));
    }
    let gap = entries
        .iter()
        .enumerate()
        .find(|(at, entry)| entry.rank as usize != *at);
    match gap {
        None => Ok(entries),
        Some((missing, next)) => Err(ranks_error(
            origin,
            format!(
                "rank {missing} is missing: {} tokens must have the ranks 0 to {}, but line {} has rank {}",
                entries.len(),
                entries.len() - 1,
                next.line,
                next.rank
            ),
        )),
    }
}

fn duplicate_line(origin: &str, line: usize, reason: String) -> TokenizerError {
    TokenizerError::Line {
        origin: origin.to_owned(),
        line,
        reason,
        hint: "every token and every rank stands once; download the file again",
    }
}

/// An error about the ranks as a whole.
pub(super) fn ranks_error(origin: &str, reason: String) -> TokenizerError {
    TokenizerError::Ranks {
        origin: origin.to_owned(),
        reason,
        hint: "the file is truncated or damaged: download it again",
    }
}

/// A fault in words, for a vocabulary that has no lines to point to.
pub(super) fn describe(fault: &VocabularyFault) -> String {
    match fault {
        VocabularyFault::TooMany => too_many(),
        VocabularyFault::BadLength { rank, bytes } => {
            format!(
                "the token of rank {rank} has {bytes} bytes; 1 to {MAX_TOKEN_BYTES} are possible"
            )
        }
        VocabularyFault::Duplicate { rank, first_rank } => {
            format!("the tokens of rank {first_rank} and {rank} are the same")
        }
        VocabularyFault::MissingByte { byte } => format!(
            "the single byte 0x{byte:02x} is no token, so text with it could not be encoded"
        ),
    }
}

fn too_many() -> String {
    format!("there are more than {MAX_BASE_TOKENS} tokens")
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", shortened(&String::from_utf8_lossy(bytes)))
}

/// The text of a `tiktoken.model` with these tokens, in the order of their ranks.
pub fn write_tiktoken<T: AsRef<[u8]>>(tokens: &[T]) -> String {
    let mut text = String::new();
    for (rank, token) in tokens.iter().enumerate() {
        BASE64.encode_string(token, &mut text);
        text.push_str(&format!(" {rank}\n"));
    }
    text
}
