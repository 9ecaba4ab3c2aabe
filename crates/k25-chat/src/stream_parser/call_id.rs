//! The id that the model writes before a call's arguments: `functions.NAME:INDEX`.

/// The function's name in a call id: without the literal prefix `functions.`, and without the last
/// colon if only digits follow it. Whatever the model left out is simply not there; an id without a
/// name gives an empty one.
pub(super) fn function_name(id: &str) -> &str {
    let id = id.strip_prefix("functions.").unwrap_or(id);
    match split_index(id) {
        Some(name) => name.trim(),
        None => id,
    }
}

/// Whether an id ends in its `:digits`, so that its name is known to be complete.
pub(super) fn has_index(id: &str) -> bool {
    split_index(id).is_some()
}

fn split_index(id: &str) -> Option<&str> {
    let (name, digits) = id.rsplit_once(':')?;
    let digits = digits.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(name)
}

/// Id and arguments of a call whose model left out the marker between them: the arguments begin at
/// the first brace, which no function name contains.
pub(super) fn split_unmarked(header: &str) -> (&str, &str) {
    let arguments = header.find('{').unwrap_or(header.len());
    let (id, arguments) = header.split_at(arguments);
    (id.trim(), arguments.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (id, name) in [
            ("functions.get_weather:0", "get_weather"),
            ("functions.my-srv.do_it-now:12", "my-srv.do_it-now"),
            ("get_weather:3", "get_weather"),
            ("functions.get_weather", "get_weather"),
            ("functions.a:b:7", "a:b"),
            ("functions.a:b", "a:b"),
            ("functions.functions.f:0", "functions.f"),
            ("functions.:0", ""),
            (":0", ""),
            ("", ""),
            ("call_abc123", "call_abc123"),
            ("functions.f:", "f:"),
            ("functions.f:１", "f:１"),
        ] {
            assert_eq!(function_name(id), name, "{id}");
        }
    }

    #[test]
    fn unmarked_arguments_begin_at_the_brace() {
        assert_eq!(split_unmarked(" f:0 \n{\"a\": 1} "), ("f:0", "{\"a\": 1}"));
        assert_eq!(split_unmarked("f:0"), ("f:0", ""));
    }
}
