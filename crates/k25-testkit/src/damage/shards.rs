//! Damages of safetensors shards and of their index.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Damage;

const INDEX: &str = "model.safetensors.index.json";
/// The tensor that is damaged. The index says which shard holds it.
const TENSOR: &str = "language_model.model.layers.1.self_attn.o_proj.weight";

pub(super) fn damages() -> Vec<Damage> {
    let mut damages = of_files();
    damages.extend(of_headers());
    damages.extend(of_tensors());
    damages.extend(of_index());
    damages
}

fn of_files() -> Vec<Damage> {
    let cut = |what, keep: fn(u64) -> u64| {
        Damage::new(what, &[".safetensors"], move |dir| {
            let shard = OpenOptions::new().write(true).open(shard_of_tensor(dir)?)?;
            shard.set_len(keep(shard.metadata()?.len()))
        })
    };
    vec![
        cut("shard cut to nothing", |_| 0),
        cut("shard cut within its length", |_| 5),
        cut("shard cut within its header", |_| 100),
        cut("shard cut in half", |len| len / 2),
        cut("shard one byte short", |len| len - 1),
        cut("shard one byte long", |len| len + 1),
        Damage::new("shard removed", &["model-0000"], |dir| {
            fs::remove_file(shard_of_tensor(dir)?)
        }),
        Damage::new("shard is a folder", &["model-0000"], |dir| {
            let shard = shard_of_tensor(dir)?;
            fs::remove_file(&shard)?;
            fs::create_dir(shard)
        }),
        Damage::new(
            "shard is a pointer to large-file storage",
            &["model-0000"],
            |dir| {
                fs::write(
                    shard_of_tensor(dir)?,
                    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
                )
            },
        ),
    ]
}

fn of_headers() -> Vec<Damage> {
    let length = |what, length: fn(u64) -> u64| {
        Damage::new(what, &[".safetensors"], move |dir| {
            let path = shard_of_tensor(dir)?;
            let mut bytes = fs::read(&path)?;
            let true_length = u64::from_le_bytes(first_eight(&bytes)?);
            bytes[..8].copy_from_slice(&length(true_length).to_le_bytes());
            fs::write(path, bytes)
        })
    };
    let json = |what, text: String| {
        Damage::new(what, &[".safetensors"], move |dir| {
            fs::write(shard_of_tensor(dir)?, with_length(text.as_bytes(), &[]))
        })
    };
    vec![
        length("header length of 2^64 - 1", |_| u64::MAX),
        length("header length beyond the file", |length| length + (1 << 30)),
        length("header length of nothing", |_| 0),
        length("header length one byte short", |length| length - 1),
        length("header length into the values", |length| length + 8),
        json("header is no object", "[]".to_owned()),
        json("header nested deep", "[".repeat(1_000_000)),
        json("header names one tensor twice", {
            let entry = r#""a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
            format!("{{{entry},{entry}}}")
        }),
    ]
}

fn of_tensors() -> Vec<Damage> {
    let change = |what, named: &[&str], change: fn(&mut Map<String, Value>)| {
        Damage::new(what, named, move |dir| edit_header(dir, change))
    };
    vec![
        change("tensor renamed", &[TENSOR], |header| {
            if let Some(tensor) = header.shift_remove(TENSOR) {
                header.insert(format!("{TENSOR}s"), tensor);
            }
        }),
        change("tensor of another type", &[TENSOR, "F16"], |header| {
            header[TENSOR]["dtype"] = json!("F16");
        }),
        change("tensor of an unknown type", &[TENSOR, "Q9"], |header| {
            header[TENSOR]["dtype"] = json!("Q9");
        }),
        change("tensor of another shape", &[TENSOR], |header| {
            if let Some(shape) = header[TENSOR]["shape"].as_array_mut() {
                shape.push(json!(1));
            }
        }),
        change("tensor of a shape that overflows", &[TENSOR], |header| {
            header[TENSOR]["shape"] = json!([u64::MAX, u64::MAX]);
        }),
        change("tensor beyond the file", &[TENSOR], |header| {
            header[TENSOR]["data_offsets"][1] = json!(1_u64 << 60);
        }),
        change(
            "tensor with its end before its beginning",
            &[TENSOR],
            |header| {
                header[TENSOR]["data_offsets"] = json!([4096, 0]);
            },
        ),
        change("tensor at a negative offset", &[TENSOR], |header| {
            header[TENSOR]["data_offsets"][0] = json!(-1);
        }),
        change("tensor over its neighbour", &[".safetensors"], |header| {
            let move_back = |offset: &mut Value| *offset = json!(offset.as_u64().unwrap_or(2) - 2);
            if let Some(offsets) = header[TENSOR]["data_offsets"].as_array_mut() {
                offsets.iter_mut().for_each(move_back);
            }
        }),
    ]
}

fn of_index() -> Vec<Damage> {
    let place = |what, named: &[&str], shard: &'static str| {
        Damage::new(what, named, move |dir| {
            edit_index(dir, |map| drop(map.insert(TENSOR.to_owned(), json!(shard))))
        })
    };
    vec![
        place(
            "index names a shard that is not there",
            &["model-00009"],
            "model-00009-of-000003.safetensors",
        ),
        place(
            "index leads out of the folder",
            &[INDEX, "../"],
            "../model-00001-of-000003.safetensors",
        ),
        place(
            "index names an absolute path",
            &[INDEX, "/etc/"],
            "/etc/passwd",
        ),
        Damage::new(
            "index names a tensor that is not there",
            &["no.such.tensor"],
            |dir| {
                edit_index(dir, |map| {
                    map.insert("no.such.tensor".to_owned(), map[TENSOR].clone());
                })
            },
        ),
        Damage::new("index is no JSON", &[INDEX], |dir| {
            fs::write(dir.join(INDEX), "{")
        }),
        Damage::new("index is empty", &[INDEX], |dir| {
            fs::write(dir.join(INDEX), "{\"weight_map\": {}}")
        }),
    ]
}

fn edit_index(dir: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> io::Result<()> {
    let mut index = read_json(&dir.join(INDEX))?;
    change(
        index["weight_map"]
            .as_object_mut()
            .ok_or(io::ErrorKind::InvalidData)?,
    );
    fs::write(dir.join(INDEX), index.to_string())
}

fn edit_header(dir: &Path, change: fn(&mut Map<String, Value>)) -> io::Result<()> {
    let path = shard_of_tensor(dir)?;
    let bytes = fs::read(&path)?;
    let length =
        usize::try_from(u64::from_le_bytes(first_eight(&bytes)?)).map_err(io::Error::other)?;
    let (json, values) = bytes[8..].split_at(length);
    let mut header: Map<String, Value> = serde_json::from_slice(json)?;
    change(&mut header);
    fs::write(
        path,
        with_length(Value::Object(header).to_string().as_bytes(), values),
    )
}

fn with_length(json: &[u8], values: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json, values].concat()
}

fn first_eight(bytes: &[u8]) -> io::Result<[u8; 8]> {
    Ok(*bytes.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?)
}

fn shard_of_tensor(dir: &Path) -> io::Result<PathBuf> {
    let index = read_json(&dir.join(INDEX))?;
    let shard = index["weight_map"][TENSOR]
        .as_str()
        .ok_or(io::ErrorKind::NotFound)?;
    Ok(dir.join(shard))
}

fn read_json(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
