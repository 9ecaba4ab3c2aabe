//! Times as the prompt writes them.

/// Seconds as `HH:MM:SS.mmm`, wrapping after 24 hours.
///
/// The clock rounds to whole microseconds, half to even, and may so move to the next second;
/// milliseconds are cut off the unrounded fraction. The two can disagree in the last microsecond
/// before a second, and do so in the reference.
pub fn timestamp(seconds: f64) -> String {
    let fraction = seconds.rem_euclid(1.0);
    let carried = (fraction * 1e6).round_ties_even() >= 1e6;
    let whole = (seconds.floor().rem_euclid(86_400.0) as u64 + u64::from(carried)) % 86_400;
    let milliseconds = (fraction * 1_000.0) as u64;
    format!(
        "{:02}:{:02}:{:02}.{milliseconds:03}",
        whole / 3_600,
        whole / 60 % 60,
        whole % 60
    )
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn milliseconds_are_cut_off() {
        assert_eq!(timestamp(0.0), "00:00:00.000");
        assert_eq!(timestamp(69.0 / 29.97), "00:00:02.302");
        assert_eq!(timestamp(3_725.999_9), "01:02:05.999");
    }

    #[test]
    fn a_day_wraps() {
        assert_eq!(timestamp(86_400.0 + 61.5), "00:01:01.500");
    }

    #[test]
    fn the_clock_rounds_microseconds_and_the_milliseconds_do_not() {
        assert_eq!(timestamp(59.999_999_9), "00:01:00.999");
        assert_eq!(timestamp(86_399.999_999_9), "00:00:00.999");
    }
}
