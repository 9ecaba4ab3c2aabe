//! A checkpoint folder of an index and two shards, on disk. The input begins with the lengths of
//! the index and of the first shard, two bytes each.
#![no_main]

use std::fs;

use k25_fuzz::FOLDER;
use k25_model::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((lengths, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let [index_len, shard_len] =
        [[lengths[0], lengths[1]], [lengths[2], lengths[3]]].map(u16::from_le_bytes);
    let (index, rest) = rest.split_at(usize::from(index_len).min(rest.len()));
    let (first, second) = rest.split_at(usize::from(shard_len).min(rest.len()));
    let folder = FOLDER.path();
    for (name, bytes) in [
        ("model.safetensors.index.json", index),
        ("model-00001-of-000002.safetensors", first),
        ("model-00002-of-000002.safetensors", second),
    ] {
        fs::write(folder.join(name), bytes).expect("the temporary folder takes files");
    }
    if let Ok(checkpoint) = Checkpoint::open(folder) {
        for located in checkpoint.tensors() {
            let tensor = located.tensor();
            assert_eq!(tensor.shape(), &located.info.shape[..]);
            assert_eq!(tensor.bytes().len() as u64, located.info.byte_len);
            std::hint::black_box(tensor.to_f32_vec());
        }
    }
});
