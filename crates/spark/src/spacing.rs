//! The executors' hard rules about other pods, out of the executor pod: about each other and their driver (host ports,
//! anti-affinity, affinity, topology spread), and about pods of others (anti-affinity, affinity).
//!
//! Planned is what speaks of the gang's own executors and driver by node or zone, and what speaks of others by whatever
//! label of nodes. A topology spread whose selector is not limited to the application (`matchLabelKeys:
//! [spark-app-selector]`) counts the executors of others too: kube-scheduler does that, the plan does not.

use kompass_core::names::{HOST_LABEL, ZONE_LABEL};
use kompass_core::{PodRules, Spacing};
use serde_json::Value;

use crate::json;
use crate::selector::{Pods, Speaks, Who};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const NEITHER: &str = "is about neither nodes nor zones";
const UNKNOWN: &str = "is about pods that are not known before they exist";

/// The rules of executors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// About each other and their driver.
    pub spacing: Spacing,
    /// About pods of others.
    pub others: PodRules,
    /// A sentence about each kind of rule that is not planned for, the driver's too.
    pub warnings: Vec<String>,
}

/// The rules of an executor pod whose driver is this one.
pub fn rules(executor: &Value, driver: Option<&Value>) -> Rules {
    let pods = Pods { executor, driver };
    let mut reading = Reading {
        pods,
        rules: Rules::default(),
    };
    reading.rules.spacing.host_ports = host_ports(executor);
    for term in terms(executor, "podAntiAffinity") {
        reading.apart(term);
    }
    reading.together(terms(executor, "podAffinity"));
    for rule in spreads(executor) {
        reading.spread(rule);
    }
    if let Some(driver) = driver {
        reading.of_driver(driver);
    }
    reading.rules
}

fn terms<'a>(pod: &'a Value, kind: &str) -> &'a [Value] {
    json::list(pod, &format!("/spec/affinity/{kind}/{REQUIRED}"))
}

/// Topology spreads that have to be kept: without an answer to what is done when one can't be, Kubernetes does not
/// schedule.
fn spreads(pod: &Value) -> impl Iterator<Item = &Value> {
    let hard = |rule: &&Value| json::text(rule, "/whenUnsatisfiable").is_none_or(|when| when == "DoNotSchedule");
    json::list(pod, "/spec/topologySpreadConstraints").iter().filter(hard)
}

/// Host ports as kube-scheduler counts them, ascending, each once.
fn host_ports(pod: &Value) -> Vec<u16> {
    let restartable = |container: &&Value| json::text(container, "/restartPolicy") == Some("Always");
    let initial = json::list(pod, "/spec/initContainers").iter().filter(restartable);
    // On the host's network every port is the host's.
    let on_host = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
    let number = |port: &Value| {
        let own = port.get("hostPort").and_then(Value::as_u64).filter(|&own| own > 0);
        let named = || port.get("containerPort").and_then(Value::as_u64).filter(|_| on_host);
        own.or_else(named)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port > 0)
    };
    let mut ports: Vec<u16> = json::list(pod, "/spec/containers")
        .iter()
        .chain(initial)
        .flat_map(|container| json::list(container, "/ports"))
        .filter_map(number)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The rules so far.
struct Reading<'a> {
    pods: Pods<'a>,
    rules: Rules,
}

