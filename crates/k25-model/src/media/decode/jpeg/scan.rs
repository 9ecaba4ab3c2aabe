//! Scans: passes over the image that decode coefficients, or some bits of them
//! (T.81, annexes F and G).

use super::coefficients::{Component, Frame};
use super::huffman::{BitReader, Table};
use super::segments::ZIGZAG;
use super::{Fault, Tables};

/// A scan header.
pub(super) struct Scan {
    components: Vec<ScanComponent>,
    /// First and last coefficient in zigzag order.
    first: usize,
    last: usize,
    /// Bits that lie below what earlier scans sent; 0 in a first scan.
    refines_below: u32,
    /// Bits that lie below what this scan sends.
    shift: u32,
}

struct ScanComponent {
    /// Place in the frame.
    index: usize,
    dc: usize,
    ac: usize,
}

/// What a scan sends of each block.
#[derive(Clone, Copy)]
enum Pass {
    /// Everything.
    Sequential,
    /// The upper bits of the first coefficient.
    DcFirst,
    /// One more bit of the first coefficient.
    DcRefine,
    /// The upper bits of other coefficients.
    AcFirst,
    /// One more bit of other coefficients.
    AcRefine,
}

/// What goes on from block to block.
struct Progress<'a> {
    bits: BitReader<'a>,
    /// First coefficient of the component's last block, per component of the scan.
    dc: [i32; 4],
    /// Blocks to come that have no further coefficient.
    empty_blocks: u32,
}

const NO_TABLE: Fault = "a Huffman table is missing";

impl Scan {
    /// Reads a scan header.
    pub(super) fn parse(body: &[u8], frame: &Frame) -> Result<Self, Fault> {
        let wrong_length = "a scan header has a wrong length";
        let [count, ref rest @ ..] = *body else {
            return Err(wrong_length);
        };
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(wrong_length);
        }
        let (selectors, progression) = rest.split_at(2 * count);
        let mut components: Vec<ScanComponent> = Vec::with_capacity(count);
        for selector in selectors.chunks_exact(2) {
            let index = frame
                .components
                .iter()
                .position(|component| component.id == selector[0]);
            let index = index.ok_or("a scan names an unknown component")?;
            if components.iter().any(|other| other.index == index) {
                return Err("a scan names a component twice");
            }
            let (dc, ac) = (usize::from(selector[1] >> 4), usize::from(selector[1] & 15));
            if dc > 3 || ac > 3 {
                return Err("a scan names a Huffman table beyond the fourth");
            }
            components.push(ScanComponent { index, dc, ac });
        }
        let scan = Self {
            components,
            first: usize::from(progression[0]),
            last: usize::from(progression[1]),
            refines_below: u32::from(progression[2] >> 4),
            shift: u32::from(progression[2] & 15),
        };
        if frame.progressive {
            scan.checked()
        } else {
            Ok(scan)
        }
    }

    /// The progressive parameters, where they make sense.
    fn checked(self) -> Result<Self, Fault> {
        let spectrum = if self.first == 0 {
            self.last == 0
        } else {
            self.first <= self.last && self.last < 64
        };
        let alone = self.first == 0 || self.components.len() == 1;
        let bits =
            self.shift <= 13 && (self.refines_below == 0 || self.refines_below == self.shift + 1);
        if spectrum && alone && bits {
            Ok(self)
        } else {
            Err("a scan has impossible parameters")
        }
    }

    fn pass(&self, frame: &Frame) -> Pass {
        match (frame.progressive, self.first == 0, self.refines_below == 0) {
            (false, ..) => Pass::Sequential,
            (true, true, true) => Pass::DcFirst,
            (true, true, false) => Pass::DcRefine,
            (true, false, true) => Pass::AcFirst,
            (true, false, false) => Pass::AcRefine,
        }
    }

    /// Decodes the scan's data into the frame and returns what follows it.
    pub(super) fn decode<'a>(
        &self,
        data: &'a [u8],
        frame: &mut Frame,
        tables: &Tables,
    ) -> Result<&'a [u8], Fault> {
        for scanned in &self.components {
            let component = &mut frame.components[scanned.index];
            if component.quantisation.is_none() {
                let table = tables.quantisation[component.quantisation_index];
                component.quantisation = Some(table.ok_or("a quantisation table is missing")?);
            }
        }
        let mut progress = Progress {
            bits: BitReader::new(data),
            dc: [0; 4],
            empty_blocks: 0,
        };
        let (across, down) = match self.components.as_slice() {
            [alone] => frame.components[alone.index].own_blocks(),
            _ => (frame.units_across, frame.units_down),
        };
        let pass = self.pass(frame);
        for unit in 0..across * down {
            let interval = tables.restart_interval;
            if interval > 0 && unit > 0 && unit.is_multiple_of(interval) {
                progress.restart(unit / interval - 1)?;
            }
            let (column, row) = (unit % across, unit / across);
            self.decode_unit(pass, (column, row), frame, tables, &mut progress)?;
            if column == 0 {
                progress.bits.check()?;
            }
        }
        progress.bits.check()?;
        Ok(progress.bits.after_data())
    }

    /// One minimal coded unit: one block where a component is alone, else its share of each.
    fn decode_unit(
        &self,
        pass: Pass,
        (column, row): (usize, usize),
        frame: &mut Frame,
        tables: &Tables,
        progress: &mut Progress<'_>,
    ) -> Result<(), Fault> {
        let alone = self.components.len() == 1;
        for (place, scanned) in self.components.iter().enumerate() {
            let component: &mut Component = &mut frame.components[scanned.index];
            let (across, down) = if alone {
                (1, 1)
            } else {
                (component.horizontal, component.vertical)
            };
            for y in row * down..(row + 1) * down {
                for x in column * across..(column + 1) * across {
                    let block = component.block_mut(x, y);
                    self.decode_block(pass, block, (place, scanned), tables, progress)?;
                }
            }
        }
        Ok(())
    }

    fn decode_block(
        &self,
        pass: Pass,
        block: &mut [i16],
        (place, scanned): (usize, &ScanComponent),
        tables: &Tables,
        progress: &mut Progress<'_>,
    ) -> Result<(), Fault> {
        let Progress {
            bits,
            dc,
            empty_blocks,
        } = progress;
        let dc_table = || tables.dc[scanned.dc].as_ref().ok_or(NO_TABLE);
        let ac_table = || tables.ac[scanned.ac].as_ref().ok_or(NO_TABLE);
        match pass {
            Pass::Sequential => sequential(block, bits, dc_table()?, ac_table()?, &mut dc[place])?,
            Pass::DcFirst => {
                let value = next_dc(bits, dc_table()?, &mut dc[place])?;
                block[0] = (value << self.shift) as i16;
            }
            Pass::DcRefine => block[0] |= i16::from(bits.flag()) << self.shift,
            Pass::AcFirst => self.ac_first(block, bits, ac_table()?, empty_blocks)?,
            Pass::AcRefine => self.ac_refine(block, bits, ac_table()?, empty_blocks)?,
        }
        Ok(())
    }

    fn ac_first(
        &self,
        block: &mut [i16],
        bits: &mut BitReader<'_>,
        table: &Table,
        empty: &mut u32,
    ) -> Result<(), Fault> {
        if *empty > 0 {
            *empty -= 1;
            return Ok(());
        }
        let mut place = self.first;
        while place <= self.last {
            let (run, size) = run_and_size(bits.symbol(table)?);
            match (run, size) {
                (15, 0) => place += 16,
                (_, 0) => {
                    *empty = empty_run(bits, run) - 1;
                    break;
                }
                _ => {
                    place += run;
                    let value = bits.signed(size) << self.shift;
                    *natural(block, place)? = value as i16;
                    place += 1;
                }
            }
        }
        Ok(())
    }

    fn ac_refine(
        &self,
        block: &mut [i16],
        bits: &mut BitReader<'_>,
        table: &Table,
        empty: &mut u32,
    ) -> Result<(), Fault> {
        let bit = 1i16 << self.shift;
        let mut place = self.first;
        if *empty == 0 {
            while place <= self.last {
                let (run, size) = run_and_size(bits.symbol(table)?);
                let new = match size {
                    0 if run < 15 => {
                        *empty = empty_run(bits, run);
                        break;
                    }
                    0 => 0,
                    1 if bits.flag() => bit,
                    1 => -bit,
                    _ => return Err("a refinement is larger than one bit"),
                };
                place = refine_zeros(block, bits, place..self.last + 1, run, bit)?;
                if new != 0 {
                    *natural(block, place)? = new;
                }
                place += 1;
            }
        }
        if *empty > 0 {
            refine_zeros(block, bits, place..self.last + 1, usize::MAX, bit)?;
            *empty -= 1;
        }
        Ok(())
    }
}

