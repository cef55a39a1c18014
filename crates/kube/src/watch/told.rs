//! From what a list and a watch tell to what the receiver has to hear.

use std::marker::PhantomData;

use rustc_hash::FxHashSet;

use super::source::Change;
use super::{Event, Watched};
use crate::convert;

/// The keys of what the receiver has been told.
#[derive(Debug)]
pub(super) struct Told<K> {
    keys: FxHashSet<String>,
    /// Keys of the list that is being read.
    listed: Option<FxHashSet<String>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self {
            keys: FxHashSet::default(),
            listed: None,
            kind: PhantomData,
        }
    }
}

impl<K: Watched> Told<K> {
    /// What the receiver hears of a change.
    pub(super) fn translate(&mut self, change: Change<K>) -> Vec<Event<K::View>> {
        match change {
            Change::ListBegins => {
                self.listed = Some(FxHashSet::default());
                Vec::new()
            }
            Change::Listed(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(K::key(object.meta()));
                }
                self.apply(object)
            }
            Change::ListEnds => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.keys.extract_if(|key| !listed.contains(key)).map(Event::Deleted);
                gone.chain([Event::Synced]).collect()
            }
            Change::Applied(object) => self.apply(object),
            Change::Deleted(metadata) => self.delete(&K::key(&metadata)),
        }
    }

    fn apply(&mut self, object: K) -> Vec<Event<K::View>> {
        let key = K::key(object.meta());
        match object.view() {
            Ok(view) => {
                self.keys.insert(key);
                vec![Event::Applied(view)]
            }
            Err(error) => {
                // The API server validates what it stores, so this is a bug or a version we don't know: the object is
                // left out, loudly.
                tracing::error!(
                    kind = K::KIND,
                    key,
                    error = convert::chain(&error),
                    "failed to read an object"
                );
                self.delete(&key)
            }
        }
    }

    fn delete(&mut self, key: &str) -> Vec<Event<K::View>> {
        self.keys.take(key).map(Event::Deleted).into_iter().collect()
    }
}