impl Reading<'_> {
    /// A required anti-affinity.
    fn apart(&mut self, term: &Value) {
        let what = "a required pod anti-affinity of the executors";
        let topology = json::text(term, "/topologyKey");
        let spacing = &mut self.rules.spacing;
        match (self.pods.speaks(term, Who::Executors), topology) {
            (Speaks::OfThem, Some(HOST_LABEL)) => lower(&mut spacing.per_node_max, 1),
            (Speaks::OfThem, Some(ZONE_LABEL)) => lower(&mut spacing.per_zone_max, 1),
            (Speaks::OfThem, _) => return self.skip(what, NEITHER),
            (Speaks::Unknown, _) => return self.skip(what, UNKNOWN),
            (Speaks::OfOthers, _) => {}
        }
        self.apart_from_driver(term, what);
        match self.pods.about_others(term) {
            Ok(others) => self.rules.others.apart.extend(others),
            Err(why) => self.skip(what, why),
        }
    }

    /// What an anti-affinity of the executors says of their driver.
    fn apart_from_driver(&mut self, term: &Value, what: &str) {
        if self.pods.driver.is_none() || self.pods.speaks(term, Who::Driver) != Speaks::OfThem {
            return;
        }
        let to_driver = &mut self.rules.spacing.driver;
        match json::text(term, "/topologyKey") {
            Some(HOST_LABEL) => to_driver.other_node = true,
            Some(ZONE_LABEL) => to_driver.other_zone = true,
            _ => self.skip(what, NEITHER),
        }
    }

    /// All required affinities: a pod has to be there that all of them select.
    fn together(&mut self, terms: &[Value]) {
        let what = "a required pod affinity of the executors";
        let all = |who| {
            let mut speaks = terms.iter().map(|term| self.pods.speaks(term, who));
            speaks.all(|speaks| speaks == Speaks::OfThem)
        };
        let unknown = |term| self.pods.speaks(term, Who::Executors) == Speaks::Unknown;
        if terms.iter().any(unknown) {
            return self.skip(what, UNKNOWN);
        }
        let (of_driver, of_them) = (self.pods.driver.is_some() && all(Who::Driver), all(Who::Executors));
        for term in terms {
            let zones = json::text(term, "/topologyKey") == Some(ZONE_LABEL);
            // The driver is there before them.
            if of_driver || of_them {
                if !zones {
                    self.skip(what, "is not about zones");
                    continue;
                }
                let spacing = &mut self.rules.spacing;
                spacing.driver.same_zone |= of_driver;
                spacing.one_zone |= of_them && !of_driver;
            }
            if !of_driver {
                match self.pods.about_others(term) {
                    Ok(Some(others)) => self.rules.others.together.push(others),
                    // Nobody else is like them: the first of them is where it likes.
                    Ok(None) if of_them => {}
                    Ok(None) => self.skip(what, "selects no pod"),
                    Err(why) => self.skip(what, why),
                }
            }
        }
    }

    /// A topology spread that has to be kept.
    fn spread(&mut self, rule: &Value) {
        let what = "a topology spread of the executors";
        match self.pods.speaks(rule, Who::Executors) {
            Speaks::OfThem => {}
            Speaks::OfOthers => return self.skip(what, "is about other pods, by their labels"),
            Speaks::Unknown => return self.skip(what, UNKNOWN),
        }
        let Some(skew) = rule.get("maxSkew").and_then(Value::as_u64).filter(|&skew| skew > 0) else {
            return self.skip(what, "has no maxSkew");
        };
        let spacing = &mut self.rules.spacing;
        match json::text(rule, "/topologyKey") {
            // Nearly always a node without any executor is among those that count.
            Some(HOST_LABEL) => lower(&mut spacing.per_node_max, skew),
            Some(ZONE_LABEL) => {
                let is = |key: &str, policy: &str| json::text(rule, key) == Some(policy);
                let least = rule.get("minDomains").and_then(Value::as_u64);
                let counted = (
                    least.filter(|&least| least > 1),
                    is("/nodeAffinityPolicy", "Ignore"),
                    is("/nodeTaintsPolicy", "Honor"),
                );
                let known = (spacing.zones_min, spacing.any_zone_counts, spacing.tainted_count_not);
                if spacing.zone_skew.is_some() && counted != known {
                    return self.skip(what, "counts other zones than another one");
                }
                lower(&mut spacing.zone_skew, skew);
                (spacing.zones_min, spacing.any_zone_counts, spacing.tainted_count_not) = counted;
                spacing.driver.counts |=
                    self.pods.driver.is_some() && { self.pods.speaks(rule, Who::Driver) == Speaks::OfThem };
            }
            _ => self.skip(what, NEITHER),
        }
    }

    /// The driver's own rules, as far as they are about its executors or not planned for.
    fn of_driver(&mut self, driver: &Value) {
        let what = "a required pod anti-affinity of the driver";
        // The API server has put `matchLabelKeys` into the selectors of a pod that exists.
        let bare = |term: &Value| {
            let mut term = term.clone();
            if let Some(term) = term.as_object_mut() {
                term.remove("matchLabelKeys");
                term.remove("mismatchLabelKeys");
            }
            term
        };
        for term in terms(driver, "podAntiAffinity").iter().map(bare) {
            let to_driver = &mut self.rules.spacing.driver;
            match (
                self.pods.speaks(&term, Who::Executors),
                json::text(&term, "/topologyKey"),
            ) {
                (Speaks::OfThem, Some(HOST_LABEL)) => to_driver.other_node = true,
                (Speaks::OfThem, Some(ZONE_LABEL)) => to_driver.other_zone = true,
                (Speaks::OfThem, _) => self.skip(what, NEITHER),
                _ => {}
            }
            if let Err(why) = self.pods.about_others(&term) {
                self.skip(what, why);
            }
        }
        for term in terms(driver, "podAffinity").iter().map(bare) {
            if let Err(why) = self.pods.about_others(&term) {
                self.skip("a required pod affinity of the driver", why);
            }
        }
        if spreads(driver).next().is_some() {
            self.skip("a topology spread of the driver", "counts other pods");
        }
    }

    fn skip(&mut self, what: &str, why: &str) {
        let text = format!("{what} {why}: kube-scheduler keeps it, the plan does not know it");
        if !self.rules.warnings.contains(&text) {
            self.rules.warnings.push(text);
        }
    }
}

/// The stricter of two limits.
fn lower(limit: &mut Option<u64>, to: u64) {
    *limit = Some(limit.map_or(to, |known| known.min(to)));
}

#[cfg(test)]
mod tests;
