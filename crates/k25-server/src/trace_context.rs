//! Where in a trace of others a request belongs: W3C Trace Context, `traceparent`.

use axum::http::HeaderMap;

/// The trace, and the span that this request is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TraceContext {
    pub trace: Option<[u8; 16]>,
    pub parent: Option<[u8; 8]>,
}

impl TraceContext {
    /// Reads `00-TRACE-PARENT-FLAGS`; anything else begins a trace of its own.
    pub fn of(headers: &HeaderMap) -> Self {
        let header = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        header.and_then(parse).unwrap_or_default()
    }
}

fn parse(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let version = hex::<1>(parts.next()?)?;
    let (trace, parent) = (hex::<16>(parts.next()?)?, hex::<8>(parts.next()?)?);
    let flags = hex::<1>(parts.next()?)?;
    let is_known = version != [0xff] && (version != [0] || parts.next().is_none());
    let is_real = trace != [0; 16] && parent != [0; 8] && flags.len() == 1;
    (is_known && is_real).then_some(TraceContext {
        trace: Some(trace),
        parent: Some(parent),
    })
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_the_specification_is_read() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = parse(parent).expect("a parent");
        assert_eq!(found.trace.expect("a trace")[..2], [0x0a, 0xf7]);
        assert_eq!(found.parent.expect("a span")[7], 0x31);
        for odd in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-é",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
