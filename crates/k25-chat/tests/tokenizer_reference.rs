//! The tokenizer against ids of Python's tiktoken for random and for giant texts
//! (`tests/data/make_tiktoken_ids.py` says how they were made).

use std::time::{Duration, Instant};

use k25_chat::Tokenizer;
use serde::Deserialize;

const IDS: &str = include_str!("data/tiktoken_ids.json");
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tokenizer");

/// Far more than the giant texts need even unoptimised on a busy machine (they take some tens of
/// milliseconds each); quadratic work on a megabyte would take hours.
const MAX_TIME_PER_TEXT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Case {
    parts: Vec<(String, usize)>,
    pairs: Summary,
    plain: Summary,
    specials: Summary,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Summary {
    count: usize,
    fnv1a: String,
}

impl Summary {
    fn of(ids: &[u32]) -> Self {
        let checksum = ids
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Summary {
            count: ids.len(),
            fnv1a: format!("{checksum:016x}"),
        }
    }
}

/// The 256 bytes, then every pair of bytes: its ids show where pieces end.
fn pairs_tokenizer() -> Tokenizer {
    let singles = (0..=255u8).map(|byte| vec![byte]);
    let pairs = (0..=255u8).flat_map(|first| (0..=255).map(move |second| vec![first, second]));
    let tokens: Vec<Vec<u8>> = singles.chain(pairs).collect();
    Tokenizer::from_base_tokens(&tokens).expect("distinct tokens")
}

#[test]
fn random_and_giant_texts_have_the_ids_of_tiktoken() {
    let cases: Vec<Case> = serde_json::from_str(IDS).expect("the data file");
    assert!(cases.len() > 800, "the data file shrank");
    let fixture = Tokenizer::open(FIXTURE).expect("the fixture tokenizer opens");
    let pairs = pairs_tokenizer();
    for case in &cases {
        let text: String = case
            .parts
            .iter()
            .map(|(unit, repeat)| unit.repeat(*repeat))
            .collect();
        let parts = &case.parts;
        let start = Instant::now();
        assert_eq!(
            Summary::of(&pairs.encode_text(&text)),
            case.pairs,
            "pairs {parts:?}"
        );
        assert_eq!(
            Summary::of(&fixture.encode_text(&text)),
            case.plain,
            "plain {parts:?}"
        );
        let specials = fixture.encode_with_specials(&text);
        assert_eq!(Summary::of(&specials), case.specials, "specials {parts:?}");
        let taken = start.elapsed();
        assert!(taken < MAX_TIME_PER_TEXT, "{parts:?} took {taken:?}");
    }
}
