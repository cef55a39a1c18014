//! In which namespaces the profiler is at work, and what it may do there: pure.
//!
//! With `--scope labelled` those are the namespaces that ask for it by their label. A pod that carries KOMPASS's gate was
//! taken while its namespace did, and is seen to the end.

use kompass_core::{Pod, names};
use rustc_hash::FxHashMap;

/// The namespaces.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// `None`: all are in scope.
    labelled: Option<FxHashMap<String, Reach>>,
    /// Drivers out of scope, by namespace and UID: their namespace may be labelled yet.
    aside: FxHashMap<String, FxHashMap<String, Pod>>,
    /// The namespace of each of them, by UID.
    namespace_of: FxHashMap<String, String>,
    synced: bool,
}

/// What is known of the rights in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Unknown,
    Watched,
    Denied,
}

impl Namespaces {
    /// All namespaces.
    pub(super) fn all() -> Self {
        Self {
            labelled: None,
            aside: FxHashMap::default(),
            namespace_of: FxHashMap::default(),
            synced: true,
        }
    }

    /// Those that turn out to be labelled.
    pub(super) fn labelled() -> Self {
        Self {
            labelled: Some(FxHashMap::default()),
            synced: false,
            ..Self::all()
        }
    }

    /// Whether the pod is the profiler's business.
    pub(super) fn include(&self, pod: &Pod) -> bool {
        let labelled = self.labelled.as_ref();
        labelled.is_none_or(|labelled| labelled.contains_key(&pod.namespace)) || pod.has_gate(names::GANG_GATE)
    }

    /// Keeps a driver that is out of scope.
    pub(super) fn put_aside(&mut self, pod: &Pod) {
        self.namespace_of.insert(pod.uid.clone(), pod.namespace.clone());
        let aside = self.aside.entry(pod.namespace.clone()).or_default();
        aside.insert(pod.uid.clone(), pod.clone());
    }

    /// Takes over that a driver is gone, or in scope.
    pub(super) fn remove(&mut self, uid: &str) {
        let Some(namespace) = self.namespace_of.remove(uid) else {
            return;
        };
        if let Some(aside) = self.aside.get_mut(&namespace) {
            aside.remove(uid);
            if aside.is_empty() {
                self.aside.remove(&namespace);
            }
        }
    }

    /// Takes over that a namespace is labelled; the drivers in it that were out of scope.
    pub(super) fn begin(&mut self, namespace: String) -> Vec<Pod> {
        let aside = self.aside.remove(&namespace).unwrap_or_default();
        for uid in aside.keys() {
            self.namespace_of.remove(uid);
        }
        if let Some(labelled) = &mut self.labelled {
            labelled.entry(namespace).or_insert(Reach::Unknown);
        }
        aside.into_values().collect()
    }

    /// Takes over that a namespace is labelled no more.
    pub(super) fn end(&mut self, namespace: &str) {
        if let Some(labelled) = &mut self.labelled {
            labelled.remove(namespace);
        }
    }

    /// Takes over whether the `ConfigMaps` of a namespace may be watched.
    pub(super) fn reached(&mut self, namespace: &str, watched: bool) {
        let labelled = self.labelled.as_mut();
        if let Some(reach) = labelled.and_then(|labelled| labelled.get_mut(namespace)) {
            *reach = if watched { Reach::Watched } else { Reach::Denied };
        }
    }

    /// Takes over that all labelled namespaces have been told.
    pub(super) fn synced(&mut self) {
        self.synced = true;
    }

    /// Whether it is known which are in scope.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// The names of the labelled ones; `None`: all are in scope.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        self.labelled
            .as_ref()
            .map(|labelled| labelled.keys().cloned().collect())
    }

    /// How many labelled ones are watched, and how many can't be for lack of rights.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |wanted: Reach| {
            let reaches = self.labelled.iter().flat_map(FxHashMap::values);
            reaches.filter(|reach| **reach == wanted).count()
        };
        (count(Reach::Watched), count(Reach::Denied))
    }
}

#[cfg(test)]
mod tests {
    use kompass_core::Role;

    use super::*;

    fn driver(uid: &str, namespace: &str) -> Pod {
        Pod {
            uid: uid.into(),
            namespace: namespace.into(),
            role: Some(Role::Driver),
            ..Pod::default()
        }
    }

    #[test]
    fn all_means_all() {
        let namespaces = Namespaces::all();
        assert!(namespaces.include(&driver("d", "a")) && namespaces.is_synced());
        assert_eq!((namespaces.names(), namespaces.counts()), (None, (0, 0)));
    }

    #[test]
    fn only_labelled_namespaces_count_and_what_was_taken_before() {
        let mut namespaces = Namespaces::labelled();
        let (plain, mut gated) = (driver("d", "a"), driver("g", "a"));
        gated.gates = vec![names::GANG_GATE.into()];
        assert!(!namespaces.include(&plain) && namespaces.include(&gated));
        assert!(namespaces.begin("a".into()).is_empty());
        assert!(namespaces.include(&plain) && !namespaces.include(&driver("e", "b")));
        namespaces.end("a");
        assert!(!namespaces.include(&plain) && namespaces.include(&gated));
    }

    #[test]
    fn a_driver_that_came_before_the_label_is_not_forgotten() {
        let mut namespaces = Namespaces::labelled();
        for (uid, namespace) in [("1", "a"), ("2", "a"), ("3", "b")] {
            namespaces.put_aside(&driver(uid, namespace));
        }
        namespaces.remove("2");
        assert_eq!(namespaces.begin("a".into()), [driver("1", "a")]);
        assert!(namespaces.begin("a".into()).is_empty(), "each once");
        namespaces.remove("3");
        assert!(namespaces.aside.is_empty() && namespaces.namespace_of.is_empty());
    }

    #[test]
    fn rights_are_counted_where_they_matter() {
        let mut namespaces = Namespaces::labelled();
        assert!(!namespaces.is_synced());
        namespaces.synced();
        assert!(namespaces.is_synced());
        for name in ["a", "b", "c"] {
            namespaces.begin(name.into());
        }
        namespaces.reached("a", true);
        namespaces.reached("b", false);
        namespaces.reached("unlabelled", false);
        assert_eq!(namespaces.counts(), (1, 1));
        namespaces.reached("b", true);
        namespaces.end("a");
        assert_eq!(namespaces.counts(), (1, 0));
    }
}
