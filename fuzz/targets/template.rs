//! A conversation from a stranger: read, its ids rewritten, rendered, encoded.
#![no_main]

use k25_chat::{
    Conversation, MediaKind, Reading, RenderOptions, Segment, TemplateVersion, render,
    rewrite_tool_call_ids, segments_to_text,
};
use k25_fuzz::{TOKENIZER, choices_and_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choices, text)) = choices_and_text(data) else {
        return;
    };
    let reading = match choices % 4 {
        0 | 1 => Reading::Service,
        2 => Reading::Reference(TemplateVersion::K25),
        _ => Reading::Reference(TemplateVersion::K26),
    };
    let flag = |bit: u8| choices & (1 << bit) != 0;
    let options = RenderOptions {
        thinking: flag(2),
        preserve_thinking: flag(3),
        add_generation_prompt: flag(4),
    };
    let Ok(mut conversation) = Conversation::parse(text, reading) else {
        return;
    };
    if flag(5) && rewrite_tool_call_ids(&mut conversation.messages).is_err() {
        return;
    }
    let prompt = render(&conversation, &options);
    only_placed_markers(&prompt.segments);
    std::hint::black_box(segments_to_text(&prompt.segments));
});

/// Text from outside becomes no marker: the special ids are as many as were placed.
fn only_placed_markers(segments: &[Segment]) {
    let placed: usize = segments
        .iter()
        .map(|segment| match segment {
            Segment::Special(_) => 1,
            Segment::Media {
                kind: MediaKind::Image,
                ..
            } => 4,
            Segment::Media {
                kind: MediaKind::Video,
                ..
            }
            | Segment::Text(_) => 0,
        })
        .sum();
    let ids = TOKENIZER.encode_segments(segments);
    assert_eq!(
        ids.iter().filter(|&&id| id >= TOKENIZER.n_base()).count(),
        placed
    );
}
