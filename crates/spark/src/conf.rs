//! The keys of Spark's configuration that decide about a gang, and from which version on each counts.
//!
//! `spark.properties` holds everything that a user passed, secrets too. Only whitelisted keys are ever decoded and
//! kept, and no text made here holds a value.

use std::collections::BTreeMap;
use std::fmt;

use kompass_core::quantity;

use crate::explain::{Consulted, Field, Use};
use crate::properties;
use crate::units::{self, Unit};
use crate::version::Version;

/// Longer values of a kept key are a mistake.
const MAX_VALUE_BYTES: usize = 4096;
/// More node selectors or resource keys than this are a mistake.
const MAX_FAMILY_ENTRIES: usize = 256;
/// More warnings than this tell nothing new.
const MAX_WARNINGS: usize = 20;

/// A key that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is documented by its name in RULES")]
pub enum Key {
    AllocationBatchDelay,
    AllocationBatchSize,
    AllocationMaximum,
    DriverMaster,
    DynamicAllocation,
    ExecutorCores,
    ExecutorInstances,
    ExecutorLimitCores,
    ExecutorMemory,
    ExecutorMemoryOverhead,
    ExecutorMemoryOverheadFactor,
    ExecutorMinMemoryOverhead,
    ExecutorPysparkMemory,
    ExecutorRequestCores,
    ExecutorScheduler,
    ExecutorTemplateContainer,
    ExecutorTemplateFile,
    InitialExecutors,
    MaxExecutors,
    MaxPendingPods,
    MemoryOverheadFactor,
    MinExecutors,
    OffHeapEnabled,
    OffHeapSize,
    PodsAllocator,
    ResourceType,
    Scheduler,
}

/// Keys with a part that the user chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `spark.kubernetes.node.selector.<label>`.
    NodeSelector,
    /// `spark.kubernetes.executor.node.selector.<label>`.
    ExecutorNodeSelector,
    /// `spark.executor.resource.<name>.amount` and `.vendor`.
    ExecutorResource,
    /// `spark.kubernetes.executor.label.<label>`.
    ExecutorLabel,
}

/// What a key is called, and since which version a cluster's executors follow it. Unknown keys travel silently
/// through Spark's configuration, so that a key is there does not say that Spark honoured it.
const RULES: [(Key, &str, Version); 27] = {
    const V2_4: Version = Version::OLDEST;
    const V3_0: Version = Version::new(3, 0, 0);
    const V3_1: Version = Version::new(3, 1, 0);
    const V3_2: Version = Version::new(3, 2, 0);
    const V3_3: Version = Version::new(3, 3, 0);
    const V3_4: Version = Version::new(3, 4, 0);
    const V4_0: Version = Version::new(4, 0, 0);
    const V4_1: Version = Version::new(4, 1, 0);
    [
        (
            Key::AllocationBatchDelay,
            "spark.kubernetes.allocation.batch.delay",
            V2_4,
        ),
        (Key::AllocationBatchSize, "spark.kubernetes.allocation.batch.size", V2_4),
        (Key::AllocationMaximum, "spark.kubernetes.allocation.maximum", V4_1),
        // The key is of 3.0; only 3.4 lets it be local: https://github.com/apache/spark/pull/39748
        (Key::DriverMaster, "spark.kubernetes.driver.master", V3_4),
        (Key::DynamicAllocation, "spark.dynamicAllocation.enabled", V2_4),
        (Key::ExecutorCores, "spark.executor.cores", V2_4),
        (Key::ExecutorInstances, "spark.executor.instances", V2_4),
        (Key::ExecutorLimitCores, "spark.kubernetes.executor.limit.cores", V2_4),
        (Key::ExecutorMemory, "spark.executor.memory", V2_4),
        (Key::ExecutorMemoryOverhead, "spark.executor.memoryOverhead", V2_4),
        (
            Key::ExecutorMemoryOverheadFactor,
            "spark.executor.memoryOverheadFactor",
            V3_3,
        ),
        (Key::ExecutorMinMemoryOverhead, "spark.executor.minMemoryOverhead", V4_0),
        (Key::ExecutorPysparkMemory, "spark.executor.pyspark.memory", V2_4),
        (
            Key::ExecutorRequestCores,
            "spark.kubernetes.executor.request.cores",
            V2_4,
        ),
        (Key::ExecutorScheduler, "spark.kubernetes.executor.scheduler.name", V3_0),
        (
            Key::ExecutorTemplateContainer,
            "spark.kubernetes.executor.podTemplateContainerName",
            V3_0,
        ),
        (
            Key::ExecutorTemplateFile,
            "spark.kubernetes.executor.podTemplateFile",
            V3_0,
        ),
        (Key::InitialExecutors, "spark.dynamicAllocation.initialExecutors", V2_4),
        (Key::MaxExecutors, "spark.dynamicAllocation.maxExecutors", V2_4),
        (Key::MaxPendingPods, "spark.kubernetes.allocation.maxPendingPods", V3_2),
        (Key::MemoryOverheadFactor, "spark.kubernetes.memoryOverheadFactor", V2_4),
        (Key::MinExecutors, "spark.dynamicAllocation.minExecutors", V2_4),
        // The keys are of 1.6; the size of executor pods follows them since 3.1.
        (Key::OffHeapEnabled, "spark.memory.offHeap.enabled", V3_1),
        (Key::OffHeapSize, "spark.memory.offHeap.size", V3_1),
        (Key::PodsAllocator, "spark.kubernetes.allocation.pods.allocator", V3_3),
        (Key::ResourceType, "spark.kubernetes.resource.type", V2_4),
        (Key::Scheduler, "spark.kubernetes.scheduler.name", V3_3),
    ]
};

