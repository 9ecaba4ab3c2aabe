//! Messages to tokens and back.

mod segment;
mod special;

pub use segment::{MediaKind, Segment, segments_to_text};
pub use special::{SPECIAL_SLOTS, SpecialToken, reserved_token_text};
