//! Texts to measure on, the same in every run.

/// A small generator, so that a bench needs no other data than its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal texts.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// A text like source code of about `bytes`: indented lines of words, a fifth of them common ones.
pub fn source(seed: u64, bytes: usize) -> String {
    const COMMON: [&str; 6] = ["}", "", "    }", "        return;", "    });", "    else {"];
    let mut random = Random::new(seed);
    let mut text = String::new();
    while text.len() < bytes {
        if random.below(5) == 0 {
            text.push_str(COMMON[random.below(COMMON.len())]);
        } else {
            text.push_str(&"    ".repeat(random.below(4)));
            for _ in 0..=random.below(7) {
                text.push_str(&format!("w{} ", random.below(900)));
            }
        }
        text.push('\n');
    }
    text
}

/// `text` with `edits` lines changed, of those whose number is `side` modulo four: two sides never touch.
pub fn edited(text: &str, seed: u64, edits: usize, side: usize) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let mut random = Random::new(seed);
    let places = lines.len() / 4;
    for _ in 0..edits {
        let at = random.below(places) * 4 + side;
        match (random.below(3), lines.get_mut(at)) {
            (0, Some(line)) => line.clear(),
            (1, Some(line)) => line.push_str(&format!("    inserted {}\n", random.below(1000))),
            (_, Some(line)) => *line = format!("    changed {}\n", random.below(1000)),
            (_, None) => {}
        }
    }
    lines.concat()
}
