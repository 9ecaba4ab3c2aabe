//! The address of a picture or film as a client writes it: a path, `file://`, `data:`, or another.
#![no_main]

use k25_local::MediaSource;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    const LIMIT: usize = 1 << 10;
    let Ok(address) = std::str::from_utf8(data) else {
        return;
    };
    match MediaSource::parse(address, LIMIT) {
        Ok(MediaSource::Bytes(bytes)) => assert!(bytes.len() <= LIMIT),
        Ok(MediaSource::File(path)) => assert!(!path.as_os_str().is_empty()),
        // A message may repeat what was sent, but not all of it.
        Err(error) => assert!(error.to_string().len() < 2_000),
    }
});
