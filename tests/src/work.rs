//! One person's work as a list of pushes: from a recorded trace, from a repository's history, or made from a seed.

mod history;

use crate::trace::{Trace, Views};
use anyhow::{Context, Result};

/// What one push carries: contents by changed key, `None` for a document that goes.
pub type Step = Vec<(String, Option<Vec<u8>>)>;

/// Work to replay.
pub struct Work {
    /// What it is, for people.
    pub title: String,
    /// The pushes, in order.
    pub steps: Box<dyn Iterator<Item = Result<Step>>>,
    /// How many there are.
    pub count: usize,
    /// What the last push leaves in the trace's document, where that is known from elsewhere.
    pub end: Option<String>,
}

/// The document a trace is written into.
pub const TRACE_KEY: &str = "files/trace/text.txt";

impl Work {
    /// A one-writer trace, cut into windows of `interval_ms`.
    pub fn of_trace(title: &str, trace: Trace, interval_ms: u64) -> Work {
        let windows = trace.windows(interval_ms);
        let (count, end) = (windows.len(), Some(trace.end.clone()));
        let mut views = Views::new(trace);
        let steps = windows.into_iter().map(move |window| {
            let burst = views.play(window)?.pop().context("a window without writing")?;
            Ok(vec![(TRACE_KEY.to_owned(), Some(burst.after.into_bytes()))])
        });
        Work { title: title.to_owned(), steps: Box::new(steps), count, end }
    }

    /// The last `commits_max` commits of the repository this process stands in: each commit's versions of the files
    /// it changed. `None` where there is no repository, no git, or no commit.
    pub fn of_history(commits_max: usize) -> Result<Option<Work>> {
        let commits = history::commits(commits_max);
        if commits.is_empty() {
            return Ok(None);
        }
        let (count, mut contents) = (commits.len(), history::Contents::open()?);
        let steps = commits.into_iter().map(move |commit| contents.step(&commit));
        let title = format!("the last {count} commits of this repository");
        Ok(Some(Work { title, steps: Box::new(steps), count, end: None }))
    }

    /// Work made from a seed: eight files that grow, shrink and change line by line.
    pub fn of_seed(seed: u64, pushes: usize) -> Work {
        let mut random = Random(seed);
        let mut files: Vec<Vec<String>> = vec![Vec::new(); 8];
        let steps = (0..pushes).map(move |push| {
            let file = random.below(files.len());
            let lines = &mut files[file];
            for _ in 0..=random.below(3) {
                let at = random.below(lines.len() + 1);
                let line = format!("push {push}: {:x} {:x}\n", random.next(), random.next());
                match random.below(4) {
                    0 if at < lines.len() => drop(lines.remove(at)),
                    1 if at < lines.len() => lines[at] = line,
                    _ => lines.insert(at, line),
                }
            }
            Ok(vec![(format!("files/seeded/{file}.txt"), Some(lines.concat().into_bytes()))])
        });
        Work {
            title: format!("work made from seed {seed}"),
            steps: Box::new(steps),
            count: pushes,
            end: None,
        }
    }

    /// Only the first `pushes`.
    pub fn first(self, pushes: usize) -> Work {
        if pushes >= self.count {
            return self;
        }
        let title = format!("{}, the first {pushes} pushes of {}", self.title, self.count);
        Work { title, steps: Box::new(self.steps.take(pushes)), count: pushes, end: None }
    }
}

/// Numbers from a seed (SplitMix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
