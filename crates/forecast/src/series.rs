//! A quantity per bucket of time: how many gangs arrived, or how large they were.

/// Buckets of one series at most: four years of five minutes.
pub const MAX_BUCKETS: usize = 4 * 366 * 288;

/// Why a series was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A bucket without a length.
    #[error("failed to make a series: its buckets are 0 ms long; give them a length")]
    Bucket,
    /// Too many buckets.
    #[error("failed to make a series: {0} buckets are more than {MAX_BUCKETS}; take longer buckets or a shorter time")]
    Long(usize),
    /// A value that no count or size can have.
    #[error(
        "failed to make a series: bucket {index} holds {value}; a value is finite and not below 0, or NaN for unknown"
    )]
    Value {
        /// Which bucket.
        index: usize,
        /// What it holds.
        value: f64,
    },
}

/// One gang that has been submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// How many nodes it fills, thousandths: the larger one of its shares of a node's CPU and memory.
    pub size_milli: u64,
}

/// What of the arrivals is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Gangs.
    Gangs,
    /// Nodes that they fill.
    Nodes,
}

/// Values per bucket, equal in length and without a hole between them; a bucket that nobody has seen is *unknown*.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    start_ms: u64,
    bucket_ms: u64,
    /// NaN: unknown.
    values: Vec<f64>,
}

impl Series {
    /// Buckets of `bucket_ms` from `start_ms` (milliseconds since 1970 UTC) on; NaN for an unknown one.
    pub fn new(start_ms: u64, bucket_ms: u64, values: Vec<f64>) -> Result<Self, Error> {
        if bucket_ms == 0 {
            return Err(Error::Bucket);
        }
        if values.len() > MAX_BUCKETS {
            return Err(Error::Long(values.len()));
        }
        if let Some((index, &value)) = values.iter().enumerate().find(|(_, value)| !allowed(**value)) {
            return Err(Error::Value { index, value });
        }
        Ok(Self {
            start_ms,
            bucket_ms,
            values,
        })
    }

