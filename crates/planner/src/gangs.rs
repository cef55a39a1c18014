//! All gangs, and which of them were touched since they were last looked at.
//!
//! Whoever changes a gang goes through [`IndexMut`], so that none is missed: a decision looks at the gangs that were
//! touched, not at all that there are.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::arena::Arena;
use crate::gang::{Gang, GangId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gangs {
    all: Arena<Gang>,
    touched: Vec<GangId>,
    /// By index: stands in `touched`.
    marks: Vec<bool>,
}

impl Gangs {
    pub(crate) fn id(&self, uid: &str) -> Option<GangId> {
        self.all.id(uid)
    }

    pub(crate) fn uid(&self, id: GangId) -> &Arc<str> {
        self.all.uid(id)
    }

    pub(crate) fn get(&self, id: GangId) -> Option<&Gang> {
        self.all.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GangId, &Gang)> {
        self.all.iter()
    }

    pub(crate) fn ids(&self) -> Vec<GangId> {
        self.all.ids()
    }

    pub(crate) fn insert(&mut self, uid: &str, gang: Gang) -> GangId {
        let id = self.all.insert(uid, gang);
        self.touch(id);
        id
    }

    pub(crate) fn remove(&mut self, id: GangId) {
        _ = self.all.remove(id);
        self.touch(id);
    }

    /// Something that is not part of the gang has changed for it.
    pub(crate) fn touch(&mut self, id: GangId) {
        if self.marks.len() <= id.index() {
            self.marks.resize(id.index() + 1, false);
        }
        if !std::mem::replace(&mut self.marks[id.index()], true) {
            self.touched.push(id);
        }
    }

    pub(crate) fn touch_all(&mut self) {
        for id in self.ids() {
            self.touch(id);
        }
    }

    /// Those that were touched since the last call of [`Self::take_touched`].
    pub(crate) fn touched(&self) -> &[GangId] {
        &self.touched
    }

    /// Those that were touched since the last call, each once. They may be gone, or another of the same id may be there.
    pub(crate) fn take_touched(&mut self) -> Vec<GangId> {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            self.marks[id.index()] = false;
        }
        touched
    }
}

impl Index<GangId> for Gangs {
    type Output = Gang;

    fn index(&self, id: GangId) -> &Gang {
        &self.all[id]
    }
}

impl IndexMut<GangId> for Gangs {
    fn index_mut(&mut self, id: GangId) -> &mut Gang {
        self.touch(id);
        &mut self.all[id]
    }
}
