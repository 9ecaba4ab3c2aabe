//! Real and hostile files, through the public door.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k25_pdf::{Limits, PdfError, Reader, text};
use proptest::prelude::*;

fn report() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/report.pdf");
    std::fs::read(path).expect("the fixture")
}

/// A file of one page with this content stream, and objects 5, 6, … beside it.
fn file(content: &[u8], resources: &str, objects: &[Vec<u8>]) -> Vec<u8> {
    let stream = |body: &[u8]| {
        let head = format!("<< /Length {} >>\nstream\n", body.len());
        [head.as_bytes(), body, b"\nendstream"].concat()
    };
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << {resources} >> >>"
    );
    let mut all: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        page.into_bytes(),
        stream(content),
    ];
    all.extend_from_slice(objects);
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (index, object) in all.iter().enumerate() {
        places.push(out.len());
        out.extend(format!("{} 0 obj\n", index + 1).bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", all.len() + 1).bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let trailer = format!(
        "trailer << /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n",
        all.len() + 1
    );
    out.extend(trailer.bytes());
    out
}

const HELVETICA: &str = "/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>";

fn read(bytes: Vec<u8>) -> Result<String, PdfError> {
    text(bytes, &Limits::default())
}

#[test]
fn a_printed_page_reads_as_its_source() {
    let expected = "\
[page 1]
Harbour report 2026
The port of Märsta handled 1,204,500 tonnes in 2026, a rise of 3.5 %
over the year before. Café Ø and naïve façades stay.
Quay Length Cranes
North 410 m 4
South 385 m 2
First column tells of the ships that
came in spring, and of their fish.
Second column tells of the ships
that left in autumn with timber.
[page 2]
Second page: the efficient office filed five affidavits.
";
    assert_eq!(read(report()).expect("text"), expected);
}

#[test]
fn text_operators_move_as_the_standard_says() {
    let content = b"q 1 0 0 1 50 700 cm BT /F 10 Tf 12 TL (first) Tj T* (second) Tj \
        (third) ' 2 1 (fourth) \" 0 -20 Td [(kern) -50 (ed) -400 (word)] TJ ET Q \
        BT /F 10 Tf 0.5 0 0 0.5 300 700 Tm (beside) Tj ET \
        BT /F 0.5 Tf 50 400 Td (too small to read) Tj ET \
        BT /F 10 Tf 50 9000 Td (outside) Tj ET \
        BT /F 10 Tf 50 300 Td (left) Tj 200 0 Td (right) Tj ET";
    let lines = read(file(content, HELVETICA, &[])).expect("text");
    assert_eq!(
        lines,
        "[page 1]\nfirst\nsecond\nthird\nfourth\nkerned word\nbeside\nleft | right\n"
    );
}

#[test]
fn forms_are_read_and_those_that_multiply_end() {
    let form = |body: &str, extra: &str| {
        let head = format!(
            "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] {extra} /Length {} >>\nstream\n{body}\nendstream",
            body.len()
        );
        head.into_bytes()
    };
    let words = form(
        "BT /F 10 Tf 10 10 Td (within) Tj ET",
        "/Matrix [1 0 0 1 5 5]",
    );
    let resources = format!("{HELVETICA} /XObject << /X 5 0 R >>");
    let lines = read(file(b"/X Do", &resources, &[words])).expect("text");
    assert_eq!(lines, "[page 1]\nwithin\n");

    // A file of a few KB, each of whose forms draws the next one twelve times: the operators that
    // are drawn are counted, not those that are written.
    let next = |index: usize| format!("/Resources << /XObject << /X {} 0 R >> >>", index + 6);
    let bomb: Vec<Vec<u8>> = (0..12)
        .map(|index| form(&"/X Do ".repeat(12), &next(index)))
        .collect();
    let error = read(file(b"/X Do", &resources, &bomb)).expect_err("too much");
    assert!(matches!(error, PdfError::TooMuch(_)), "{error}");
}

#[test]
fn what_has_no_text_says_why() {
    assert_eq!(read(file(b"0 0 9 9 re f", "", &[])), Err(PdfError::NoText));
    for bytes in [&b""[..], b"hello", b"%PDF-1.7\n", &[0; 1000]] {
        assert_eq!(read(bytes.to_vec()), Err(PdfError::Invalid));
    }
}

#[test]
fn long_files_are_cut_and_say_so() {
    let small = Limits {
        pages: 1,
        text_bytes: 60,
        ..Limits::default()
    };
    let lines = text(report(), &small).expect("text");
    assert!(lines.len() < 100, "{lines}");
    assert!(lines.ends_with("[the rest is left out]\n"), "{lines}");
    let pages = Limits {
        pages: 1,
        ..Limits::default()
    };
    let lines = text(report(), &pages).expect("text");
    assert!(lines.ends_with("[1 more pages left out]\n"), "{lines}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is cut off or changed, there is an answer.
    #[test]
    fn damage_is_survived(cut in 0_usize..30_000, changes in prop::collection::vec((0_usize..30_000, any::<u8>()), 0..20)) {
        let mut bytes = report();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        bytes.truncate(cut.max(1));
        let _ = read(bytes);
    }
}

fn reader() -> Reader {
    Reader::new(PathBuf::from(env!("CARGO_BIN_EXE_pdf_text")), &[])
}

#[test]
fn the_child_reads_as_this_process_does() {
    assert_eq!(reader().text(&report()), read(report()));
    assert_eq!(reader().text(b"hello"), Err(PdfError::Invalid));
    let shared = reader();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(shared.text(&report()), read(report())));
        }
    });
    let missing = Reader::new(PathBuf::from("no/such/program"), &[]);
    assert!(matches!(missing.text(b""), Err(PdfError::Start(_))));
}

/// Zero bytes, deflated twice: 4 KB that want to be 4 GB.
fn bomb() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bomb.flate");
    std::fs::read(path).expect("the fixture")
}

#[test]
fn a_bomb_ends_the_child_and_not_us() {
    let packed = bomb();
    let head = format!(
        "<< /Subtype /Form /BBox [0 0 9 9] /Filter [/FlateDecode /FlateDecode] /Length {} >>\nstream\n",
        packed.len()
    );
    let form = [head.as_bytes(), &packed, b"\nendstream"].concat();
    let resources = format!("{HELVETICA} /XObject << /X 5 0 R >>");
    let content = b"/X Do BT /F 10 Tf 9 9 Td (after) Tj ET";
    let error = reader().text(&file(content, &resources, &[form]));
    assert!(matches!(error, Err(PdfError::TooMuch(_))), "{error:?}");
}

#[test]
fn a_slow_child_is_ended() {
    let slow = Reader::new(PathBuf::from("sleep"), &["30"]);
    let began = Instant::now();
    let error = slow.with_wall_time(Duration::from_millis(200)).text(b"");
    assert_eq!(error, Err(PdfError::TooMuch("time".to_owned())));
    assert!(began.elapsed() < Duration::from_secs(10));
}
