//! Windows bitmaps: palettes of 1, 4 and 8 bits, runs, and 16, 24 and 32 bits.

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// What is wrong with a file, in words.
type Fault = &'static str;

/// Bytes before the information header.
const FILE_HEADER: usize = 14;

const CUT_SHORT: Fault = "it is cut short";

/// How pixels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    /// Indices of 1, 4 or 8 bits into the palette.
    Indices(usize),
    /// Runs of indices of 8 or 4 bits.
    Runs { four_bits: bool },
    /// Sixteen bits: five each, or six for green.
    Sixteen { green_bits: u32 },
    /// Bytes per pixel, and where in it red, green and blue are.
    Bytes(usize, [usize; 3]),
}

struct Header {
    width: usize,
    height: usize,
    top_down: bool,
    storage: Storage,
    palette: Vec<[u8; 3]>,
    /// Where pixels begin in the file.
    offset: usize,
}

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, MediaError> {
    let broken = |fault: Fault| ImageFormat::Bmp.broken(fault);
    let info = Info::parse(bytes).map_err(broken)?;
    // Indices of runs, and the result.
    check_size(
        ImageFormat::Bmp,
        (info.width.into(), info.height.unsigned_abs()),
        4,
        limits,
    )?;
    let header = info.header(bytes)?;
    let data = bytes
        .get(header.offset..)
        .ok_or_else(|| broken(CUT_SHORT))?;
    let pixels = match header.storage {
        Storage::Runs { four_bits } => runs(data, &header, four_bits),
        _ => stored_rows(data, &header),
    };
    Ok(RgbImage::new(
        header.width,
        header.height,
        pixels.map_err(broken)?,
    ))
}

/// The numbers of an information header.
struct Info {
    header_bytes: usize,
    width: u32,
    /// Negative where rows are stored from the top.
    height: i64,
    bits: u16,
    compression: u32,
    colours: u32,
    masks: [u32; 3],
}

