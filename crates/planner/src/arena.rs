//! A dense store of things that have a UID: small copyable ids for links between them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Points into an [`Arena`]. An id of something removed may point to something newer: links are cut before.
pub(crate) struct Id<T> {
    index: u32,
    of: PhantomData<fn() -> T>,
}

/// See the module.
pub(crate) struct Arena<T> {
    slots: Vec<Option<(Arc<str>, T)>>,
    unused: Vec<u32>,
    by_uid: FxHashMap<Arc<str>, Id<T>>,
}

impl<T> Arena<T> {
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub(crate) fn id(&self, uid: &str) -> Option<Id<T>> {
        self.by_uid.get(uid).copied()
    }

    pub(crate) fn uid(&self, id: Id<T>) -> &Arc<str> {
        &self.slot(id).0
    }

    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        self.slots.get(id.index as usize)?.as_ref().map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, uid: &str, value: T) -> Id<T> {
        let uid: Arc<str> = uid.into();
        let index = self.unused.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 objects")
        });
        let id = Id { index, of: PhantomData };
        self.slots[index as usize] = Some((uid.clone(), value));
        self.by_uid.insert(uid, id);
        id
    }

    /// Its UID, if it was there.
    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<Arc<str>> {
        let (uid, _) = self.slots[id.index as usize].take()?;
        self.by_uid.remove(&uid);
        self.unused.push(id.index);
        Some(uid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, index)| Some((Id { index, of: PhantomData }, &slot.as_ref()?.1)))
    }

    pub(crate) fn ids(&self) -> Vec<Id<T>> {
        self.iter().map(|(id, _)| id).collect()
    }

    fn slot(&self, id: Id<T>) -> &(Arc<str>, T) {
        self.slots[id.index as usize]
            .as_ref()
            .expect("links to an object are cut before it is removed")
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        &self.slot(id).1
    }
}

impl<T> IndexMut<Id<T>> for Arena<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        &mut self.slots[id.index as usize]
            .as_mut()
            .expect("links to an object are cut before it is removed")
            .1
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            unused: Vec::new(),
            by_uid: FxHashMap::default(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> Id<T> {
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Copy for Id<T> {}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}
