//! Which frames are sampled, in Python's and numpy's arithmetic.

/// How many frames are sampled: never more than there are, at least one.
pub(super) fn sample_count(frames: usize, fps: f64, sample_fps: f64) -> usize {
    let wanted = (frames as f64 * sample_fps.min(fps) / fps).round_ties_even();
    (wanted as usize).max(1)
}

/// The sampled frames of a video of `frames` frames at `fps` frames per second: spread evenly from
/// the first to the last, each position rounded half to even.
pub fn sampled_indices(frames: usize, fps: f64, sample_fps: f64) -> Vec<usize> {
    let count = sample_count(frames, fps, sample_fps);
    let last = frames.saturating_sub(1) as f64;
    if count == 1 {
        return vec![0];
    }
    let step = last / (count - 1) as f64;
    let position = |index: usize| {
        if index == count - 1 {
            last
        } else {
            index as f64 * step
        }
    };
    (0..count)
        .map(|index| position(index).round_ties_even() as usize)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_frame() {
        // 11 frames at 8 per second: 2.75 samples round to 3, at 0, 5 and 10.
        assert_eq!(sampled_indices(11, 8.0, 2.0), [0, 5, 10]);
        // 10 frames at 8 per second: 2.5 samples round to 2.
        assert_eq!(sampled_indices(10, 8.0, 2.0), [0, 9]);
        // Positions 0, 1.5, 3: the half goes to 2.
        assert_eq!(sampled_indices(4, 8.0 / 3.0, 2.0), [0, 2, 3]);
    }

    #[test]
    fn a_slow_video_is_taken_whole() {
        assert_eq!(sampled_indices(5, 1.0, 2.0), [0, 1, 2, 3, 4]);
        assert_eq!(sampled_indices(1, 30.0, 2.0), [0]);
        assert_eq!(sampled_indices(3, 1_000.0, 2.0), [0]);
    }
}
