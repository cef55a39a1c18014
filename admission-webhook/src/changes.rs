//! News of a single object.

use std::fmt::Debug;

use futures::{Stream, StreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Something may have happened to the object of that name. A new list counts: what was deleted while the watch was
/// broken shows in no event.
pub(crate) fn of<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config).default_backoff().filter_map(async |event| {
        use watcher::Event::{Apply, Delete, InitDone};
        matches!(event, Ok(Apply(_) | Delete(_) | InitDone)).then_some(())
    })
}
