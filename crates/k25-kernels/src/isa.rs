//! Which instruction set the kernels use, chosen at run time.

use std::sync::OnceLock;

/// An instruction-set level. Every kernel exists at every level and gives the same bits at each of them
/// (see the crate documentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, one value at a time: the reference, and the fallback for other processors.
    Scalar,
    /// 256-bit vectors: AVX2 and FMA.
    Avx2,
    /// 512-bit vectors: AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
}

/// The environment variable that lowers the level: `scalar`, `avx2` or `avx512`.
pub const ISA_VARIABLE: &str = "K25_ISA";

/// The value of [`ISA_VARIABLE`] cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The word names no level.
    #[error(
        "{ISA_VARIABLE}={word:?} names no instruction set; hint: use scalar, avx2 or avx512, or unset it"
    )]
    Unknown {
        /// The word as found.
        word: String,
    },
    /// The processor lacks the level.
    #[error(
        "{ISA_VARIABLE} asks for {wanted}, but this processor offers {best} at most; hint: set {ISA_VARIABLE}={best} or unset it"
    )]
    Unsupported {
        /// The level asked for.
        wanted: &'static str,
        /// The best level here.
        best: &'static str,
    },
}

impl Isa {
    /// Every level, slowest first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The level's name, as [`ISA_VARIABLE`] spells it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The best level of this processor.
    pub fn best() -> Isa {
        Isa::ALL
            .into_iter()
            .rev()
            .find(|isa| isa.is_supported())
            .unwrap_or(Isa::Scalar)
    }

    /// Whether this processor can run the level.
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The levels that this processor can run, slowest first.
    pub fn supported() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_supported())
    }

    /// The level that `word` names, if this processor has it.
    pub fn parse(word: &str) -> Result<Isa, IsaError> {
        let wanted = Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == word)
            .ok_or_else(|| IsaError::Unknown {
                word: word.to_owned(),
            })?;
        if wanted.is_supported() {
            Ok(wanted)
        } else {
            Err(IsaError::Unsupported {
                wanted: wanted.name(),
                best: Isa::best().name(),
            })
        }
    }

    /// The level in force: the one that [`ISA_VARIABLE`] names, else the best one.
    pub fn from_environment() -> Result<Isa, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(word) => Isa::parse(&word),
            Err(std::env::VarError::NotPresent) => Ok(Isa::best()),
            Err(std::env::VarError::NotUnicode(word)) => Err(IsaError::Unknown {
                word: word.to_string_lossy().into_owned(),
            }),
        }
    }

    /// [`Isa::from_environment`], read once per process. A value that cannot be honoured counts as unset here;
    /// a program that wants to tell its user calls `from_environment` at start.
    pub fn active() -> Isa {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| Isa::from_environment().unwrap_or_else(|_| Isa::best()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_words_are_refused() {
        for isa in Isa::supported() {
            assert_eq!(Isa::parse(isa.name()), Ok(isa));
        }
        let error = Isa::parse("sse9").expect_err("no such level");
        assert!(error.to_string().contains("hint"), "{error}");
    }

    #[test]
    fn a_missing_level_is_refused_by_name() {
        if let Some(missing) = Isa::ALL.into_iter().find(|isa| !isa.is_supported()) {
            assert!(matches!(
                Isa::parse(missing.name()),
                Err(IsaError::Unsupported { .. })
            ));
        }
    }
}
