//! UTC dates of names and reports.

use std::fmt;

use crate::time::Nanos;

const NANOS_PER_SEC: i64 = 1_000_000_000;
const SECS_PER_DAY: i64 = 86_400;

/// A point in time as a date in UTC, to the second. Displays as RFC 3339: `2026-11-24T10:15:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Utc {
    /// The date of `wall`, nanoseconds since the Unix epoch; leap seconds do not exist.
    pub fn from_wall(wall: Nanos) -> Self {
        let secs = wall.0.div_euclid(NANOS_PER_SEC);
        let (days, second) = (secs.div_euclid(SECS_PER_DAY), secs.rem_euclid(SECS_PER_DAY));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self { year, month, day, hour, minute, second }
    }

    /// Nanoseconds since the Unix epoch; `None` if it is no date, or too far off.
    pub fn wall(&self) -> Option<Nanos> {
        let is_date = (1..=12).contains(&self.month) && (1..=31).contains(&self.day);
        let is_time = (0..24).contains(&self.hour)
            && (0..60).contains(&self.minute)
            && (0..=60).contains(&self.second);
        let days = days_from_civil(self.year, self.month, self.day);
        let secs = days * SECS_PER_DAY + self.hour * 3600 + self.minute * 60 + self.second;
        (is_date && is_time).then(|| secs.checked_mul(NANOS_PER_SEC).map(Nanos)).flatten()
    }

    /// `20261124T101500Z`, the beginning of a run's name.
    pub fn compact(&self) -> String {
        let Self { year, month, day, hour, minute, second } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// `2026_11_24_10_15_00`, the name of a session in TensorBoard's layout.
    pub fn session(&self) -> String {
        let Self { year, month, day, hour, minute, second } = self;
        format!("{year:04}_{month:02}_{day:02}_{hour:02}_{minute:02}_{second:02}")
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's
/// "chrono-compatible low-level date algorithms": years begin in March, so that the leap day is
/// their last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`], after the same source.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::Utc;
    use crate::time::Nanos;

    #[test]
    fn dates() {
        let check = |secs: i64, expected: &str| {
            let date = Utc::from_wall(Nanos(secs * 1_000_000_000));
            assert_eq!(date.to_string(), expected);
            assert_eq!(date.wall(), Some(Nanos(secs * 1_000_000_000)));
        };
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_709_251_199, "2024-02-29T23:59:59Z");
        check(1_795_515_300, "2026-11-24T10:15:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        let stamp = Utc::from_wall(Nanos(1_795_515_300_999_999_999));
        assert_eq!(stamp.compact(), "20261124T101500Z");
        assert_eq!(stamp.session(), "2026_11_24_10_15_00");
    }

    #[test]
    fn the_whole_range_has_dates() {
        assert!(Utc::from_wall(Nanos(i64::MIN)).to_string().starts_with("1677-"));
        assert!(Utc::from_wall(Nanos(i64::MAX)).to_string().starts_with("2262-"));
    }
}