    /// Arrivals in any order, counted from `start_ms` to before `end_ms`; a bucket that would end after that is left out,
    /// since more may arrive in it.
    pub fn of_arrivals(
        arrivals: &[Arrival],
        measure: Measure,
        start_ms: u64,
        end_ms: u64,
        bucket_ms: u64,
    ) -> Result<Self, Error> {
        let buckets = end_ms
            .saturating_sub(start_ms)
            .checked_div(bucket_ms)
            .ok_or(Error::Bucket)?;
        let buckets = usize::try_from(buckets).unwrap_or(usize::MAX);
        if buckets > MAX_BUCKETS {
            return Err(Error::Long(buckets));
        }
        let mut sums = vec![0_u64; buckets];
        for arrival in arrivals {
            let Some(since_ms) = arrival.at_ms.checked_sub(start_ms) else {
                continue;
            };
            let index = usize::try_from(since_ms / bucket_ms).unwrap_or(usize::MAX);
            if let Some(sum) = sums.get_mut(index) {
                let amount = match measure {
                    Measure::Gangs => 1,
                    Measure::Nodes => arrival.size_milli,
                };
                *sum = sum.saturating_add(amount);
            }
        }
        let unit = match measure {
            Measure::Gangs => 1.0,
            Measure::Nodes => 1_000.0,
        };
        Self::new(
            start_ms,
            bucket_ms,
            sums.into_iter().map(|sum| sum as f64 / unit).collect(),
        )
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Length of a bucket, milliseconds.
    pub fn bucket_ms(&self) -> u64 {
        self.bucket_ms
    }

    /// When a bucket begins, milliseconds since 1970 UTC; it need not be one of the series yet.
    pub fn time_ms(&self, index: usize) -> u64 {
        let buckets = u64::try_from(index).unwrap_or(u64::MAX);
        self.start_ms.saturating_add(buckets.saturating_mul(self.bucket_ms))
    }

    /// What a bucket holds, if that is known.
    pub fn value(&self, index: usize) -> Option<f64> {
        self.values.get(index).copied().filter(|value| !value.is_nan())
    }

    /// What a window of buckets holds together, if all of it is known.
    pub fn sum(&self, first: usize, buckets: usize) -> Option<f64> {
        (first..first.checked_add(buckets)?)
            .map(|index| self.value(index))
            .sum()
    }

    /// Adds the next bucket; `None` if nobody has seen it.
    pub fn push(&mut self, value: Option<f64>) -> Result<(), Error> {
        let index = self.values.len();
        if index >= MAX_BUCKETS {
            return Err(Error::Long(index + 1));
        }
        let value = value.unwrap_or(f64::NAN);
        if !allowed(value) {
            return Err(Error::Value { index, value });
        }
        self.values.push(value);
        Ok(())
    }

    /// The same series as it was when it had `buckets` buckets.
    #[must_use]
    pub fn before(&self, buckets: usize) -> Self {
        Self {
            values: self.values[..buckets.min(self.values.len())].to_vec(),
            ..*self
        }
    }

    /// What is left of each bucket when `certain` is taken away.
    pub(crate) fn less(&self, certain: &[f64]) -> Self {
        let certain = certain.iter().copied().chain(std::iter::repeat(0.0));
        let rest = self.values.iter().zip(certain);
        Self {
            // An unknown bucket stays so: `f64::max` would make 0 of it.
            values: rest
                .map(|(value, certain)| {
                    if value.is_nan() {
                        *value
                    } else {
                        (value - certain).max(0.0)
                    }
                })
                .collect(),
            ..*self
        }
    }
}

fn allowed(value: f64) -> bool {
    value.is_nan() || (value.is_finite() && value >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals() -> Vec<Arrival> {
        [(99, 1), (100, 500), (349, 250), (160, 2_000), (399, 7), (400, 9)]
            .map(|(at_ms, size_milli)| Arrival { at_ms, size_milli })
            .to_vec()
    }

    #[test]
    fn counts_gangs_and_nodes_in_whole_buckets() {
        let gangs = Series::of_arrivals(&arrivals(), Measure::Gangs, 100, 399, 100).unwrap();
        assert_eq!(gangs, Series::new(100, 100, vec![2.0, 0.0]).unwrap());
        let nodes = Series::of_arrivals(&arrivals(), Measure::Nodes, 100, 400, 100).unwrap();
        assert_eq!(nodes, Series::new(100, 100, vec![2.5, 0.0, 0.257]).unwrap());
    }

    #[test]
    fn refuses_what_no_count_can_be() {
        assert_eq!(Series::new(0, 0, vec![]), Err(Error::Bucket));
        assert_eq!(Series::of_arrivals(&[], Measure::Gangs, 0, 9, 0), Err(Error::Bucket));
        assert_eq!(
            Series::of_arrivals(&[], Measure::Gangs, 0, u64::MAX, 1),
            Err(Error::Long(usize::try_from(u64::MAX).unwrap()))
        );
        for value in [f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            let error = Err(Error::Value { index: 1, value });
            assert_eq!(Series::new(0, 1, vec![1.0, value]), error);
            assert_eq!(
                Series::new(0, 1, vec![1.0]).unwrap().push(Some(value)),
                error.map(|_| ())
            );
        }
    }

    #[test]
    fn a_window_with_an_unknown_bucket_is_unknown() {
        let series = Series::new(0, 1, vec![1.0, 2.0, f64::NAN, 4.0]).unwrap();
        assert_eq!(
            (series.sum(0, 2), series.sum(1, 2), series.sum(3, 2)),
            (Some(3.0), None, None)
        );
        assert_eq!(series.less(&[0.5, 3.0, 1.0]).sum(0, 2), Some(0.5));
        assert_eq!(series.less(&[0.5, 3.0, 1.0]).value(2), None);
    }
}
