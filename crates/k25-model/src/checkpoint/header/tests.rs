use proptest::prelude::*;

use super::*;

/// The header of two tensors that fill 16 bytes.
const SOUND: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
    "a":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]}}"#;

/// A file with this header and `values_len` bytes of values.
fn file(json: &str, values_len: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + values_len, 0);
    bytes
}

fn read(bytes: &[u8]) -> Result<Header, HeaderFault> {
    match Header::read(&mut &bytes[..], bytes.len() as u64) {
        Ok(header) => Ok(header),
        Err(HeaderError::Fault(fault)) => Err(fault),
        Err(HeaderError::Io(error)) => panic!("no system is involved: {error}"),
    }
}

fn fault(json: &str, values_len: usize) -> HeaderFault {
    read(&file(json, values_len)).expect_err("refused")
}

/// One U8 tensor named `t` per part.
fn parts(parts: &[(usize, usize)]) -> String {
    let entries: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(i, (begin, end))| {
            let len = end.wrapping_sub(*begin);
            format!(r#""t{i}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{begin},{end}]}}"#)
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

#[test]
fn a_sound_header_lists_its_tensors_by_name() {
    let header = read(&file(SOUND, 16)).expect("sound");
    let names: Vec<_> = header.tensors().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["a", "b"]);
    let a = header.find("a").expect("there");
    let start = 8 + SOUND.len() as u64;
    assert_eq!(
        (a.dtype, &a.shape[..], a.begin, a.byte_len),
        (DType::BF16, &[2, 2][..], start + 8, 8)
    );
    assert!(header.find("__metadata__").is_none());
    assert!(header.find("c").is_none());
}

#[test]
fn a_header_may_be_empty_padded_and_escaped() {
    assert!(read(&file("{}", 0)).expect("empty").is_empty());
    assert!(read(&file("{}     ", 0)).expect("padded").is_empty());
    let escaped = r#"{"\u0061\n":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#;
    assert_eq!(
        read(&file(escaped, 1)).expect("escaped").tensor_at(0).name,
        "a\n"
    );
}

#[test]
fn empty_tensors_take_no_place() {
    let json = r#"{"a":{"dtype":"F32","shape":[0,9],"data_offsets":[4,4]},
        "b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
        "c":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert_eq!(read(&file(json, 8)).expect("sound").len(), 3);
}

#[test]
fn a_file_that_is_too_short_or_something_else() {
    assert_eq!(
        read(&[]).expect_err("empty"),
        HeaderFault::TooShort { file_len: 0 }
    );
    assert_eq!(
        read(&[0; 7]).expect_err("short"),
        HeaderFault::TooShort { file_len: 7 }
    );
    for start in [
        "version https://git-lfs.github.com/spec/v1",
        "<!DOCTYPE html>",
        "GGUF....",
        "PK\x03\x04....",
    ] {
        let fault = read(start.as_bytes()).expect_err("foreign");
        assert!(
            matches!(fault, HeaderFault::ForeignFile { .. }),
            "{start}: {fault:?}"
        );
    }
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut bytes = file(SOUND, 16);
    let file_len = bytes.len() as u64;
    for header_len in [file_len - 7, 1 << 20, MAX_HEADER_BYTES] {
        bytes[..8].copy_from_slice(&header_len.to_le_bytes());
        let expected = HeaderFault::LengthBeyondFile {
            header_len,
            file_len,
        };
        assert_eq!(read(&bytes).expect_err("refused"), expected);
    }
    for header_len in [MAX_HEADER_BYTES + 1, 1 << 60, u64::MAX] {
        bytes[..8].copy_from_slice(&header_len.to_le_bytes());
        let expected = HeaderFault::LengthAbsurd { header_len };
        assert_eq!(read(&bytes).expect_err("refused"), expected);
    }
    for header_len in [0, 5, SOUND.len() as u64 - 1, SOUND.len() as u64 + 1] {
        bytes[..8].copy_from_slice(&header_len.to_le_bytes());
        let fault = read(&bytes).expect_err("refused");
        assert!(
            matches!(fault, HeaderFault::NotJson { .. }),
            "{header_len}: {fault:?}"
        );
    }
}

#[test]
fn a_cut_file_names_the_first_tensor_that_is_not_whole() {
    let whole = file(SOUND, 16);
    for (kept, tensor) in [(15, "a"), (8, "a"), (7, "b"), (0, "b")] {
        let file_len = (whole.len() - 16 + kept) as u64;
        let fault = read(&whole[..file_len as usize]).expect_err("cut");
        let (tensor, expected) = (tensor.to_owned(), whole.len() as u64);
        assert_eq!(
            fault,
            HeaderFault::CutShort {
                tensor,
                file_len,
                expected
            }
        );
    }
}

#[test]
fn offsets_must_tile_the_values() {
    let t = |i: usize| format!("t{i}");
    let json = parts(&[(0, 4), (4, 8)]);
    assert!(read(&file(&json, 8)).is_ok());
    assert_eq!(fault(&json, 9), HeaderFault::TrailingBytes { extra: 1 });
    let json = parts(&[(0, 4), (3, 8)]);
    assert_eq!(
        fault(&json, 8),
        HeaderFault::Overlap {
            tensor: t(1),
            other: t(0)
        }
    );
    let json = parts(&[(0, 4), (0, 4)]);
    assert!(matches!(fault(&json, 4), HeaderFault::Overlap { .. }));
    let json = parts(&[(0, 8), (2, 4)]);
    assert_eq!(
        fault(&json, 8),
        HeaderFault::Overlap {
            tensor: t(1),
            other: t(0)
        }
    );
    let json = parts(&[(0, 4), (5, 8)]);
    assert_eq!(
        fault(&json, 8),
        HeaderFault::Hole {
            tensor: t(1),
            begin: 4,
            end: 5
        }
    );
    let json = parts(&[(1, 4)]);
    assert_eq!(
        fault(&json, 4),
        HeaderFault::Hole {
            tensor: t(0),
            begin: 0,
            end: 1
        }
    );
    let json = parts(&[(0, 4), (1 << 40, (1 << 40) + 4)]);
    assert!(matches!(
        fault(&json, 8),
        HeaderFault::OutOfRange { available: 8, .. }
    ));
    let json = parts(&[(0, 4), (usize::MAX - 4, usize::MAX)]);
    assert!(matches!(fault(&json, 8), HeaderFault::OutOfRange { .. }));
    let json = parts(&[(4, 0)]);
    assert_eq!(
        fault(&json, 8),
        HeaderFault::Reversed {
            tensor: t(0),
            begin: 4,
            end: 0
        }
    );
}

#[test]
fn shape_and_type_must_agree_with_the_offsets() {
    let entry = |dtype: &str, shape: &str, end: u64| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    for (dtype, shape, end) in [
        ("F32", "[2]", 4),
        ("BF16", "[2,3]", 24),
        ("I64", "[]", 4),
        ("U8", "[0]", 1),
    ] {
        let fault = fault(&entry(dtype, shape, end), end as usize);
        assert!(
            matches!(fault, HeaderFault::WrongLength { len, .. } if len == end),
            "{fault:?}"
        );
    }
    let absurd = [
        ("F32", "[4294967296,4294967296]"),
        ("F64", "[18446744073709551615]"),
        ("U8", "[3,6148914691236517206]"),
        ("F4", "[3]"),
    ];
    for (dtype, shape) in absurd {
        let fault = fault(&entry(dtype, shape, 2), 2);
        assert!(
            matches!(fault, HeaderFault::Overflow { .. }),
            "{shape}: {fault:?}"
        );
    }
}

#[test]
fn an_entry_has_exactly_its_three_fields() {
    let wrong = [
        r#"{}"#,
        r#"{"dtype":"U8","shape":[1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":0}"#,
        r#"{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"bfloat16","shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":8,"shape":[1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":[0,-1]}"#,
        r#"{"dtype":"U8","shape":[1],"data_offsets":null}"#,
        "7",
    ];
    for entry in wrong {
        let fault = fault(&format!(r#"{{"the.name":{entry}}}"#), 1);
        assert!(
            matches!(fault, HeaderFault::BadEntry { .. }),
            "{entry}: {fault:?}"
        );
        assert_eq!(fault.tensor(), Some("the.name"), "{entry}");
    }
}

#[test]
fn a_name_stands_once_and_is_short() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let twice = format!(r#"{{"t":{entry},"u":{entry},"\u0074":{entry}}}"#);
    assert_eq!(
        fault(&twice, 0),
        HeaderFault::DuplicateName {
            tensor: "t".to_owned()
        }
    );
    let long = format!(r#"{{"{}":{entry}}}"#, "x".repeat(MAX_NAME_BYTES + 1));
    assert!(matches!(fault(&long, 0), HeaderFault::NameTooLong { .. }));
}

#[test]
fn what_is_no_header_is_refused() {
    for json in [
        "",
        "[]",
        "7",
        "{",
        "{}{}",
        r#"{"__metadata__":{"a":1}}"#,
        r#"{"__metadata__":7}"#,
    ] {
        let fault = fault(json, 0);
        assert!(
            matches!(fault, HeaderFault::NotJson { .. }),
            "{json}: {fault:?}"
        );
    }
    let mut bytes = file(SOUND, 16);
    bytes[40] = 0xFF;
    assert_eq!(
        read(&bytes).expect_err("refused"),
        HeaderFault::NotUtf8 { at: 32 }
    );
    let deep = format!(r#"{{"a":{}"#, "[".repeat(1_000_000));
    assert!(matches!(fault(&deep, 0), HeaderFault::BadEntry { .. }));
}

/// Whatever is read, every tensor lies inside the file and has the bytes that its shape asks for.
fn assert_consistent(header: &Header, file_len: u64) {
    let mut total = 0;
    for tensor in header.tensors() {
        assert_eq!(
            tensor.dtype.byte_len(tensor.shape).map(|len| len as u64),
            Some(tensor.byte_len)
        );
        assert!(tensor.begin + tensor.byte_len <= file_len);
        total += tensor.byte_len;
    }
    assert_eq!(total, file_len - header.values_start);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutated_files_never_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, any::<Vec<u8>>()), 1..4),
    ) {
        let mut bytes = file(SOUND, 16);
        for (at, removed, inserted) in cuts {
            let start = at.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted);
        }
        if let Ok(header) = read(&bytes) {
            assert_consistent(&header, bytes.len() as u64);
        }
    }

    #[test]
    fn mutated_headers_of_the_right_length_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,3}"), 1..6),
    ) {
        let mut json = SOUND.to_owned();
        for (at, text) in edits {
            let at = at.index(json.len());
            let end = (at + text.len()).min(json.len());
            json.replace_range(at..end, &text);
        }
        let bytes = file(&json, 16);
        if let Ok(header) = read(&bytes) {
            assert_consistent(&header, bytes.len() as u64);
        }
    }

    #[test]
    fn arbitrary_offsets_are_refused_or_consistent(
        offsets in prop::collection::vec((0usize..12, 0usize..12), 0..5), values_len in 0usize..24,
    ) {
        let bytes = file(&parts(&offsets), values_len);
        if let Ok(header) = read(&bytes) {
            assert_consistent(&header, bytes.len() as u64);
        }
    }
}
