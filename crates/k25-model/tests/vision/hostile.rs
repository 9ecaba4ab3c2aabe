//! Files from strangers: impossible sizes, cut and mutated files. An error is fine, a panic, a hang
//! or a large allocation is not.

use k25_config::MediaConfig;
use k25_model::media::{
    ImageLimits, MediaError, Video, VideoLimits, decode_image, image_size, preprocess_image,
};
use proptest::prelude::*;

use crate::decoding;

/// Every encoded image of the test data.
fn files() -> Vec<(String, Vec<u8>)> {
    encoded(".file")
}

/// The encoded files of the test data whose names end so.
fn encoded(kind: &str) -> Vec<(String, Vec<u8>)> {
    let images = decoding::images();
    let tensors = images.header().tensors();
    let files = tensors.filter_map(|info| {
        let name = info.name.strip_suffix(kind)?;
        Some((name.to_owned(), images.tensor(info.name)?.as_u8().to_vec()))
    });
    files.collect()
}

/// A file whose header says that it has `width` × `height` pixels, for every format.
fn declared(width: u32, height: u32) -> Vec<(&'static str, Vec<u8>)> {
    let (w16, h16) = (width.min(65_535) as u16, height.min(65_535) as u16);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    png.extend([8, 2, 0, 0, 0]);
    png.extend(crc32(&png[12..]).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xAF\x06\x1E\0\0\0\0IEND\xAE\x42\x60\x82");

    let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xC2, 0, 17, 8];
    jpeg.extend([h16.to_be_bytes(), w16.to_be_bytes()].concat());
    jpeg.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xFF, 0xD9]);

    let mut gif = b"GIF89a".to_vec();
    gif.extend([w16.to_le_bytes(), h16.to_le_bytes()].concat());
    gif.extend(b"\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0");
    gif.extend([w16.to_le_bytes(), h16.to_le_bytes()].concat());
    gif.extend(b"\0\x02\x02\x44\x01\0;");

    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    bmp.extend(b"\x01\0\x18\0");
    bmp.extend([0; 24]);

    let mut webp = b"RIFF\xFF\xFF\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0".to_vec();
    webp.extend(&width.saturating_sub(1).to_le_bytes()[..3]);
    webp.extend(&height.saturating_sub(1).to_le_bytes()[..3]);
    webp.extend(b"VP8L\x0A\0\0\0\x2f\0\0\0\0\0\0\0\0\0");
    vec![
        ("png", png),
        ("jpeg", jpeg),
        ("gif", gif),
        ("bmp", bmp),
        ("webp", webp),
    ]
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

#[test]
fn image_bombs_are_refused_by_their_size() {
    for (width, height) in [
        (60_000, 60_000),
        (65_535, 65_535),
        (1, 65_536),
        (16_384, 16_384),
    ] {
        for (format, bytes) in declared(width, height) {
            // JPEG and GIF cannot say more than 65,535.
            if height == 65_536 && matches!(format, "jpeg" | "gif") {
                continue;
            }
            let error = decode_image(&bytes, &ImageLimits::default()).expect_err(format);
            assert!(
                matches!(error, MediaError::Size { .. }),
                "{format} of {width} × {height}: {error}"
            );
            let message = error.to_string();
            assert!(
                message.contains(&height.to_string()) && message.contains("hint:"),
                "{format}: {message}"
            );
        }
    }
}

#[test]
fn empty_images_are_refused() {
    for (width, height) in [(0, 10), (10, 0), (0, 0)] {
        for (format, bytes) in declared(width, height) {
            // A WebP header stores one less than each side.
            if format != "webp" {
                let error = decode_image(&bytes, &ImageLimits::default()).expect_err(format);
                assert!(
                    matches!(error, MediaError::Size { .. } | MediaError::Broken { .. }),
                    "{format} of {width} × {height}: {error}"
                );
            }
        }
    }
}

#[test]
fn limits_are_the_callers() {
    let (_, png) = declared(1_000, 1_000).swap_remove(0);
    let limits = ImageLimits::default();
    // Within the limits it is the data that are missing.
    assert!(matches!(
        decode_image(&png, &limits),
        Err(MediaError::Broken { .. })
    ));
    for strict in [
        ImageLimits {
            pixels: 999_999,
            ..limits
        },
        ImageLimits {
            side: 999,
            ..limits
        },
        ImageLimits {
            decoder_bytes: 1_000_000,
            ..limits
        },
    ] {
        assert!(
            matches!(decode_image(&png, &strict), Err(MediaError::Size { .. })),
            "{strict:?}"
        );
    }
    let small = ImageLimits {
        file_bytes: 10,
        ..limits
    };
    assert!(matches!(
        decode_image(&png, &small),
        Err(MediaError::FileTooLarge { .. })
    ));
}

#[test]
fn what_is_no_image_is_an_error_that_says_so() {
    for bytes in [
        &b""[..],
        b"B",
        b"GIF90a",
        b"<svg xmlns=''/>",
        b"%PDF-1.4",
        &[0; 100],
    ] {
        let error = decode_image(bytes, &ImageLimits::default()).expect_err("no image");
        assert!(matches!(error, MediaError::UnknownFormat { .. }), "{error}");
        assert!(error.to_string().contains("hint:"), "{error}");
    }
}

