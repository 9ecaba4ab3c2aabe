//! Who may import whom. ARCHITECTURE.md gives the reasons; `cargo xtask edges` proves the table.

/// One crate of the workspace and what may appear in the tree of its normal dependencies.
pub struct Room {
    /// The crate.
    pub name: &'static str,
    /// The only crates of this repository that may appear, directly or through another.
    pub may_use: &'static [&'static str],
    /// Foreign crates that must not appear anywhere in its tree.
    pub must_not_hold: &'static [&'static [&'static str]],
    /// Foreign crates that it must not name itself. (Through another it may hold them: the
    /// engine reaches the configuration, which reads JSON.)
    pub must_not_name: &'static [&'static [&'static str]],
}

/// Runtimes and futures.
const ASYNC: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "futures-executor",
    "async-executor",
];
/// HTTP, either side.
const HTTP: &[&str] = &[
    "hyper",
    "axum",
    "reqwest",
    "ureq",
    "h2",
    "http",
    "tungstenite",
    "tower-http",
    "actix-web",
];
/// Sockets below HTTP.
const SOCKETS: &[&str] = &["mio", "socket2", "rustls", "native-tls", "openssl"];
/// Serialisation.
const SERDE: &[&str] = &["serde", "serde_json", "toml"];
/// Numbers in bulk.
const TENSORS: &[&str] = &[
    "half",
    "bytemuck",
    "memmap2",
    "safetensors",
    "gemm",
    "rayon",
    "ndarray",
    "image",
];
/// Text as the model reads and writes it.
const TEXT: &[&str] = &["tiktoken-rs", "tokenizers", "minijinja", "fancy-regex"];

/// Where `unsafe` may be allowed: arithmetic, mapping files, and what the sandbox asks of the kernel. Everywhere else the workspace's
/// lint denies it.
pub const UNSAFE_PLACES: &[&str] = &[
    "crates/k25-kernels/",
    "crates/k25-model/src/checkpoint/mmap.rs",
    "crates/k25-sandbox/src/stage/kernel.rs",
    "crates/k25-train/src/matmul.rs",
];

/// Every crate of the workspace; `cargo xtask edges` fails on one that is missing here.
pub const ROOMS: &[Room] = &[
    Room {
        name: "k25-config",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TENSORS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-kernels",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, SERDE, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-chat",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TENSORS],
        must_not_name: &[],
    },
    Room {
        name: "k25-plan",
        may_use: &["k25-config"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TENSORS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-grammar",
        may_use: &["k25-chat"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-model",
        may_use: &["k25-config", "k25-kernels"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-client",
        may_use: &["k25-chat", "k25-config"],
        must_not_hold: &[TENSORS],
        must_not_name: &[],
    },
    Room {
        name: "k25-agent",
        may_use: &["k25-chat", "k25-config"],
        must_not_hold: &[],
        must_not_name: &[],
    },
    Room {
        name: "k25-fetch",
        may_use: &[],
        must_not_hold: &[TENSORS, TEXT],
        must_not_name: &[SERDE],
    },
    Room {
        name: "k25-web",
        may_use: &["k25-agent", "k25-chat", "k25-config", "k25-fetch"],
        must_not_hold: &[],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-mcp",
        may_use: &["k25-agent", "k25-chat", "k25-config"],
        must_not_hold: &[],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-pdf",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, SERDE, TEXT],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-nano",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, SERDE, TENSORS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-sandbox",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TENSORS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-code",
        may_use: &["k25-agent", "k25-chat", "k25-config", "k25-sandbox"],
        must_not_hold: &[HTTP, SOCKETS, TENSORS],
        must_not_name: &[],
    },
    Room {
        name: "k25-engine",
        may_use: &["k25-config", "k25-kernels", "k25-model"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS],
        must_not_name: &[SERDE, TEXT],
    },
    Room {
        name: "k25-local",
        may_use: &[
            "k25-chat",
            "k25-config",
            "k25-kernels",
            "k25-model",
            "k25-engine",
            "k25-grammar",
        ],
        must_not_hold: &[HTTP, SOCKETS],
        must_not_name: &[],
    },
    Room {
        name: "k25-server",
        may_use: &[
            "k25-agent",
            "k25-chat",
            "k25-client",
            "k25-config",
            "k25-engine",
            "k25-fetch",
            "k25-grammar",
            "k25-kernels",
            "k25-local",
            "k25-model",
            "k25-plan",
        ],
        must_not_hold: &[],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-train",
        may_use: &[
            "k25-agent",
            "k25-chat",
            "k25-config",
            "k25-engine",
            "k25-grammar",
            "k25-kernels",
            "k25-local",
            "k25-model",
        ],
        must_not_hold: &[HTTP, SOCKETS],
        must_not_name: &[],
    },
    Room {
        name: "k25-eval",
        may_use: &[
            "k25-agent",
            "k25-chat",
            "k25-client",
            "k25-config",
            "k25-engine",
            "k25-grammar",
            "k25-kernels",
            "k25-local",
            "k25-model",
        ],
        must_not_hold: &[],
        must_not_name: &[TENSORS],
    },
    Room {
        name: "k25-bench",
        may_use: &["k25-config", "k25-engine", "k25-kernels", "k25-model"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TEXT],
        must_not_name: &[],
    },
    Room {
        name: "k25-verify",
        may_use: &[
            "k25-chat",
            "k25-config",
            "k25-engine",
            "k25-grammar",
            "k25-kernels",
            "k25-local",
            "k25-model",
        ],
        must_not_hold: &[HTTP, SOCKETS],
        must_not_name: &[],
    },
    Room {
        name: "k25",
        may_use: &[
            "k25-agent",
            "k25-bench",
            "k25-chat",
            "k25-client",
            "k25-code",
            "k25-config",
            "k25-engine",
            "k25-eval",
            "k25-fetch",
            "k25-grammar",
            "k25-kernels",
            "k25-local",
            "k25-model",
            "k25-mcp",
            "k25-nano",
            "k25-pdf",
            "k25-plan",
            "k25-sandbox",
            "k25-server",
            "k25-train",
            "k25-verify",
            "k25-web",
        ],
        must_not_hold: &[],
        must_not_name: &[],
    },
    // For tests only: no other room may name it in its normal dependencies.
    Room {
        name: "k25-testkit",
        may_use: &["k25-chat", "k25-config"],
        must_not_hold: &[ASYNC, HTTP, SOCKETS],
        must_not_name: &[],
    },
    Room {
        name: "xtask",
        may_use: &[],
        must_not_hold: &[ASYNC, HTTP, SOCKETS, TENSORS],
        must_not_name: &[],
    },
];
