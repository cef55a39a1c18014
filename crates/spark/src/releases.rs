//! What differs between Spark's releases, keys apart: a row for each. From which release on a key counts is said by
//! [`crate::conf`].

use crate::version::Version;

/// How a driver pod shows that it is of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Its label `spark-version` says so.
    Label,
    /// The Spark container has this environment variable.
    Env(&'static str),
    /// It has a volume of this name.
    Volume(&'static str),
    /// Nothing: it looks as that of the release before, and the same rules hold.
    None,
}

/// When a driver asks for the next executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextBatch {
    /// Only when all it has asked for run.
    OnceTheseRun,
    /// After a moment, whether or not those before it run.
    AfterMoments,
}

/// What is so in one minor release of Spark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    /// Its first version, `major.minor.0`.
    pub(crate) version: Version,
    /// What its driver pods show.
    pub(crate) sign: Sign,
    /// Values of `spark.kubernetes.allocation.pods.allocator` other than a class.
    pub(crate) allocators: &'static [&'static str],
    /// Executors that a driver asks for at a time, unless told otherwise.
    pub(crate) batch: u64,
    /// When it asks for the next.
    pub(crate) next_batch: NextBatch,
    /// The first executor is asked for alone, some tenths of a second before the others.
    pub(crate) first_alone: bool,
    /// An executor that the API server refuses counts as one that failed, of which a few end the application.
    pub(crate) refusal_fails: bool,
}

/// The releases, oldest first; each row says what is new in it.
///
/// Facts of releases without a recording (3.2, 3.4) are those of the release before.
pub(crate) const RELEASES: &[Release] = {
    const V2_4: Release = Release {
        version: Version::new(2, 4, 0),
        sign: Sign::Volume("spark-conf-volume"),
        allocators: &["direct"],
        batch: 5,
        next_batch: NextBatch::OnceTheseRun,
        first_alone: false,
        refusal_fails: false,
    };
    const V3_0: Release = Release {
        version: Version::new(3, 0, 0),
        sign: Sign::Env("SPARK_APPLICATION_ID"),
        ..V2_4
    };
    const V3_1: Release = Release {
        version: Version::new(3, 1, 0),
        sign: Sign::Volume("spark-conf-volume-driver"),
        // https://github.com/apache/spark/pull/30155
        next_batch: NextBatch::AfterMoments,
        ..V3_0
    };
    const V3_2: Release = Release {
        version: Version::new(3, 2, 0),
        sign: Sign::None,
        ..V3_1
    };
    const V3_3: Release = Release {
        version: Version::new(3, 3, 0),
        sign: Sign::Label,
        allocators: &["direct", "statefulset"],
        ..V3_2
    };
    const V3_4: Release = Release {
        version: Version::new(3, 4, 0),
        ..V3_3
    };
    const V3_5: Release = Release {
        version: Version::new(3, 5, 0),
        first_alone: true,
        ..V3_4
    };
    const V4_0: Release = Release {
        version: Version::new(4, 0, 0),
        batch: 10,
        ..V3_5
    };
    const V4_1: Release = Release {
        version: Version::new(4, 1, 0),
        ..V4_0
    };
    const V4_2: Release = Release {
        version: Version::new(4, 2, 0),
        allocators: &["direct", "statefulset", "deployment"],
        batch: 20,
        refusal_fails: true,
        ..V4_1
    };
    const V4_3: Release = Release {
        version: Version::new(4, 3, 0),
        ..V4_2
    };
    &[V2_4, V3_0, V3_1, V3_2, V3_3, V3_4, V3_5, V4_0, V4_1, V4_2, V4_3]
};

impl Release {
    /// The first that is known.
    pub(crate) const OLDEST: &Self = &RELEASES[0];
    /// The last that is known.
    pub(crate) const NEWEST: &Self = &RELEASES[RELEASES.len() - 1];

    /// The release of a version; where there is no row for it, the one before it, or the first.
    pub(crate) fn of(version: Version) -> &'static Self {
        let is_not_later = |row: &&Self| row.minor() <= (version.major, version.minor);
        RELEASES.iter().rev().find(is_not_later).unwrap_or(Self::OLDEST)
    }

    /// Whether a version is of this release.
    pub(crate) fn has(&self, version: Version) -> bool {
        self.minor() == (version.major, version.minor)
    }

    fn minor(&self) -> (u32, u32) {
        (self.version.major, self.version.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_their_order_and_differ_where_spark_does() {
        assert!(RELEASES.is_sorted_by(|earlier, later| earlier.version < later.version));
        for (version, batch, next_batch, first_alone, refusal_fails) in [
            ((2, 4, 8), 5, NextBatch::OnceTheseRun, false, false),
            ((3, 0, 3), 5, NextBatch::OnceTheseRun, false, false),
            ((3, 1, 3), 5, NextBatch::AfterMoments, false, false),
            ((3, 3, 4), 5, NextBatch::AfterMoments, false, false),
            ((3, 5, 9), 5, NextBatch::AfterMoments, true, false),
            ((4, 0, 5), 10, NextBatch::AfterMoments, true, false),
            ((4, 1, 4), 10, NextBatch::AfterMoments, true, false),
            ((4, 2, 1), 20, NextBatch::AfterMoments, true, true),
            ((4, 3, 0), 20, NextBatch::AfterMoments, true, true),
        ] {
            let version = Version::new(version.0, version.1, version.2);
            let release = Release::of(version);
            assert!(release.has(version), "{version}");
            let found = (
                release.batch,
                release.next_batch,
                release.first_alone,
                release.refusal_fails,
            );
            assert_eq!(found, (batch, next_batch, first_alone, refusal_fails), "{version}");
        }
    }

    #[test]
    fn a_version_without_a_row_is_of_the_release_before_it() {
        for (version, release) in [
            ((2, 3, 0), (2, 4)),
            ((0, 0, 0), (2, 4)),
            ((2, 9, 0), (2, 4)),
            ((3, 9, 1), (3, 5)),
            ((4, 4, 0), (4, 3)),
            ((u32::MAX, 0, 0), (4, 3)),
        ] {
            let version = Version::new(version.0, version.1, version.2);
            let found = Release::of(version);
            assert_eq!((found.minor(), found.has(version)), (release, false), "{version}");
        }
    }
}
