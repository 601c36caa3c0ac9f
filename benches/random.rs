//! Numbers without an order that anybody could foresee, the same in each run.

/// A generator (xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn seeded(seed: u64) -> Self {
        // Small seeds differ in few bits, and none may be zero.
        let mut random = Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 up to this limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0 up to 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How long it takes until something happens that happens once in `mean` on average, and at any time alike.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.part()).ln()
    }
}

/// Popularity as it is found on the web: the n-th is asked for 1 / n^`exponent` times as often as the first.
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// Of so many things.
    pub fn new(things: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=things).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(sums.collect())
    }

    /// One of them, the most popular is 0.
    pub fn draw(&self, random: &mut Random) -> usize {
        let point = random.part() * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum <= point).min(self.0.len() - 1)
    }
}