/// The same for families, by prefix.
const FAMILIES: [(Family, &str, Version); 4] = [
    (Family::NodeSelector, "spark.kubernetes.node.selector.", Version::OLDEST),
    (
        Family::ExecutorNodeSelector,
        "spark.kubernetes.executor.node.selector.",
        Version::new(3, 3, 0),
    ),
    (
        Family::ExecutorResource,
        "spark.executor.resource.",
        Version::new(3, 0, 0),
    ),
    (
        Family::ExecutorLabel,
        "spark.kubernetes.executor.label.",
        Version::OLDEST,
    ),
];

impl Key {
    /// Every key.
    pub const ALL: [Self; RULES.len()] = {
        let mut all = [Self::AllocationBatchSize; RULES.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = RULES[index].0;
            index += 1;
        }
        all
    };

    /// The key's name in the configuration.
    pub fn name(self) -> &'static str {
        self.rule().1
    }

    /// The version since which executors follow the key.
    pub fn since(self) -> Version {
        self.rule().2
    }

    fn rule(self) -> (Self, &'static str, Version) {
        // The table is in the order of the enum, which a test holds.
        RULES[self as usize]
    }

    fn by_name(name: &str) -> Option<Self> {
        RULES.iter().find(|(_, known, _)| *known == name).map(|&(key, ..)| key)
    }
}

impl Family {
    fn rule(self) -> (&'static str, Version) {
        let (_, prefix, since) = FAMILIES[self as usize];
        (prefix, since)
    }

    /// Family and the user's part of a key.
    fn by_name(name: &str) -> Option<(Self, &str)> {
        FAMILIES
            .iter()
            .find_map(|&(family, prefix, _)| Some((family, name.strip_prefix(prefix)?)))
    }
}

/// The kept part of an application's configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conf {
    values: BTreeMap<Key, String>,
    families: BTreeMap<(Family, String), String>,
    warnings: Vec<String>,
}

/// Names of keys only: values may be secrets.
impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = self
            .families
            .keys()
            .map(|(family, rest)| format!("{}{rest}", family.rule().0));
        f.debug_set()
            .entries(self.values.keys().map(|key| key.name()))
            .entries(families)
            .finish()
    }
}

impl Conf {
    /// Reads the kept keys of a text in Java's properties format, however long it is.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut dropped = false;
        for entry in properties::entries(text) {
            let Ok(name) = entry.key() else { continue };
            let (key, family) = (Key::by_name(&name), Family::by_name(&name));
            if key.is_none() && family.is_none() {
                continue;
            }
            // Whatever a key said before: its last entry counts, also when that can't be read.
            if let Some(key) = key {
                conf.values.remove(&key);
            }
            let value = match entry.value() {
                Ok(value) if value.len() <= MAX_VALUE_BYTES => value.trim().to_owned(),
                Ok(_) => {
                    warn(
                        &mut conf.warnings,
                        format!("{}: ignored, its value is too long", shown(&name)),
                    );
                    continue;
                }
                Err(error) => {
                    warn(&mut conf.warnings, format!("{}: ignored, {error}", shown(&name)));
                    continue;
                }
            };
            if let Some(key) = key {
                conf.values.insert(key, value);
            } else if let Some((family, rest)) = family {
                if conf.families.len() < MAX_FAMILY_ENTRIES && rest.len() <= MAX_VALUE_BYTES {
                    conf.families.insert((family, rest.to_owned()), value);
                } else {
                    dropped = true;
                }
            }
        }
        if dropped {
            warn(
                &mut conf.warnings,
                "some node selectors or resources are ignored: there are too many".to_owned(),
            );
        }
        conf
    }

    /// A reader for an application of this version.
    pub(crate) fn reader(&self, version: Version) -> Reader<'_> {
        Reader {
            conf: self,
            version,
            warnings: self.warnings.clone(),
            field: Field::Executor,
            consulted: Vec::new(),
        }
    }
}

