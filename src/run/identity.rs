//! Which images a run makes: all that they depend on. Journals, outputs and shards of a run agree in it.

/// Which images a run makes: all that they depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the model's file.
    pub model: [u8; 32],
    /// SHA-256 of the condition vectors; zeros without.
    pub condition: [u8; 32],
    /// Seed of the draws.
    pub seed: u64,
    /// Number of the first image of the run.
    pub first: u64,
    /// Images in the run.
    pub count: u64,
    /// Rows of pixels.
    pub height: u32,
    /// Columns of pixels.
    pub width: u32,
    /// In which arithmetic they are drawn, as the engine calls it: another one's images are others. A journal
    /// with a longer one than 32 bytes can be written but not continued.
    pub arithmetic: String,
}

/// What differs, in words: `seed 1 instead of 2`; of the arithmetic with what to do.
pub fn difference(what: &str, found: &str, wanted: &str) -> String {
    let remedy = match what {
        "condition" | "condition_sha256" => {
            " (to go on, give the same conditions and codes: --given, --given-from, --latent, --sweep, --codes, --line)"
        }
        "arithmetic" => {
            " (to go on, give the --device that drew it: cpu for float32, cuda for bf16)"
        }
        _ => "",
    };
    format!("{what} {found} instead of {wanted}{remedy}")
}

/// A hash in hexadecimal.
pub fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

impl Identity {
    /// What differs from `other`, in words: `seed 1 instead of 2`.
    pub fn differences(&self, other: &Identity) -> Vec<String> {
        let pairs = [
            ("model", hex(&self.model), hex(&other.model)),
            ("condition", hex(&self.condition), hex(&other.condition)),
            ("seed", self.seed.to_string(), other.seed.to_string()),
            (
                "first image",
                self.first.to_string(),
                other.first.to_string(),
            ),
            ("count", self.count.to_string(), other.count.to_string()),
            (
                "image size",
                format!("{} x {}", self.height, self.width),
                format!("{} x {}", other.height, other.width),
            ),
            (
                "arithmetic",
                self.arithmetic.clone(),
                other.arithmetic.clone(),
            ),
        ];
        pairs
            .into_iter()
            .filter(|(_, mine, theirs)| mine != theirs)
            .map(|(what, mine, theirs)| difference(what, &mine, &theirs))
            .collect()
    }
}
