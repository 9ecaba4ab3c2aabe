//! Media preprocessing and the vision tower against what the reference computed.

mod decoding;
mod features;
mod fixtures;
mod hostile;
mod images;
mod videos;