impl Progress<'_> {
    /// Passes a restart marker, behind which nothing is remembered.
    fn restart(&mut self, index: usize) -> Result<(), Fault> {
        self.bits.restart(index)?;
        (self.dc, self.empty_blocks) = ([0; 4], 0);
        Ok(())
    }
}

fn run_and_size(symbol: u8) -> (usize, u32) {
    (usize::from(symbol >> 4), u32::from(symbol & 15))
}

/// Length of a run of blocks without further coefficients, this block included.
fn empty_run(bits: &mut BitReader<'_>, log: usize) -> u32 {
    let log = log as u32;
    (1 << log) + if log == 0 { 0 } else { bits.take(log) }
}

/// The coefficient at a place of the zigzag.
fn natural(block: &mut [i16], place: usize) -> Result<&mut i16, Fault> {
    let position = ZIGZAG
        .get(place)
        .ok_or("a block has more than 64 coefficients")?;
    Ok(&mut block[usize::from(*position)])
}

fn next_dc(bits: &mut BitReader<'_>, table: &Table, last: &mut i32) -> Result<i32, Fault> {
    let size = bits.symbol(table)?;
    if size > 15 {
        return Err("a difference has more than 15 bits");
    }
    *last = last.wrapping_add(bits.signed(u32::from(size)));
    Ok(*last)
}

fn sequential(
    block: &mut [i16],
    bits: &mut BitReader<'_>,
    dc: &Table,
    ac: &Table,
    last_dc: &mut i32,
) -> Result<(), Fault> {
    block[0] = next_dc(bits, dc, last_dc)? as i16;
    let mut place = 1;
    while place < 64 {
        let (run, size) = run_and_size(bits.symbol(ac)?);
        match (run, size) {
            (15, 0) => place += 16,
            (_, 0) => break,
            _ => {
                place += run;
                *natural(block, place)? = bits.signed(size) as i16;
                place += 1;
            }
        }
    }
    Ok(())
}

/// Adds a bit to the coefficients that are not zero, and stops at the zero that follows `zeros`
/// others, or at the end.
fn refine_zeros(
    block: &mut [i16],
    bits: &mut BitReader<'_>,
    places: std::ops::Range<usize>,
    mut zeros: usize,
    bit: i16,
) -> Result<usize, Fault> {
    for place in places.clone() {
        let value = natural(block, place)?;
        if *value == 0 {
            if zeros == 0 {
                return Ok(place);
            }
            zeros -= 1;
        } else if bits.flag() && *value & bit == 0 {
            // It wraps only where a damaged file refines a value beyond any real one.
            *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
        }
    }
    Ok(places.end)
}
