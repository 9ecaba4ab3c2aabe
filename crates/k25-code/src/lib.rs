//! Tools with which agents compute: `python` and `javascript` in the sandbox, and `view_image`.
//!
//! Each task has a private folder ([`Workspaces`]): what one call writes, the next one of the same task
//! reads. The program that uses these tools must be its own launcher: see
//! [`k25_sandbox::stage_main`].

mod run_code;
mod view_image;
mod workspace;

pub use run_code::{Language, RunCode};
pub use view_image::ViewImage;
pub use workspace::{WorkspaceError, Workspaces};