impl Info {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let u16_at = |at: usize| -> Result<u16, Fault> {
            let bytes = bytes
                .get(at..at + 2)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map(u16::from_le_bytes).ok_or(CUT_SHORT)
        };
        let u32_at = |at: usize| -> Result<u32, Fault> {
            let bytes = bytes
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(CUT_SHORT)
        };
        let header_bytes = u32_at(FILE_HEADER)?;
        match header_bytes {
            12 => Ok(Self {
                header_bytes: 12,
                width: u16_at(18)?.into(),
                height: u16_at(20)?.into(),
                bits: u16_at(24)?,
                compression: 0,
                colours: 0,
                masks: [0; 3],
            }),
            40 | 52 | 56 | 64 | 108 | 124 => {
                let compression = u32_at(30)?;
                let masks = if compression == 3 {
                    [u32_at(54)?, u32_at(58)?, u32_at(62)?]
                } else {
                    [0; 3]
                };
                Ok(Self {
                    header_bytes: header_bytes as usize,
                    width: u32_at(18)?,
                    height: u32_at(22)?.cast_signed().into(),
                    bits: u16_at(28)?,
                    compression,
                    colours: u32_at(46)?,
                    masks,
                })
            }
            _ => Err("its information header has an unknown length"),
        }
    }

    fn header(&self, bytes: &[u8]) -> Result<Header, MediaError> {
        let storage = self.storage()?;
        let palette = match storage {
            Storage::Indices(_) | Storage::Runs { .. } => self
                .palette(bytes)
                .map_err(|fault| ImageFormat::Bmp.broken(fault))?,
            Storage::Sixteen { .. } | Storage::Bytes(..) => Vec::new(),
        };
        let offset = bytes
            .get(10..14)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let palette_start = FILE_HEADER + self.header_bytes;
        // Some writers forget the palette when they say where the pixels are.
        let forgotten = if offset as usize == palette_start {
            self.palette_bytes()
        } else {
            0
        };
        Ok(Header {
            width: self.width as usize,
            height: self.height.unsigned_abs() as usize,
            top_down: self.height < 0,
            storage,
            palette,
            offset: offset as usize + forgotten,
        })
    }

    fn storage(&self) -> Result<Storage, MediaError> {
        const BGR: [usize; 3] = [2, 1, 0];
        Ok(match (self.bits, self.compression) {
            (1 | 4 | 8, 0) => Storage::Indices(self.bits.into()),
            (8, 1) => Storage::Runs { four_bits: false },
            (4, 2) => Storage::Runs { four_bits: true },
            (16, 0) => Storage::Sixteen { green_bits: 5 },
            (24, 0) => Storage::Bytes(3, BGR),
            (32, 0) => Storage::Bytes(4, BGR),
            (16 | 24 | 32, 3) => return self.masked(),
            (bits, compression) => {
                let feature = format!("{bits} bits per pixel with compression {compression}");
                return Err(MediaError::Unsupported {
                    format: ImageFormat::Bmp,
                    feature,
                });
            }
        })
    }

    fn masked(&self) -> Result<Storage, MediaError> {
        // Which byte of a little-endian word a mask covers.
        let byte = |mask: u32| (0..4).find(|byte| mask == 0xFF << (8 * byte));
        match (self.bits, self.masks) {
            (16, [0xF800, 0x07E0, 0x001F]) => Ok(Storage::Sixteen { green_bits: 6 }),
            (16, [0x7C00, 0x03E0, 0x001F]) => Ok(Storage::Sixteen { green_bits: 5 }),
            (24 | 32, masks) => {
                let places = masks.map(byte);
                if let ([Some(red), Some(green), Some(blue)], bytes) =
                    (places, usize::from(self.bits / 8))
                    && red.max(green).max(blue) < bytes
                {
                    return Ok(Storage::Bytes(bytes, [red, green, blue]));
                }
                Err(self.unsupported_masks())
            }
            _ => Err(self.unsupported_masks()),
        }
    }

    fn unsupported_masks(&self) -> MediaError {
        let [red, green, blue] = self.masks;
        let feature = format!(
            "a layout of {} bits with masks {red:#x}, {green:#x}, {blue:#x}",
            self.bits
        );
        MediaError::Unsupported {
            format: ImageFormat::Bmp,
            feature,
        }
    }

    fn palette_entry_bytes(&self) -> usize {
        if self.header_bytes == 12 { 3 } else { 4 }
    }

    fn palette_bytes(&self) -> usize {
        let largest = match self.bits {
            bits @ 0..=8 => 1 << bits,
            _ => 0,
        };
        let colours = if self.colours == 0 {
            largest
        } else {
            self.colours.min(largest)
        };
        colours as usize * self.palette_entry_bytes()
    }

    /// The stored palette; indices past its end are black.
    fn palette(&self, bytes: &[u8]) -> Result<Vec<[u8; 3]>, Fault> {
        let start = FILE_HEADER + self.header_bytes;
        let stored = bytes
            .get(start..start + self.palette_bytes())
            .ok_or(CUT_SHORT)?;
        let mut palette: Vec<_> = stored
            .chunks_exact(self.palette_entry_bytes())
            .map(|entry| [entry[2], entry[1], entry[0]])
            .collect();
        palette.resize(256, [0; 3]);
        Ok(palette)
    }
}

/// The rows of the picture from the top, wherever they begin in the file.
fn in_picture_order<T>(
    rows: impl DoubleEndedIterator<Item = T>,
    header: &Header,
    visit: impl FnMut(T),
) {
    if header.top_down {
        rows.for_each(visit);
    } else {
        rows.rev().for_each(visit);
    }
}

fn stored_rows(data: &[u8], header: &Header) -> Result<Vec<u8>, Fault> {
    let bits_per_pixel = match header.storage {
        Storage::Indices(bits) => bits,
        Storage::Sixteen { .. } => 16,
        Storage::Bytes(bytes, _) => 8 * bytes,
        Storage::Runs { .. } => 8,
    };
    // Rows begin at multiples of four bytes; the last may lack its filling.
    let row_bytes = (header.width * bits_per_pixel).div_ceil(8);
    let stride = row_bytes.next_multiple_of(4);
    if data.len() < stride * (header.height - 1) + row_bytes {
        return Err(CUT_SHORT);
    }
    let mut pixels = Vec::with_capacity(header.width * header.height * 3);
    let rows = (0..header.height).map(|row| &data[row * stride..row * stride + row_bytes]);
    in_picture_order(rows, header, |row| append_row(row, header, &mut pixels));
    Ok(pixels)
}

