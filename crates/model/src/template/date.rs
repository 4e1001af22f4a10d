//! Dates for templates that print the day.

/// The C library's strftime in English and UTC, for the conversions that templates use.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    use std::fmt::Write as _;
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[(days % 7) as usize];
    // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let name = MONTHS[month as usize - 1];

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut conversion = chars.next();
        // The C library's flag for numbers without zeros before them.
        let bare = conversion == Some('-');
        if bare {
            conversion = chars.next();
        }
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let mut padded = |n: u64, width: usize| if bare { write!(out, "{n}") } else { write!(out, "{n:0width$}") };
        let written = match conversion {
            Some('y') => padded(year % 100, 2),
            Some('m') => padded(month, 2),
            Some('d') => padded(day, 2),
            Some('H') => padded(hour, 2),
            Some('I') => padded((hour + 11) % 12 + 1, 2),
            Some('M') => padded(minute, 2),
            Some('S') => padded(second, 2),
            Some('j') => padded(days - first_day(year) + 1, 3),
            Some('Y') => write!(out, "{year}"),
            Some('e') => write!(out, "{day:2}"),
            Some('B') => write!(out, "{name}"),
            Some('b' | 'h') => write!(out, "{}", &name[..3]),
            Some('A') => write!(out, "{weekday}"),
            Some('a') => write!(out, "{}", &weekday[..3]),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('F') => write!(out, "{year}-{month:02}-{day:02}"),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('R') => write!(out, "{hour:02}:{minute:02}"),
            Some('D') => write!(out, "{month:02}/{day:02}/{:02}", year % 100),
            // A time without a zone has neither.
            Some('Z' | 'z') => Ok(()),
            Some('%') => write!(out, "%"),
            other => {
                return Err(format!(
                    "strftime_now: expected one of %YymdeBbhAaHIMSpjFTRDZz, got %{}",
                    other.unwrap_or(' ')
                ));
            }
        };
        written.map_err(|e| e.to_string())?;
    }
    Ok(out)
}

/// The day on which a year begins, counted from 1970.
fn first_day(year: u64) -> u64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_c_library() {
        // date -u -d @1709211723 "+%A %a %d %e %B %b %Y %y-%m %H:%M:%S"
        let text = strftime("%A %a %d %e %B %b %Y %y-%m %H:%M:%S", 1_709_211_723).expect("known conversions");
        assert_eq!(text, "Thursday Thu 29 29 February Feb 2024 24-02 13:02:03");
        assert_eq!(strftime("%d %b %Y", 0).expect("known"), "01 Jan 1970");
        assert!(strftime("%Q", 0).expect_err("unknown").contains("got %Q"));
    }
}
