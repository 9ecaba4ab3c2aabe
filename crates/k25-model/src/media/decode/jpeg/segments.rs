//! Marker segments (T.81, annex B).

use super::huffman::Table;
use super::{Fault, Tables};

/// Natural position of the coefficient that comes at each place of the zigzag.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

const CUT_SHORT: Fault = "it is cut short";
const BAD_LENGTH: Fault = "a segment has a wrong length";

/// The segments of a file, one after the other.
pub(super) struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    /// The segments that follow the start marker, which the file has.
    pub(super) fn after_start(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes.get(2..).unwrap_or_default(),
        }
    }

    /// The next marker and what its segment holds; stray bytes before it are passed over.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        loop {
            let start = self
                .rest
                .iter()
                .position(|byte| *byte == 0xFF)
                .ok_or(CUT_SHORT)?;
            self.rest = &self.rest[start..];
            let fill = self.rest.iter().take_while(|byte| **byte == 0xFF).count();
            let marker = *self.rest.get(fill).ok_or(CUT_SHORT)?;
            self.rest = &self.rest[fill + 1..];
            match marker {
                0xD9 => return Ok((marker, &[])),
                // Stuffing, restarts and starts have no content and mean nothing here.
                0x00 | 0x01 | 0xD0..=0xD8 => {}
                _ => return Ok((marker, self.body()?)),
            }
        }
    }

    fn body(&mut self) -> Result<&'a [u8], Fault> {
        let [high, low, ..] = *self.rest else {
            return Err(CUT_SHORT);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(BAD_LENGTH);
        }
        let body = self.rest.get(2..length).ok_or(CUT_SHORT)?;
        self.rest = &self.rest[length..];
        Ok(body)
    }

    /// What follows the last segment: entropy-coded data after a scan header.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on behind entropy-coded data.
    pub(super) fn continue_at(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }
}

/// A frame header.
pub(super) struct FrameHeader {
    pub(super) precision: u8,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) components: Vec<ComponentHeader>,
}

/// What a frame header says about one component.
pub(super) struct ComponentHeader {
    pub(super) id: u8,
    /// Samples across in a minimal coded unit, in blocks: 1 to 4.
    pub(super) horizontal: usize,
    /// Samples down in a minimal coded unit, in blocks: 1 to 4.
    pub(super) vertical: usize,
    pub(super) quantisation: usize,
}

impl FrameHeader {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let [precision, h1, h0, w1, w0, count, ref rest @ ..] = *body else {
            return Err(BAD_LENGTH);
        };
        if rest.len() != 3 * usize::from(count) {
            return Err(BAD_LENGTH);
        }
        let component = |bytes: &[u8]| {
            let (horizontal, vertical) = (usize::from(bytes[1] >> 4), usize::from(bytes[1] & 15));
            if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
                return Err("a sampling factor is not between 1 and 4");
            }
            if bytes[2] > 3 {
                return Err("a component names a quantisation table beyond the fourth");
            }
            Ok(ComponentHeader {
                id: bytes[0],
                horizontal,
                vertical,
                quantisation: usize::from(bytes[2]),
            })
        };
        let components: Vec<_> = rest
            .chunks_exact(3)
            .map(component)
            .collect::<Result<_, _>>()?;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        Ok(Self {
            precision,
            width,
            height,
            components,
        })
    }
}

/// Reads the tables of a DQT segment.
pub(super) fn read_quantisation(mut body: &[u8], tables: &mut Tables) -> Result<(), Fault> {
    while let [kind, ref rest @ ..] = *body {
        let bytes_each = match kind >> 4 {
            0 => 1,
            1 => 2,
            _ => return Err("a quantisation table has an unknown precision"),
        };
        let slot = tables
            .quantisation
            .get_mut(usize::from(kind & 15))
            .ok_or("a quantisation table beyond the fourth")?;
        let values = rest.get(..64 * bytes_each).ok_or(BAD_LENGTH)?;
        let mut table = [0; 64];
        for (place, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes_each)) {
            table[usize::from(*place)] = value
                .iter()
                .fold(0, |sum, byte| sum << 8 | u16::from(*byte));
        }
        *slot = Some(table);
        body = &rest[64 * bytes_each..];
    }
    Ok(())
}

/// Reads the tables of a DHT segment.
pub(super) fn read_huffman_tables(mut body: &[u8], tables: &mut Tables) -> Result<(), Fault> {
    while let [kind, ref rest @ ..] = *body {
        let class = match kind >> 4 {
            0 => &mut tables.dc,
            1 => &mut tables.ac,
            _ => return Err("a Huffman table is for neither DC nor AC"),
        };
        let slot = class
            .get_mut(usize::from(kind & 15))
            .ok_or("a Huffman table beyond the fourth")?;
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or(BAD_LENGTH)?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let symbols = rest.get(..total).ok_or(BAD_LENGTH)?;
        *slot = Some(Table::new(counts, symbols)?);
        body = &rest[total..];
    }
    Ok(())
}

/// Reads a DRI segment.
pub(super) fn read_restart_interval(body: &[u8], tables: &mut Tables) -> Result<(), Fault> {
    let bytes = body.try_into().map_err(|_| BAD_LENGTH)?;
    tables.restart_interval = usize::from(u16::from_be_bytes(bytes));
    Ok(())
}

/// Reads an APP14 segment; another program's is passed over.
pub(super) fn read_adobe(body: &[u8], tables: &mut Tables) {
    if body.starts_with(b"Adobe") && body.len() >= 12 {
        tables.adobe_transform = Some(body[11]);
    }
}
