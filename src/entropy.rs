//! The source of randomness, as a parameter. `app` makes the one [`SystemEntropy`]; tests may make their own.

/// A cryptographic source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);

    /// 16 random bytes as 32 hexadecimal digits: change ids, node ids, incarnations.
    fn hex128(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        format!("{:032x}", u128::from_be_bytes(bytes))
    }
}

/// The operating system's generator (`getrandom(2)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // There is no answer to a kernel without randomness: keys made then would be guessable.
        #[allow(clippy::disallowed_methods, reason = "the one place where the program asks for randomness")]
        #[allow(clippy::expect_used, reason = "a process without a random source must not go on")]
        getrandom::fill(out).expect("the operating system's random source works");
    }
}
