//! Scorers: how well an answer fits what is true.

pub mod widesearch;
