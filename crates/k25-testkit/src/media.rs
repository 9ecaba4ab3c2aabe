//! Pictures and films that are broken, or that claim more than they hold.

/// One broken file.
pub struct BrokenFile {
    /// Its name, which tells what is wrong with it.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A PNG of 60,000 × 60,000 pixels in 86 bytes: signature, header, a little data, end.
const PNG_BOMB: &[&[u8]] = &[
    b"\x89PNG\r\n\x1a\n",
    b"\x00\x00\x00\x0dIHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00\x0f\xb0\xe2\x15",
    b"\x00\x00\x00\x11IDAT\x78\x9c\x63\x60\x18\x05\xa3\x60\x14\x0c\x77\x00\x00\x03\xe8\x00\x01\xb3\xa6\xd3\x46",
    b"\x00\x00\x00\x00IEND\xae\x42\x60\x82",
];

/// A GIF whose screen and first frame have 65,535 × 65,535 pixels.
const GIF_BOMB: &[&[u8]] = &[
    b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff",
    b"\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00\x3b",
];

/// A BMP of 60,000 × 60,000 pixels of 24 bits, without any.
const BMP_BOMB: &[&[u8]] = &[
    b"BM\x36\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00",
    b"\x28\x00\x00\x00\x60\xea\x00\x00\x60\xea\x00\x00\x01\x00\x18\x00",
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
];

/// A baseline JPEG of 65,500 × 65,500 pixels: its frame header, and nothing to decode.
const JPEG_BOMB: &[&[u8]] = &[
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
    b"\xff\xc0\x00\x11\x08\xff\xdc\xff\xdc\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00",
    b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00\xff\xd9",
];

/// A lossless WebP of 16,384 × 16,384 pixels, without any.
const WEBP_BOMB: &[&[u8]] = &[
    b"RIFF\x16\x00\x00\x00WEBPVP8L\x0a\x00\x00\x00",
    b"\x2f\xff\xff\xff\x0f\x00\x00\x00\x00\x00",
];

/// Pictures that must be refused. `sound_png` is one that is not, to be cut.
pub fn broken_pictures(sound_png: &[u8]) -> Vec<BrokenFile> {
    let file = |name, bytes: &[u8]| BrokenFile {
        name,
        bytes: bytes.to_vec(),
    };
    let half = &sound_png[..sound_png.len() / 2];
    let flipped: Vec<u8> = sound_png
        .iter()
        .enumerate()
        .map(|(at, byte)| if at > 40 { byte ^ 0x55 } else { *byte })
        .collect();
    vec![
        file("empty.png", b""),
        file("text.png", b"no picture at all"),
        file("only-a-signature.png", b"\x89PNG\r\n\x1a\n"),
        file("cut-in-half.png", half),
        file("bits-flipped.png", &flipped),
        file("bomb.png", &PNG_BOMB.concat()),
        file("bomb.gif", &GIF_BOMB.concat()),
        file("bomb.bmp", &BMP_BOMB.concat()),
        file("bomb.jpg", &JPEG_BOMB.concat()),
        file("bomb.webp", &WEBP_BOMB.concat()),
    ]
}

/// Films that must be refused.
pub fn broken_films() -> Vec<BrokenFile> {
    let file = |name, parts: &[&[u8]]| BrokenFile {
        name,
        bytes: parts.concat(),
    };
    const MP4_START: &[u8] = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2";
    vec![
        file("empty.mp4", &[]),
        file("text.mp4", &[b"no film at all"]),
        file("zeros.mp4", &[&[0; 4096]]),
        file("only-a-start.mp4", &[MP4_START]),
        file("lying-box.mp4", &[MP4_START, b"\x00\x00\x00\x01moov\xff\xff\xff\xff\xff\xff\xff\xff"]),
        file("boxes-in-boxes.mp4", &[MP4_START, &b"\x00\x00\x10\x00moov".repeat(512)]),
        file("cut.mkv", &[b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01"]),
        file("cut.avi", &[b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrlavih"]),
        file("playlist.m3u8", &[b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"]),
        file("concat.mp4", &[b"ffconcat version 1.0\nfile /etc/passwd\n"]),
    ]
}
