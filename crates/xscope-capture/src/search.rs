//! The search for the largest rate that holds: doubling until one fails, halving the ratio of the
//! bracket, and a longer run of what came out of it. Pure.

/// A rate to try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub per_sec: f64,
    /// Whether it is the last word on a rate that held before, which chance may have helped.
    pub confirms: bool,
}

/// What is known so far.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    start: f64,
    /// The bracket is narrow enough when its ends differ by this share.
    precision: f64,
    /// Rates that held, ascending, all below `fails`.
    held: Vec<f64>,
    fails: Option<f64>,
    confirmed: bool,
}

/// How many times the first rate is halved before it is given up.
const MOST_HALVINGS: i32 = 10;

/// No client sends more requests a second.
const MOST_PER_SEC: f64 = 1e5;

impl Search {
    /// Begins at `start` requests per second.
    pub(crate) fn new(start: f64, precision: f64) -> Self {
        Self { start, precision, held: Vec::new(), fails: None, confirmed: false }
    }

    /// What to try next; `None` when it is over.
    pub(crate) fn next(&self) -> Option<Rate> {
        let rate = |per_sec| Some(Rate { per_sec, confirms: false });
        match (self.held.last().copied(), self.fails) {
            (None, None) => rate(self.start),
            (None, Some(fails)) if fails / 2.0 < self.start * 0.5_f64.powi(MOST_HALVINGS) => None,
            (None, Some(fails)) => rate(fails / 2.0),
            (Some(held), None) if held < MOST_PER_SEC => rate(2.0 * held),
            (Some(held), Some(fails)) if fails / held > 1.0 + self.precision => {
                rate((held * fails).sqrt())
            }
            (Some(_), _) if self.confirmed => None,
            (Some(per_sec), _) => Some(Rate { per_sec, confirms: true }),
        }
    }

    /// Takes what came of a rate.
    pub(crate) fn tell(&mut self, rate: Rate, holds: bool) {
        if !holds {
            self.fails = Some(self.fails.map_or(rate.per_sec, |fails| fails.min(rate.per_sec)));
            self.held.retain(|&held| held < rate.per_sec);
            self.confirmed = false;
        } else if rate.confirms {
            self.confirmed = true;
        } else {
            self.held.push(rate.per_sec);
        }
    }

    /// The largest rate that held.
    pub(crate) fn holds(&self) -> Option<f64> {
        self.held.last().copied()
    }

    /// The smallest rate that failed.
    pub(crate) fn fails(&self) -> Option<f64> {
        self.fails
    }

    /// Whether the largest rate that held has held in the longer run, too.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where exactly what `holds` says does.
    fn search(start: f64, mut holds: impl FnMut(Rate) -> bool) -> (Search, Vec<Rate>) {
        let mut search = Search::new(start, 0.05);
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            assert!(rates.len() < 60, "it does not end: {rates:?}");
            rates.push(rate);
            search.tell(rate, holds(rate));
        }
        (search, rates)
    }

    #[test]
    fn it_finds_the_capacity_from_both_sides() {
        for capacity in [0.3, 1.0, 7.3, 99.0, 1234.0] {
            for start in [1.0, 50.0, 100.0] {
                let (search, rates) = search(start, |rate| rate.per_sec <= capacity);
                let (holds, fails) = (search.holds().unwrap(), search.fails().unwrap());
                assert!(holds <= capacity && capacity < fails && fails / holds <= 1.05 + 1e-9);
                assert!(search.is_confirmed() && rates.last().unwrap().confirms);
            }
        }
    }

    #[test]
    fn what_held_by_luck_does_not_win() {
        // 20 requests a second hold in short rates only.
        let (search, _) = search(4.0, |rate| match rate.confirms {
            true => rate.per_sec <= 10.0,
            false => rate.per_sec <= 20.0,
        });
        let holds = search.holds().unwrap();
        assert!(holds <= 10.0 && search.is_confirmed(), "{holds}");
    }

    #[test]
    fn nothing_holds_and_everything_holds() {
        let (nothing, rates) = search(8.0, |_| false);
        assert_eq!(nothing.holds(), None);
        assert_eq!(rates.len(), 11);
        let (all, _) = search(8.0, |_| true);
        assert!(all.holds().unwrap() >= MOST_PER_SEC && all.fails().is_none());
    }
}
