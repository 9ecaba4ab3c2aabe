//! A K2.5-family checkpoint and its forward pass.