fn append_row(row: &[u8], header: &Header, pixels: &mut Vec<u8>) {
    match header.storage {
        Storage::Indices(bits) => {
            let indices = row.iter().flat_map(|byte| {
                (0..8 / bits)
                    .rev()
                    .map(move |place| (usize::from(*byte) >> (place * bits)) & ((1 << bits) - 1))
            });
            pixels.extend(
                indices
                    .take(header.width)
                    .flat_map(|index| header.palette[index]),
            );
        }
        Storage::Runs { .. } => pixels.extend(
            row.iter()
                .flat_map(|index| header.palette[usize::from(*index)]),
        ),
        Storage::Sixteen { green_bits } => {
            let widened = |value: u16, bits: u32| {
                (u32::from(value) & ((1 << bits) - 1)) * 255 / ((1 << bits) - 1)
            };
            pixels.extend(row.chunks_exact(2).flat_map(|word| {
                let word = u16::from_le_bytes([word[0], word[1]]);
                let red = widened(word >> (5 + green_bits), 5);
                [red, widened(word >> 5, green_bits), widened(word, 5)].map(|value| value as u8)
            }));
        }
        Storage::Bytes(bytes, [red, green, blue]) => {
            pixels.extend(
                row.chunks_exact(bytes)
                    .flat_map(|pixel| [pixel[red], pixel[green], pixel[blue]]),
            );
        }
    }
}

/// Decodes runs; every pixel must be given.
fn runs(data: &[u8], header: &Header, four_bits: bool) -> Result<Vec<u8>, Fault> {
    let (width, total) = (header.width, header.width * header.height);
    let mut indices: Vec<u8> = Vec::with_capacity(total);
    let mut rest = data;
    let nibbles = |byte: u8| [byte >> 4, byte & 15];
    while indices.len() < total {
        let [first, second, ref after @ ..] = *rest else {
            return Err(CUT_SHORT);
        };
        rest = after;
        let left = total - indices.len();
        match (first, second) {
            // The end of a row.
            (0, 0) => indices.resize(indices.len().next_multiple_of(width), 0),
            // The end of the picture.
            (0, 1) => break,
            // A step to the right and on.
            (0, 2) => {
                let [right, on, ref after @ ..] = *rest else {
                    return Err(CUT_SHORT);
                };
                rest = after;
                let skipped = usize::from(right) + usize::from(on) * width;
                indices.resize(indices.len() + skipped.min(left), 0);
            }
            // Pixels one by one, filled up to a whole number of words.
            (0, count) => {
                let stored = if four_bits {
                    usize::from(count).div_ceil(2)
                } else {
                    usize::from(count)
                };
                let pixels = rest.get(..stored).ok_or(CUT_SHORT)?;
                let count = usize::from(count).min(left);
                if four_bits {
                    indices.extend(pixels.iter().flat_map(|byte| nibbles(*byte)).take(count));
                } else {
                    indices.extend(&pixels[..count]);
                }
                rest = rest.get(stored.next_multiple_of(2)..).unwrap_or_default();
            }
            // One value, or two in turn; never past the row's end.
            (count, value) => {
                let count = usize::from(count).min(width - indices.len() % width);
                let pair = if four_bits {
                    nibbles(value)
                } else {
                    [value; 2]
                };
                indices.extend(pair.into_iter().cycle().take(count));
            }
        }
    }
    if indices.len() < total {
        return Err("its runs end before the picture does");
    }
    let mut pixels = Vec::with_capacity(total * 3);
    in_picture_order(indices.chunks_exact(width), header, |row| {
        append_row(row, header, &mut pixels);
    });
    Ok(pixels)
}
