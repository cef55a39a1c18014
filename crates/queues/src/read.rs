//! From bytes to rules.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kompass_planner::{Limits, QueueRules, QueueTable};
use serde::Deserialize;
use serde_saphyr::{Options, Spanned};

use crate::amounts::{self, Unit};
use crate::error::{Error, Field, Place};
use crate::{MAX_BYTES, MAX_QUEUES, MAX_WEIGHT, VERSION, names};

/// Only the version, whatever else is there: a file of another version should be told so, not that its fields are
/// unknown.
#[derive(Debug, Deserialize)]
struct Head {
    version: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: u64,
    queues: Option<Vec<Queue>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    name: Spanned<String>,
    weight: Option<Spanned<i64>>,
    guaranteed: Option<Quantities>,
    limit: Option<Quantities>,
    packing: Option<Spanned<String>>,
    namespaces: Option<Vec<Spanned<String>>>,
}

/// Quantities as they are written; numbers come as the text that stands there.
type Quantities = BTreeMap<String, Spanned<String>>;

/// Reads a queue file.
pub fn parse(bytes: &[u8]) -> Result<QueueTable, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|source| Error::NotUtf8 {
        line: bytes[..source.valid_up_to()].split(|&byte| byte == b'\n').count(),
        source,
    })?;
    let head: Option<Head> = yaml(text)?;
    let version = head.and_then(|head| head.version).ok_or(Error::NoVersion)?;
    if version.value != VERSION {
        return Err(Error::Version {
            version: version.value,
            place: version.referenced.into(),
        });
    }
    let file: File = yaml(text)?;
    table(file.queues.unwrap_or_default())
}

fn yaml<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| Error::Yaml(error.into()))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            // A few lines with aliases can stand for gigabytes.
            max_aliases: 0,
            max_documents: 1,
        },
        reject_unsupported_tags: true,
        // It would not fit the one line of a log.
        with_snippet: false,
    }
}

fn table(queues: Vec<Queue>) -> Result<QueueTable, Error> {
    if queues.len() > MAX_QUEUES {
        return Err(Error::TooManyQueues { count: queues.len() });
    }
    let mut table = QueueTable::default();
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut owners: BTreeMap<String, (String, Place)> = BTreeMap::new();
    for queue in queues {
        let (name, place) = (queue.name.value.clone(), Place::from(queue.name.referenced));
        if !names::is_label_value(&name) {
            return Err(Error::Name {
                name: names::shown(&name),
                place,
            });
        }
        if let Some(&first) = seen.get(&name) {
            return Err(Error::Duplicate { name, place, first });
        }
        seen.insert(name.clone(), place);
        let rules = rules(queue, &mut owners)?;
        table.queues.insert(name, rules);
    }
    Ok(table)
}

fn rules(queue: Queue, owners: &mut BTreeMap<String, (String, Place)>) -> Result<QueueRules, Error> {
    let (name, place) = (queue.name.value, Place::from(queue.name.referenced));
    let mut rules = QueueRules {
        guaranteed: limits(&name, Field::Guaranteed, queue.guaranteed.unwrap_or_default())?,
        limit: limits(&name, Field::Limit, queue.limit.unwrap_or_default())?,
        ..QueueRules::default()
    };
    if let Some(weight) = queue.weight {
        rules.weight = u32::try_from(weight.value)
            .ok()
            .filter(|weight| (1..=MAX_WEIGHT).contains(weight))
            .ok_or_else(|| Error::Weight {
                queue: name.clone(),
                weight: weight.value,
                place: weight.referenced.into(),
            })?;
    }
    if let Some(packing) = queue.packing {
        let found = packing.value.parse().map_err(|_names| Error::Packing {
            queue: name.clone(),
            packing: names::shown(&packing.value),
            place: packing.referenced.into(),
        })?;
        rules.packing = Some(found);
    }
    let most = amounts::all(&rules.limit);
    for (resource, guaranteed) in amounts::all(&rules.guaranteed) {
        if let Some(&limit) = most.get(resource).filter(|&&limit| limit < guaranteed) {
            return Err(Error::GuaranteedAboveLimit {
                queue: name,
                resource: resource.to_owned(),
                guaranteed: amounts::render(resource, guaranteed),
                limit: amounts::render(resource, limit),
                place,
            });
        }
    }
    for namespace in queue.namespaces.unwrap_or_default() {
        let place = Place::from(namespace.referenced);
        let namespace = namespace.value;
        if !names::is_namespace(&namespace) {
            return Err(Error::Namespace {
                queue: name,
                namespace: names::shown(&namespace),
                place,
            });
        }
        match owners.entry(namespace.clone()) {
            Entry::Vacant(free) => _ = free.insert((name.clone(), place)),
            Entry::Occupied(taken) => {
                let (other, first) = taken.get().clone();
                return Err(Error::NamespaceTwice {
                    queue: name,
                    namespace,
                    place,
                    other,
                    first,
                });
            }
        }
        rules.namespaces.insert(namespace);
    }
    Ok(rules)
}

fn limits(queue: &str, field: Field, quantities: Quantities) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for (resource, quantity) in quantities {
        let place = Place::from(quantity.referenced);
        let Some(unit) = Unit::of(&resource) else {
            return Err(Error::Resource {
                queue: queue.to_owned(),
                field,
                resource: names::shown(&resource),
                place,
            });
        };
        // Cut where it is very long, which makes it no quantity.
        let amount = names::shown(&quantity.value);
        match unit.read(&amount) {
            Ok(Some(amount)) => amounts::set(&mut limits, &resource, amount),
            Ok(None) => {
                return Err(Error::Part {
                    queue: queue.to_owned(),
                    field,
                    resource,
                    amount,
                    place,
                });
            }
            Err(source) => {
                return Err(Error::Quantity {
                    queue: queue.to_owned(),
                    field,
                    resource,
                    place,
                    source,
                });
            }
        }
    }
    Ok(limits)
}
