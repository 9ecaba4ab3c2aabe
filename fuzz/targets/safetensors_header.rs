//! The header of a safetensors file: as the start of a file, and as JSON beside any file length.
#![no_main]

use k25_model::checkpoint::header::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&form, rest)) = data.split_first() else {
        return;
    };
    if form % 2 == 0 {
        if let Ok(header) = Header::read(&mut &rest[..], rest.len() as u64) {
            holds_together(&header, rest.len() as u64);
        }
    } else if let Some((length, json)) = rest.split_first_chunk() {
        let file_len = u64::from_le_bytes(*length);
        if let Ok(header) = Header::parse(json, file_len) {
            holds_together(&header, file_len);
        }
    }
});

/// Every tensor lies in the file, no two share a byte, and each has as many as its shape asks for.
fn holds_together(header: &Header, file_len: u64) {
    let mut places = Vec::new();
    for tensor in header.tensors() {
        assert_eq!(header.find(tensor.name), Some(tensor));
        assert!(
            tensor
                .begin
                .checked_add(tensor.byte_len)
                .is_some_and(|end| end <= file_len)
        );
        let byte_len = tensor.dtype.byte_len(tensor.shape);
        assert_eq!(byte_len.map(|bytes| bytes as u64), Some(tensor.byte_len));
        places.push((tensor.begin, tensor.begin + tensor.byte_len));
    }
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}
