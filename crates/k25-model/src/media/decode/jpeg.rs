//! JPEG, sequential and progressive, to the grey level that libjpeg-turbo computes.
//!
//! Decoders differ in the inverse transform, in how they enlarge subsampled colour and in rounding,
//! by up to four grey levels in ordinary photographs. The reference reads images through
//! libjpeg-turbo's defaults (accurate integer transform, "fancy" upsampling), whose integer
//! arithmetic is followed here: ITU-T T.81 for the format, the room [`idct`] for the transform,
//! [`output`] for upsampling and colour.
//!
//! All coefficients are decoded first; the transform and the output then run in parallel.

mod coefficients;
mod huffman;
mod idct;
mod output;
mod scan;
mod segments;

use coefficients::Frame;
use huffman::Table;
use scan::Scan;
use segments::Segments;

use super::{ImageFormat, check_size};
use crate::media::{ImageLimits, MediaError, RgbImage};

/// What is wrong with a file, in words.
type Fault = &'static str;

/// Most pixels that all scans pass over together: 160 scans of 12 million. Encoders write about ten
/// scans; a progressive file of a few kilobytes could ask for thousands over a large image.
const MAX_SCANNED_PIXELS: usize = 2_000_000_000;

/// What the segments before a scan have set up.
#[derive(Default)]
struct Tables {
    /// Divisors of the coefficients, in natural order.
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// Minimal coded units between restart markers; 0 without them.
    restart_interval: usize,
    /// Whether the file calls itself JFIF, which settles its colours.
    jfif: bool,
    /// The colour transform that an Adobe segment names.
    adobe_transform: Option<u8>,
}

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, MediaError> {
    let broken = |fault: Fault| ImageFormat::Jpeg.broken(fault);
    let mut segments = Segments::after_start(bytes);
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut scanned_pixels = 0;
    loop {
        let (marker, body) = segments.next().map_err(broken)?;
        match marker {
            0xC0..=0xC2 => {
                if frame.is_some() {
                    return Err(broken("it has a second frame"));
                }
                frame = Some(open_frame(body, marker == 0xC2, limits)?);
            }
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(unsupported_process(marker));
            }
            0xC4 => segments::read_huffman_tables(body, &mut tables).map_err(broken)?,
            0xDB => segments::read_quantisation(body, &mut tables).map_err(broken)?,
            0xDD => segments::read_restart_interval(body, &mut tables).map_err(broken)?,
            0xE0 => tables.jfif |= body.starts_with(b"JFIF\0"),
            0xEE => segments::read_adobe(body, &mut tables),
            0xDA => {
                let frame = frame
                    .as_mut()
                    .ok_or_else(|| broken("a scan comes before the frame"))?;
                scanned_pixels += frame.width * frame.height;
                if scanned_pixels > MAX_SCANNED_PIXELS {
                    return Err(broken("it has too many scans for its size"));
                }
                let scan = Scan::parse(body, frame).map_err(broken)?;
                let rest = scan
                    .decode(segments.rest(), frame, &tables)
                    .map_err(broken)?;
                segments.continue_at(rest);
            }
            0xD9 => break,
            _ => {}
        }
    }
    let frame = frame.ok_or_else(|| broken("it has no frame"))?;
    output::render(frame, &tables).map_err(broken)
}

/// Reads a frame header and makes room for its coefficients, where its size allows.
fn open_frame(body: &[u8], progressive: bool, limits: &ImageLimits) -> Result<Frame, MediaError> {
    let header =
        segments::FrameHeader::parse(body).map_err(|fault| ImageFormat::Jpeg.broken(fault))?;
    if header.precision != 8 {
        let feature = format!("a depth of {} bits", header.precision);
        return Err(MediaError::Unsupported {
            format: ImageFormat::Jpeg,
            feature,
        });
    }
    let size = (u64::from(header.width), u64::from(header.height));
    // Two bytes of coefficient and one of sample in each component, and the result.
    check_size(
        ImageFormat::Jpeg,
        size,
        3 * header.components.len() + 3,
        limits,
    )?;
    match header.components.len() {
        1 | 3 | 4 => {
            Frame::new(&header, progressive).map_err(|fault| ImageFormat::Jpeg.broken(fault))
        }
        count => {
            let feature = format!("an image of {count} components");
            Err(MediaError::Unsupported {
                format: ImageFormat::Jpeg,
                feature,
            })
        }
    }
}

fn unsupported_process(marker: u8) -> MediaError {
    let feature = match marker {
        0xC3 | 0xC7 | 0xCB | 0xCF => "lossless coding",
        0xC5 | 0xC6 | 0xCD | 0xCE => "hierarchical coding",
        _ => "arithmetic coding",
    };
    MediaError::Unsupported {
        format: ImageFormat::Jpeg,
        feature: feature.to_owned(),
    }
}
