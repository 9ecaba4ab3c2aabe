//! Columns as people write them: `name*, size:number[MB]=space on disk, state:enum(open|closed)`.

use super::{Column, ColumnType, ContractError};

/// Reads columns from one line, or from a JSON list of [`Column`]s.
///
/// A column is `name`, then `*` for a key, `:type` or `:enum(a|b)`, `[unit]`, `=meaning`. Commas
/// separate columns; within brackets they do not.
///
/// # Errors
/// [`ContractError::Syntax`] and [`ContractError::UnknownType`]; what the columns say is checked by
/// [`Contract::new`](super::Contract::new).
pub fn parse_columns(text: &str) -> Result<Vec<Column>, ContractError> {
    let text = text.trim();
    if text.starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|error| ContractError::Syntax(error.to_string()));
    }
    split(text).into_iter().map(parse_column).collect()
}

/// Splits at commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    let trimmed = parts.into_iter().map(str::trim);
    trimmed.filter(|part| !part.is_empty()).collect()
}

fn parse_column(text: &str) -> Result<Column, ContractError> {
    let (head, meaning) = match text.split_once('=') {
        Some((head, meaning)) => (head.trim(), meaning.trim()),
        None => (text, ""),
    };
    let (head, unit) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
        Some((head, unit)) => (head.trim(), Some(unit.trim().to_owned())),
        None => (head, None),
    };
    let (name, kind) = match head.split_once(':') {
        Some((name, kind)) => (name.trim(), kind.trim()),
        None => (head, ""),
    };
    let (name, starred) = match name.strip_suffix('*') {
        Some(name) => (name.trim(), true),
        None => (name, false),
    };
    let (kind, starred) = match kind.strip_suffix('*') {
        Some(kind) => (kind.trim(), true),
        None => (kind, starred),
    };
    let (kind, allowed) = parse_type(name, kind, unit.is_some())?;
    Ok(Column {
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        kind,
        unit,
        allowed,
        is_key: starred,
    })
}

fn parse_type(
    column: &str,
    kind: &str,
    has_unit: bool,
) -> Result<(ColumnType, Vec<String>), ContractError> {
    if kind.is_empty() {
        let kind = if has_unit {
            ColumnType::Number
        } else {
            ColumnType::Text
        };
        return Ok((kind, Vec::new()));
    }
    if let Some(values) = kind
        .strip_prefix("enum(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let values = values.split('|').map(|value| value.trim().to_owned());
        return Ok((ColumnType::Text, values.filter(|v| !v.is_empty()).collect()));
    }
    let known = ColumnType::from_name(kind).ok_or_else(|| ContractError::UnknownType {
        column: column.to_owned(),
        found: kind.to_owned(),
    })?;
    Ok((known, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_all_that_a_column_has() {
        let columns = parse_columns("name*, size:number[MB]=on disk, state:enum(a, b|c), x[ms]");
        let columns = columns.unwrap();
        assert!(columns[0].is_key);
        assert_eq!(columns[1].unit.as_deref(), Some("MB"));
        assert_eq!(columns[1].meaning, "on disk");
        assert_eq!(columns[2].allowed, ["a, b", "c"]);
        assert_eq!(columns[3].kind, ColumnType::Number);
    }

    #[test]
    fn json_and_its_errors() {
        let columns = parse_columns(r#"[{"name": "a", "type": "date", "key": true}]"#).unwrap();
        assert_eq!(columns[0].kind, ColumnType::Date);
        assert!(matches!(
            parse_columns("[1]"),
            Err(ContractError::Syntax(_))
        ));
        assert!(matches!(
            parse_columns("a:colour"),
            Err(ContractError::UnknownType { .. })
        ));
    }
}