#[test]
fn no_file_cut_short_is_read_as_if_it_were_whole() {
    for (name, bytes) in files() {
        let whole = decode_image(&bytes, &ImageLimits::default()).expect(&name);
        for length in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
            // A cut may fall behind the pixels of the image, but it must not change them.
            if let Ok(image) = decode_image(&bytes[..length], &ImageLimits::default()) {
                assert!(
                    image == whole,
                    "{name} cut to {length} of {} bytes",
                    bytes.len()
                );
            }
        }
        // The first of several frames may be whole.
        if !name.contains("animated") {
            let half = &bytes[..bytes.len() / 2];
            assert!(
                decode_image(half, &ImageLimits::default()).is_err(),
                "{name}: half a file"
            );
        }
    }
}

/// Limits that keep each mutated file quick.
const SMALL: ImageLimits = ImageLimits {
    file_bytes: 1 << 20,
    side: 65_535,
    pixels: 1 << 16,
    decoder_bytes: 4 << 20,
};

/// A change to a file.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), 1..40usize).prop_map(|(at, count)| Change::Remove(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Set(at, value) => *at.get_mut(bytes) = *value,
        Change::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Insert(at, inserted) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, inserted.iter().copied());
        }
        Change::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + count));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_images_or_errors(file in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..8)) {
        thread_local!(static FILES: Vec<(String, Vec<u8>)> = files());
        let mut bytes = FILES.with(|files| file.get(files).1.clone());
        for change in &changes {
            apply(&mut bytes, change);
        }
        if let Ok(image) = decode_image(&bytes, &SMALL) {
            prop_assert!(image.width() * image.height() <= SMALL.pixels);
            prop_assert_eq!(image.pixels().len(), image.width() * image.height() * 3);
        }
    }

    #[test]
    fn mutated_animations_are_videos_or_errors(file in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..8)) {
        thread_local!(static FILES: Vec<(String, Vec<u8>)> = encoded(".animation"));
        let mut bytes = FILES.with(|files| file.get(files).1.clone());
        // Whatever else changes, it stays a GIF.
        for change in &changes {
            let mut rest = bytes.split_off(6.min(bytes.len()));
            apply(&mut rest, change);
            bytes.extend(rest);
        }
        let path = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(path.path(), &bytes).expect("a file");
        let limits = VideoLimits { frame_pixels: SMALL.pixels, ..VideoLimits::default() };
        if let Ok(video) = Video::open(path.path(), &limits) {
            let info = *video.info();
            let all: Vec<usize> = (0..info.frames).collect();
            let frames: Vec<_> = video.frames(&all).expect("frames").collect::<Result<_, _>>().expect("frames that were counted");
            prop_assert!(frames.iter().all(|frame| (frame.width(), frame.height()) == (info.width, info.height)));
            prop_assert!(video.plan(&MediaConfig::default()).is_ok());
        }
    }

    #[test]
    fn noise_behind_a_signature_is_an_image_or_an_error(format in 0..5usize, noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = declared(40, 30).swap_remove(format).1;
        bytes.extend(noise);
        let _ = decode_image(&bytes, &SMALL);
        bytes.truncate(bytes.len() / 2);
        let _ = decode_image(&bytes, &SMALL);
    }

    #[test]
    fn sizes_fit_the_model(width in 1..=65_535usize, height in 1..=65_535usize, limit in 1..=16_384usize) {
        let config = MediaConfig { in_patch_limit: limit, ..Default::default() };
        let size = image_size(width, height, &config);
        prop_assert!((1..=width).contains(&size.width) && (1..=height).contains(&size.height), "enlarged: {:?}", size);
        prop_assert!(size.width <= 7_168 && size.height <= 7_168);
        prop_assert!(size.pad_right < 28 && size.pad_bottom < 28);
        let [rows, columns] = size.patch_grid(&config);
        prop_assert!(rows.is_multiple_of(2) && columns.is_multiple_of(2));
        prop_assert_eq!((rows * 14, columns * 14), (size.padded_height(), size.padded_width()));
        prop_assert_eq!(size.tokens(&config) * 4, rows * columns);
        // One factor cut both sides down to whole pixels, but never to none.
        let factors = |side: usize, cut: usize| {
            let lowest = if cut == 1 { 0.0 } else { cut as f64 / side as f64 };
            (lowest, (cut + 1) as f64 / side as f64)
        };
        let (by_width, by_height) = (factors(width, size.width), factors(height, size.height));
        prop_assert!(by_width.0 < by_height.1 + 1e-9 && by_height.0 < by_width.1 + 1e-9, "{:?}", size);
        // The limit counts whole patches before scaling; parts of patches may come on top.
        if size.width >= 14 && size.height >= 14 {
            let parts = |side: usize| (side as f64 / 14.0) / (side / 14) as f64;
            let most = (limit as f64 * parts(width) * parts(height)).max(1.0);
            let whole = (size.width / 14) * (size.height / 14);
            prop_assert!(whole as f64 <= most + 1e-6, "{} patches of {}", whole, limit);
        }
    }
}

#[test]
fn an_extreme_shape_keeps_memory_small() {
    // 65,535 × 1 pixels: no side may blow up on the way.
    let mut bmp = declared(65_535, 1).swap_remove(3).1;
    bmp.extend(vec![200; 65_535 * 3 + 3]);
    let item =
        preprocess_image(&bmp, &ImageLimits::default(), &MediaConfig::default()).expect("a line");
    assert_eq!(item.grid, [1, 2, 512]);
    assert!((item.patches[0] - (200.0 / 255.0 - 0.5) * 2.0).abs() < 1e-6);
}
