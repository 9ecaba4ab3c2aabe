//! Huffman codes and the bits they are read from (T.81, annexes C and F).

use super::Fault;

/// Codes up to this length are found by one look into a table.
const SHORT_BITS: u32 = 9;

const CUT_SHORT: Fault = "its image data end early";

/// A Huffman code.
pub(super) struct Table {
    /// For every beginning of [`SHORT_BITS`] bits: length and symbol of the code that it begins
    /// with, or length 0.
    short: Vec<(u8, u8)>,
    /// Per length: one past the largest code, left-aligned in 16 bits; 0 where there is none.
    ends: [u32; 17],
    /// Per length: what is added to a code to give its symbol's place.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// The canonical code with `counts[i]` codes of length `i + 1`.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Fault> {
        let mut table = Self {
            short: vec![(0, 0); 1 << SHORT_BITS],
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, count) in (1..=16u32).zip(counts) {
            let count = usize::from(*count);
            if code + count as u32 > 1 << length {
                return Err("a Huffman table has too many codes");
            }
            table.offsets[length as usize] = place as i32 - code as i32;
            if length <= SHORT_BITS {
                for (index, symbol) in symbols[place..place + count].iter().enumerate() {
                    let first = (code as usize + index) << (SHORT_BITS - length);
                    table.short[first..first + (1 << (SHORT_BITS - length))]
                        .fill((length as u8, *symbol));
                }
            }
            code += count as u32;
            place += count;
            table.ends[length as usize] = if count == 0 { 0 } else { code << (16 - length) };
            code <<= 1;
        }
        Ok(table)
    }
}

/// Bits of entropy-coded data, up to the next marker.
pub(super) struct BitReader<'a> {
    rest: &'a [u8],
    /// The next bits, left-aligned.
    buffer: u64,
    /// How many of them there are.
    count: u32,
    /// How many of them were made up, after the data ended.
    invented: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            rest: data,
            buffer: 0,
            count: 0,
            invented: 0,
        }
    }

    /// Fills the buffer to more than 48 bits.
    fn refill(&mut self) {
        while self.count <= 56 {
            let byte = match *self.rest {
                [0xFF, 0x00, ref rest @ ..] => {
                    self.rest = rest;
                    0xFF
                }
                [0xFF, ..] | [] => {
                    self.invented += 8;
                    0
                }
                [byte, ref rest @ ..] => {
                    self.rest = rest;
                    byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next `bits` bits, 1 to 16.
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        if self.count < 16 {
            self.refill();
        }
        let value = (self.buffer >> (64 - bits)) as u32;
        self.skip(bits);
        value
    }

    /// The next bit.
    pub(super) fn flag(&mut self) -> bool {
        self.take(1) == 1
    }

    fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// A signed value of `bits` bits, 0 to 15: the smaller half of the codes are negative.
    pub(super) fn signed(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        let value = self.take(bits) as i32;
        if value < 1 << (bits - 1) {
            value - (1 << bits) + 1
        } else {
            value
        }
    }

    /// The next symbol.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
        if self.count < 16 {
            self.refill();
        }
        let (length, symbol) = table.short[(self.buffer >> (64 - SHORT_BITS)) as usize];
        if length > 0 {
            self.skip(u32::from(length));
            return Ok(symbol);
        }
        let next = (self.buffer >> 48) as u32;
        for length in SHORT_BITS + 1..=16 {
            if next < table.ends[length as usize] {
                let place = (next >> (16 - length)) as i32 + table.offsets[length as usize];
                self.skip(length);
                return table
                    .symbols
                    .get(place as usize)
                    .copied()
                    .ok_or("a Huffman code is unknown");
            }
        }
        Err("a Huffman code is unknown")
    }

    /// Fails where made-up bits have been used.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.invented > self.count {
            Err(CUT_SHORT)
        } else {
            Ok(())
        }
    }

    /// Drops the bits up to the next byte and passes restart marker number `index`.
    pub(super) fn restart(&mut self, index: usize) -> Result<(), Fault> {
        self.check()?;
        let rest = self.after_data();
        let fill = rest.iter().take_while(|byte| **byte == 0xFF).count();
        let marker = 0xD0 + (index % 8) as u8;
        if fill == 0 || rest.get(fill) != Some(&marker) {
            return Err("a restart marker is missing");
        }
        *self = Self::new(&rest[fill + 1..]);
        Ok(())
    }

    /// What follows the data: a marker, or nothing.
    pub(super) fn after_data(&self) -> &'a [u8] {
        self.rest
    }
}
