//! A question cut into pieces that a server can take.

use kompass_history::questions::Question;

/// Points of a series that a Prometheus gives at most.
pub(crate) const MAX_POINTS: usize = 11_000;

/// Moments that are asked for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The first and the last one, milliseconds since 1970 UTC.
    pub(crate) moments: (i64, i64),
    pub(crate) step_ms: i64,
}

impl Piece {
    /// How many moments it has.
    fn points(&self) -> i64 {
        (self.moments.1 - self.moments.0) / self.step_ms + 1
    }

    /// Two halves, unless it is of one moment.
    pub(crate) fn halves(&self) -> Option<[Self; 2]> {
        let half = self.points() / 2;
        let (first, last) = self.moments;
        let middle = first + (half - 1) * self.step_ms;
        (half > 0).then_some([
            Self {
                moments: (first, middle),
                ..*self
            },
            Self {
                moments: (middle + self.step_ms, last),
                ..*self
            },
        ])
    }
}

/// The pieces of a question, none with more moments than the question or a Prometheus wants; last ones first, as they are
/// taken from the end.
pub(crate) fn pieces(question: &Question) -> Vec<Piece> {
    let step_ms = question.step_ms.max(1);
    let points = question.points.clamp(1, MAX_POINTS);
    let span = step_ms.saturating_mul(i64::try_from(points).unwrap_or(i64::MAX));
    let (mut first, last) = question.moments;
    let mut pieces = Vec::new();
    while first <= last {
        let next = first.saturating_add(span);
        let moments = (first, last.min(next - step_ms));
        pieces.push(Piece { moments, step_ms });
        first = next;
    }
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use kompass_history::questions::Topic;
    use proptest::prelude::*;

    use super::*;

    fn moments(piece: &Piece) -> Vec<i64> {
        let (first, last) = piece.moments;
        (0..piece.points())
            .map(|index| first + index * piece.step_ms)
            .filter(|&at| at <= last)
            .collect()
    }

    proptest! {
        #[test]
        fn pieces_and_halves_cover_each_moment_once(
            first in 0..1_000_i64, count in 0..500_i64, step_ms in 1..100_i64, points in 0..20_000_usize, cuts in 0..9_usize,
        ) {
            let question = Question {
                topic: Topic::Total,
                promql: String::new(),
                moments: (first * step_ms, (first + count) * step_ms),
                step_ms,
                points,
            };
            let all: Vec<i64> = (first..=first + count).map(|index| index * step_ms).collect();
            let mut pieces = pieces(&question);
            prop_assert!(pieces.iter().all(|piece| piece.points() <= i64::try_from(points.clamp(1, MAX_POINTS)).unwrap()));
            for _ in 0..cuts {
                let piece = pieces.pop().unwrap();
                if let Some([one, other]) = piece.halves() {
                    pieces.extend([other, one]);
                } else {
                    prop_assert_eq!(piece.points(), 1);
                    pieces.push(piece);
                }
            }
            let covered: Vec<i64> = pieces.iter().rev().flat_map(moments).collect();
            prop_assert_eq!(covered, all);
        }
    }

    #[test]
    fn a_question_without_moments_has_no_pieces() {
        let question = Question {
            topic: Topic::Total,
            promql: String::new(),
            moments: (1, 0),
            step_ms: 1,
            points: 1,
        };
        assert_eq!(pieces(&question), []);
    }
}
