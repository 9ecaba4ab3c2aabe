//! Server-sent events out of bytes.

use std::collections::VecDeque;

/// Longest line that is read: a whole tool call in one chunk fits many times.
const MAX_LINE_BYTES: usize = 16 << 20;

/// A line longer than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// Takes bytes as they come, and gives the data of whole events.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    line: Vec<u8>,
    data: Option<String>,
    after_return: bool,
    ready: VecDeque<String>,
}

impl SseReader {
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        for &byte in bytes {
            // A line ends with \n, \r or both.
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if is_second_half => {}
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() == MAX_LINE_BYTES => return Err(LineTooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The data of the next event.
    pub fn next_event(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    /// Some servers leave the blank line after the last event out.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.ready.extend(self.data.take());
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.ready.extend(self.data.take());
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field != "data" {
            return;
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut reader = SseReader::default();
        for bytes in bytes.chunks(piece) {
            reader.feed(bytes).expect("short lines");
        }
        reader.finish();
        std::iter::from_fn(|| reader.next_event()).collect()
    }

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = "\u{feff}data: a\u{e9}\r\n\r\n: comment\nevent: x\ndata:b\ndata: c\n\nid: 1\n\ndata: last";
        for piece in 1..text.len() {
            assert_eq!(
                events(text.as_bytes(), piece),
                ["aé", "b\nc", "last"],
                "{piece}"
            );
        }
        assert_eq!(events(b"data: a\rdata: b\r\r", 1), ["a\nb"]);
    }

    #[test]
    fn lines_are_bounded() {
        let mut reader = SseReader::default();
        reader.feed(&vec![b'x'; MAX_LINE_BYTES]).expect("just fits");
        assert_eq!(reader.feed(b"x"), Err(LineTooLong));
    }
}
