//! Text to value: the language of Python's `json.loads`.

use thiserror::Error;

use super::{Integer, JsonObject, JsonValue, MAX_INTEGER_DIGITS, MAX_JSON_DEPTH};

/// Why a text is not JSON, and where (line and column count from 1, columns in characters).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not JSON at line {line}, column {column}: {problem}")]
pub struct JsonError {
    /// Line of the fault.
    pub line: usize,
    /// Column of the fault.
    pub column: usize,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What is wrong at a place of a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonProblem {
    /// Something else than what the grammar asks for.
    #[error("expected {expected}; hint: {hint}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// What is often the cause.
        hint: &'static str,
    },
    /// More than [`MAX_JSON_DEPTH`] levels.
    #[error("nested deeper than {MAX_JSON_DEPTH} levels; hint: flatten the document")]
    TooDeep,
    /// More than [`MAX_INTEGER_DIGITS`] digits.
    #[error("an integer of more than {MAX_INTEGER_DIGITS} digits; hint: send it as a string")]
    IntegerTooLong,
    /// `\ud800` without its other half.
    #[error(
        "half of a surrogate pair, which is no character; hint: write characters outside the basic \
         plane as two \\u escapes or as UTF-8"
    )]
    LoneSurrogate,
}

impl JsonValue {
    /// Reads one JSON document, with Python's extensions `NaN`, `Infinity` and `-Infinity`. Of a key
    /// that appears twice the last value counts, at the place of the first.
    pub fn parse(text: &str) -> Result<JsonValue, JsonError> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        parser
            .document()
            .map_err(|problem| locate(text, parser.at, problem))
    }
}

fn locate(text: &str, at: usize, problem: JsonProblem) -> JsonError {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    // Bytes that continue a character are not counted; `at` may lie inside of one.
    let is_character_start = |&&byte: &&u8| byte & 0xC0 != 0x80;
    let column = 1 + before[line_start..]
        .iter()
        .filter(is_character_start)
        .count();
    JsonError {
        line,
        column,
        problem,
    }
}

type Parsed<T> = Result<T, JsonProblem>;

const fn expected(expected: &'static str, hint: &'static str) -> JsonProblem {
    JsonProblem::Expected { expected, hint }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset of the next unread byte.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn document(&mut self) -> Parsed<JsonValue> {
        self.skip_space();
        let value = self.value()?;
        self.skip_space();
        if self.at < self.text.len() {
            return Err(expected("the end", "one document holds one value"));
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self) -> Parsed<JsonValue> {
        match self.peek() {
            Some(b'"') => self.string().map(JsonValue::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Parsed<JsonValue> {
        let words = [
            ("null", JsonValue::Null),
            ("true", JsonValue::Bool(true)),
            ("false", JsonValue::Bool(false)),
            ("NaN", JsonValue::Float(f64::NAN)),
            ("Infinity", JsonValue::Float(f64::INFINITY)),
        ];
        words
            .into_iter()
            .find_map(|(word, value)| self.take(word).then_some(value))
            .ok_or(expected(
                "a value",
                "keys and strings need double quotes; no comma may trail",
            ))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<JsonValue>) -> Parsed<JsonValue> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(JsonProblem::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Parsed<JsonValue> {
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(JsonValue::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.take("]") {
                return Ok(JsonValue::Array(items));
            }
            self.comma("`,` or `]`")?;
        }
    }

    fn object(&mut self) -> Parsed<JsonValue> {
        let mut object = JsonObject::new();
        if self.take("}") {
            return Ok(JsonValue::from(object));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(expected("a key in double quotes", "no comma may trail"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(":") {
                return Err(expected("`:`", "every key has a value"));
            }
            self.skip_space();
            let value = self.value()?;
            object.insert(key, value);
            self.skip_space();
            if self.take("}") {
                return Ok(JsonValue::from(object));
            }
            self.comma("`,` or `}`")?;
        }
    }

    fn comma(&mut self, what: &'static str) -> Parsed<()> {
        if !self.take(",") {
            return Err(expected(what, "the text may be cut short"));
        }
        self.skip_space();
        Ok(())
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(expected(
                "a digit",
                "numbers are written as in 12, -0.5 or 1e9",
            ));
        }
        Ok(())
    }

    fn number(&mut self) -> Parsed<JsonValue> {
        let start = self.at;
        let negative = self.take("-");
        if negative && self.take("Infinity") {
            return Ok(JsonValue::Float(f64::NEG_INFINITY));
        }
        if !self.take("0") {
            self.digits()?;
        }
        let integer_end = self.at;
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _sign = self.take("+") || self.take("-");
            self.digits()?;
        }
        let number = &self.text[start..self.at];
        if self.at > integer_end {
            // The grammar above is a part of what Rust reads, so this never fails.
            return number
                .parse()
                .map(JsonValue::Float)
                .map_err(|_| expected("a number", "numbers are written as in 12, -0.5 or 1e9"));
        }
        if number.len() - usize::from(negative) > MAX_INTEGER_DIGITS {
            return Err(JsonProblem::IntegerTooLong);
        }
        let digits = if number == "-0" { "0" } else { number };
        Ok(JsonValue::Integer(Integer(digits.to_owned())))
    }

    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest
                .iter()
                .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .ok_or(expected("`\"`", "the text may be cut short"))?;
            string.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(string);
                }
                b'\\' => string.push(self.escape()?),
                _ => {
                    return Err(expected(
                        "`\\n`",
                        "control characters in strings are escaped",
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let escapes = expected(
            "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u",
            "write \\ as \\\\",
        );
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.escaped_code_point();
            }
            _ => return Err(escapes),
        };
        self.at += 1;
        Ok(character)
    }

    /// After `\u`: four hexadecimal digits, and the other half if they are the first of a pair.
    fn escaped_code_point(&mut self) -> Parsed<char> {
        let first = self.hex4()?;
        let code_point = if (0xD800..0xDC00).contains(&first) {
            if !self.take("\\u") {
                return Err(JsonProblem::LoneSurrogate);
            }
            let second = self.hex4()?;
            if !(0xDC00..0xE000).contains(&second) {
                return Err(JsonProblem::LoneSurrogate);
            }
            0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        char::from_u32(code_point).ok_or(JsonProblem::LoneSurrogate)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let digits = self
            .text
            .as_bytes()
            .get(self.at..self.at + 4)
            .unwrap_or_default();
        let value = digits.iter().try_fold(0, |value, &byte| {
            char::from(byte)
                .to_digit(16)
                .map(|digit| value * 16 + digit)
        });
        match value {
            Some(value) if digits.len() == 4 => {
                self.at += 4;
                Ok(value)
            }
            _ => Err(expected("four hexadecimal digits", "as in \\u00e9")),
        }
    }
}