/// Reads values as one version of Spark does, and collects what was wrong with them.
///
/// Each getter answers `None` for a key that isn't set, that this version does not know, or whose value can't be
/// read; the last with a warning.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    conf: &'a Conf,
    version: Version,
    warnings: Vec<String>,
    /// What is being worked out.
    field: Field,
    consulted: Vec<(Field, Consulted)>,
}

impl<'a> Reader<'a> {
    /// What follows is read for this field of the profile.
    pub(crate) fn about(&mut self, field: Field) {
        self.field = field;
    }

    pub(crate) fn text(&mut self, key: Key) -> Option<&'a str> {
        let (value, counts) = (self.conf.values.get(&key), self.version >= key.since());
        let used = match (value, counts) {
            (None, _) => Use::Unset,
            (Some(_), true) => Use::Set,
            (Some(_), false) => Use::NotYet,
        };
        self.consult(key.name().to_owned(), used);
        value.filter(|_| counts).map(String::as_str)
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// A size in MiB; `unit` is that of a number without suffix.
    pub(crate) fn mebibytes(&mut self, key: Key, unit: Unit) -> Option<u64> {
        let per_mebibyte = if unit == Unit::Byte { 1 << 20 } else { 1 };
        self.parsed(key, "a size such as 512m or 2g", |text| {
            units::size(text, unit).map(|size| size / per_mebibyte)
        })
    }

    pub(crate) fn integer(&mut self, key: Key) -> Option<u64> {
        self.parsed(key, "a whole number from 0 to 2147483647", units::integer)
    }

    /// A span of time in milliseconds, which is also the unit of a number without suffix.
    pub(crate) fn milliseconds(&mut self, key: Key) -> Option<u64> {
        self.parsed(key, "a time such as 1s or 500ms", units::milliseconds)
    }

    pub(crate) fn boolean(&mut self, key: Key) -> Option<bool> {
        self.parsed(key, "true or false", units::boolean)
    }

    pub(crate) fn factor(&mut self, key: Key) -> Option<f64> {
        self.parsed(key, "a number from 0 to 1000", units::factor)
    }

    /// CPU in thousandths, of a Kubernetes quantity.
    pub(crate) fn cpu_milli(&mut self, key: Key) -> Option<u64> {
        self.parsed(key, "a CPU amount such as 2 or 1500m", |text| {
            quantity::milli(text).ok()
        })
    }

    /// The user's part of each key of a family, and its value.
    pub(crate) fn family(&mut self, family: Family) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (prefix, since) = family.rule();
        let (conf, counts) = (self.conf, self.version >= since);
        let entries = conf.families.iter().filter(move |((of, _), _)| *of == family);
        for ((_, rest), _) in entries.clone() {
            let used = if counts { Use::Set } else { Use::NotYet };
            self.consult(format!("{prefix}{rest}"), used);
        }
        entries
            .filter(move |_| counts)
            .map(|((_, rest), value)| (rest.as_str(), value.as_str()))
    }

    /// Adds a warning, which must not hold a value.
    pub(crate) fn warn(&mut self, text: String) {
        warn(&mut self.warnings, text);
    }

    /// All warnings, and which keys were looked at for which field.
    pub(crate) fn finish(self) -> (Vec<String>, Vec<(Field, Consulted)>) {
        (self.warnings, self.consulted)
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    fn consult(&mut self, key: String, used: Use) {
        let consulted = (self.field, Consulted { key, used });
        if !self.consulted.contains(&consulted) {
            self.consulted.push(consulted);
        }
    }

    fn parsed<T>(&mut self, key: Key, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(self.text(key)?);
        if parsed.is_none() {
            self.consulted.pop();
            self.consult(key.name().to_owned(), Use::Unreadable);
            self.warn(format!("{}: not {expected}; Spark's default is used", key.name()));
        }
        parsed
    }
}

fn warn(warnings: &mut Vec<String>, text: String) {
    if warnings.len() < MAX_WARNINGS && !warnings.contains(&text) {
        warnings.push(text);
    }
}

