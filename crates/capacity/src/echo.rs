//! Burst echo: what has just arrived will arrive again. ⌈α × node-size that was submitted in the last minutes⌉ nodes.

use crate::past::Past;
use crate::policy::Policy;
use crate::shape::Shape;

/// Burst echo over one window of time, for several α.
#[derive(Debug)]
pub struct Echo {
    shape: Shape,
    window_ms: i64,
    /// α, thousandths.
    times_milli: Vec<u32>,
    /// Submissions from the first to before the second are in the window.
    window: (usize, usize),
    /// Their node-size, parts of a node.
    size: u128,
}

impl Echo {
    /// For each α in thousandths.
    pub fn new(shape: Shape, window_ms: i64, times_milli: Vec<u32>) -> Self {
        Self {
            shape,
            window_ms,
            times_milli,
            window: (0, 0),
            size: 0,
        }
    }

    /// Moves the window to (now − its length, now].
    fn move_to(&mut self, now_ms: i64, past: &Past<'_>) {
        let (mut from, mut to) = self.window;
        while let Some(gang) = past.submitted.get(to).filter(|gang| gang.at_ms <= now_ms) {
            self.size += u128::from(gang.size);
            to += 1;
        }
        while let Some(gang) = past.submitted[..to].get(from) {
            if gang.at_ms > now_ms - self.window_ms {
                break;
            }
            self.size -= u128::from(gang.size);
            from += 1;
        }
        self.window = (from, to);
    }
}

impl Policy for Echo {
    fn headroom(&mut self, now_ms: i64, past: &Past<'_>, nodes: &mut [u32]) {
        self.move_to(now_ms, past);
        for (nodes, &times_milli) in nodes.iter_mut().zip(&self.times_milli) {
            *nodes = self.shape.nodes(self.size, times_milli);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::Submitted;
    use crate::shape::Members;

    #[test]
    fn what_was_submitted_in_the_window_counts() {
        let shape = Shape::new(1_000, 1_000).unwrap();
        let gang = |at_ms, cpu_milli| Submitted {
            at_ms,
            profile: 0,
            members: [Members::default(); 2],
            size: shape.share(cpu_milli, 0),
        };
        let submitted = [gang(0, 500), gang(1, 500), gang(10, 250), gang(20, 1_000)];
        let mut echo = Echo::new(shape, 10, vec![0, 500, 1_000, 1_001]);
        for (now_ms, known, expected) in [
            (0, 1, [0, 1, 1, 1]),
            (9, 2, [0, 1, 1, 2]),
            // The one at 0 is just out of the window (0, 10].
            (10, 3, [0, 1, 1, 1]),
            (20, 4, [0, 1, 1, 2]),
            (1_000, 4, [0, 0, 0, 0]),
        ] {
            let past = Past {
                shape,
                submitted: &submitted[..known],
                ended: &[],
            };
            let mut nodes = [9; 4];
            echo.headroom(now_ms, &past, &mut nodes);
            assert_eq!(nodes, expected, "at {now_ms}");
        }
    }
}