/// A key as it may be shown: the user's part of it bounded.
fn shown(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tables_are_in_the_order_of_their_enums() {
        for (index, (key, ..)) in RULES.iter().enumerate() {
            assert_eq!(*key as usize, index, "{key:?}");
        }
        for (index, (family, ..)) in FAMILIES.iter().enumerate() {
            assert_eq!(*family as usize, index, "{family:?}");
        }
    }

    #[test]
    fn only_whitelisted_keys_are_kept_and_values_are_never_shown() {
        let conf = Conf::parse(
            "spark.hadoop.fs.s3a.secret.key=hunter2\nspark.executor.memory=2g\n\
             spark.kubernetes.node.selector.pool=hunter3\nspark.executor.instances=hunter4\n",
        );
        assert_eq!(
            format!("{conf:?}"),
            r#"{"spark.executor.instances", "spark.executor.memory", "spark.kubernetes.node.selector.pool"}"#
        );
        let mut reader = conf.reader(Version::NEWEST);
        assert_eq!(reader.integer(Key::ExecutorInstances), None);
        let warnings = reader.into_warnings();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].starts_with("spark.executor.instances: not a whole number"),
            "{warnings:?}"
        );
        assert!(!warnings[0].contains("hunter"));
    }

    #[test]
    fn the_last_entry_of_a_key_counts_even_when_it_is_bad() {
        let conf = Conf::parse("spark.executor.memory=2g\nspark.executor.memory=4g\n");
        assert_eq!(
            conf.reader(Version::NEWEST)
                .mebibytes(Key::ExecutorMemory, Unit::Mebibyte),
            Some(4096)
        );
        let conf = Conf::parse("spark.executor.memory=2g\nspark.executor.memory=\\u12\n");
        let mut reader = conf.reader(Version::NEWEST);
        assert_eq!(reader.mebibytes(Key::ExecutorMemory, Unit::Mebibyte), None);
        assert_eq!(reader.into_warnings().len(), 1);
    }

    #[test]
    fn a_key_counts_only_from_its_version_on() {
        let conf = Conf::parse(
            "spark.memory.offHeap.size=1g\nspark.executor.memoryOverheadFactor=0.2\n\
             spark.kubernetes.executor.node.selector.a=b\nspark.executor.resource.gpu.amount=1\n",
        );
        for (version, off_heap, factor, selectors, resources) in [
            (Version::new(2, 4, 8), None, None, 0, 0),
            (Version::new(3, 0, 3), None, None, 0, 1),
            (Version::new(3, 1, 0), Some(1024), None, 0, 1),
            (Version::new(3, 2, 4), Some(1024), None, 0, 1),
            (Version::new(3, 3, 0), Some(1024), Some(0.2), 1, 1),
            (Version::NEWEST, Some(1024), Some(0.2), 1, 1),
        ] {
            let mut reader = conf.reader(version);
            assert_eq!(reader.mebibytes(Key::OffHeapSize, Unit::Byte), off_heap, "{version}");
            assert_eq!(reader.factor(Key::ExecutorMemoryOverheadFactor), factor, "{version}");
            assert_eq!(
                reader.family(Family::ExecutorNodeSelector).count(),
                selectors,
                "{version}"
            );
            assert_eq!(reader.family(Family::ExecutorResource).count(), resources, "{version}");
            assert!(reader.into_warnings().is_empty());
        }
    }

    #[test]
    fn of_five_megabytes_little_is_kept() {
        let mut text = String::new();
        for index in 0.. {
            write!(
                text,
                "spark.kubernetes.node.selector.k{index}=v\nspark.hadoop.key{index}=some secret\\\n  more\n"
            )
            .unwrap();
            if text.len() > 5_000_000 {
                break;
            }
        }
        write!(
            text,
            "spark.executor.memory={}\nspark.executor.cores=3\n",
            "9".repeat(1_000_000)
        )
        .unwrap();
        let conf = Conf::parse(&text);
        assert_eq!(conf.families.len(), MAX_FAMILY_ENTRIES);
        assert_eq!(conf.warnings.len(), 2, "{:?}", conf.warnings);
        let mut reader = conf.reader(Version::NEWEST);
        assert_eq!(reader.integer(Key::ExecutorCores), Some(3));
        assert_eq!(reader.text(Key::ExecutorMemory), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Conf::parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_value_makes_a_reader_panic(value in "[^\\\\\r\n]{0,40}") {
            let text = RULES.map(|(_, name, _)| format!("{name}={value}\n")).concat();
            let conf = Conf::parse(&text);
            let mut reader = conf.reader(Version::NEWEST);
            for (key, ..) in RULES {
                let _ = (reader.mebibytes(key, Unit::Byte), reader.integer(key), reader.boolean(key));
                let _ = (reader.factor(key), reader.cpu_milli(key), reader.milliseconds(key));
            }
            prop_assert!(reader.into_warnings().len() <= MAX_WARNINGS);
        }
    }
}
