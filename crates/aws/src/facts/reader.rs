//! Asks AWS for facts.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::Region;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    ArchitectureType, AvailabilityZoneState, Filter, InstanceType, InstanceTypeInfo, Reservation,
};
use aws_sdk_pricing::types::{Filter as PriceFilter, FilterType};

use super::{Facts, Machine, Micros, Part, prices};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::operation::Operation;

/// Values that a filter takes, with room.
const CHUNK: usize = 50;
const PAGES_MAX: usize = 200;
/// What Linux is called in spot prices.
const LINUX: [&str; 2] = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"];

/// Asks EC2 and the price list.
#[derive(Debug)]
pub struct Reader {
    ec2: aws_sdk_ec2::Client,
    pricing: aws_sdk_pricing::Client,
    config: Config,
}

impl Reader {
    /// A client. Nothing is asked yet.
    pub fn new(config: &Config) -> Self {
        // The price list has no endpoint in most regions.
        let home = if config.region().starts_with("cn-") {
            "cn-northwest-1"
        } else {
            "us-east-1"
        };
        let pricing = aws_sdk_pricing::config::Builder::from(&config.sdk).region(Region::from_static(home));
        Self {
            ec2: aws_sdk_ec2::Client::new(&config.sdk),
            pricing: aws_sdk_pricing::Client::from_conf(pricing.build()),
            config: config.clone(),
        }
    }

    /// Asks for what is due of the types that matter. What can't be had stays as it was, and says why.
    pub async fn refresh(&self, facts: &mut Facts, types: &BTreeSet<String>, now_ms: i64) {
        for part in facts.due(types, now_ms) {
            match part {
                Part::Types => facts
                    .types
                    .take(Box::pin(self.types(types)).await.map_err(|error| chain(&error)), now_ms),
                Part::Zones => facts
                    .zones
                    .take(Box::pin(self.zones()).await.map_err(|error| chain(&error)), now_ms),
                Part::OnDemand => {
                    let answer = Box::pin(self.on_demand(types)).await;
                    facts.on_demand.take(answer.map_err(|error| chain(&error)), now_ms);
                }
                Part::Spot => {
                    let answer = Box::pin(self.spot(types, now_ms)).await;
                    facts.spot.take(answer.map_err(|error| chain(&error)), now_ms);
                }
            }
        }
    }

    /// What these types are like; those that AWS doesn't know are left out.
    pub async fn types(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Machine>, Error> {
        let operation = Operation::DESCRIBE_TYPES;
        let mut machines = BTreeMap::new();
        for names in chunks(names) {
            // By a filter: named otherwise, one unknown type would spoil the answer about all.
            let filter = filter("instance-type", names);
            let mut token = None;
            for page in 0.. {
                within(operation, page)?;
                let request = || {
                    let request = self.ec2.describe_instance_types().filters(filter.clone());
                    request.set_next_token(token.clone()).send()
                };
                let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
                machines.extend(answer.instance_types().iter().filter_map(machine));
                token = answer.next_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(machines)
    }

    /// The zones that are in use.
    pub async fn zones(&self) -> Result<BTreeSet<String>, Error> {
        let operation = Operation::DESCRIBE_ZONES;
        let request = || self.ec2.describe_availability_zones().send();
        let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
        let zones = answer.availability_zones().iter();
        let zones = zones.filter(|zone| zone.state() == Some(&AvailabilityZoneState::Available));
        Ok(zones.filter_map(|zone| Some(zone.zone_name()?.to_owned())).collect())
    }

    /// Today's spot prices of Linux, by type and zone.
    pub async fn spot(
        &self,
        names: &BTreeSet<String>,
        now_ms: i64,
    ) -> Result<BTreeMap<String, BTreeMap<String, Micros>>, Error> {
        let operation = Operation::DESCRIBE_SPOT_PRICES;
        let mut newest: BTreeMap<(String, String), (i64, Micros)> = BTreeMap::new();
        for names in chunks(names) {
            let types: Vec<InstanceType> = names.iter().map(|name| InstanceType::from(name.as_str())).collect();
            let mut token = None;
            for page in 0.. {
                within(operation, page)?;
                let request = || {
                    self.ec2
                        .describe_spot_price_history()
                        .set_instance_types(Some(types.clone()))
                        .set_product_descriptions(Some(LINUX.map(str::to_owned).to_vec()))
                        // From now on: the last price of each is all that there is.
                        .start_time(DateTime::from_millis(now_ms))
                        .set_next_token(token.clone())
                        .send()
                };
                let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
                for price in answer.spot_price_history() {
                    let (Some(name), Some(zone)) = (price.instance_type(), price.availability_zone()) else {
                        continue;
                    };
                    let Some(price_micros) = price.spot_price().and_then(prices::micros) else {
                        continue;
                    };
                    let at_ms = price
                        .timestamp()
                        .and_then(|time| time.to_millis().ok())
                        .unwrap_or(i64::MIN);
                    let key = (name.as_str().to_owned(), zone.to_owned());
                    let known = newest.entry(key).or_insert((at_ms, price_micros));
                    *known = (*known).max((at_ms, price_micros));
                }
                // The last page has an empty one.
                token = answer.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        let mut spot: BTreeMap<String, BTreeMap<String, Micros>> = BTreeMap::new();
        for ((name, zone), (_, price)) in newest {
            spot.entry(name).or_default().insert(zone, price);
        }
        Ok(spot)
    }

    /// Prices on demand of Linux on shared machines.
    pub async fn on_demand(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Micros>, Error> {
        let operation = Operation::GET_PRICES;
        let mut prices = BTreeMap::new();
        for names in chunks(names) {
            let filters = self.price_filters(operation, &names.join(","))?;
            let mut token = None;
            for page in 0.. {
                within(operation, page)?;
                let request = || {
                    self.pricing
                        .get_products()
                        .service_code("AmazonEC2")
                        .set_filters(Some(filters.clone()))
                        .set_next_token(token.clone())
                        .send()
                };
                let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
                prices.extend(answer.price_list().iter().filter_map(|entry| prices::on_demand(entry)));
                token = answer.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(prices)
    }

    /// When these instances were launched, milliseconds since 1970 UTC; those that are gone are left out.
    pub async fn launches(&self, instances: &BTreeSet<String>) -> Result<BTreeMap<String, i64>, Error> {
        let operation = Operation::DESCRIBE_INSTANCES;
        let mut launches = BTreeMap::new();
        for ids in chunks(instances) {
            let filter = filter("instance-id", ids);
            let mut token = None;
            for page in 0.. {
                within(operation, page)?;
                let request = || {
                    let request = self.ec2.describe_instances().filters(filter.clone());
                    request.set_next_token(token.clone()).send()
                };
                let answer = Box::pin(self.config.calls.read(operation, "", request)).await?;
                let instances = answer.reservations().iter().flat_map(Reservation::instances);
                launches.extend(instances.filter_map(|instance| {
                    let launch_ms = instance.launch_time()?.to_millis().ok()?;
                    Some((instance.instance_id()?.to_owned(), launch_ms))
                }));
                token = answer.next_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(launches)
    }

    fn price_filters(&self, operation: Operation, names: &str) -> Result<Vec<PriceFilter>, Error> {
        let same = FilterType::TermMatch;
        [
            ("instanceType", names, FilterType::AnyOf),
            ("regionCode", self.config.region(), same.clone()),
            ("operatingSystem", "Linux", same.clone()),
            ("preInstalledSw", "NA", same.clone()),
            ("tenancy", "Shared", same.clone()),
            // Not those of reservations.
            ("capacitystatus", "Used", same),
        ]
        .into_iter()
        .map(|(field, value, kind)| {
            let filter = PriceFilter::builder().field(field).value(value).r#type(kind).build();
            filter.map_err(|error| Error::Malformed {
                operation,
                what: error.to_string(),
            })
        })
        .collect()
    }
}

fn machine(told: &InstanceTypeInfo) -> Option<(String, Machine)> {
    let cpus = u64::try_from(told.v_cpu_info()?.default_v_cpus()?).ok()?;
    let memory_mib = u64::try_from(told.memory_info()?.size_in_mib()?).ok()?;
    let architectures = told.processor_info()?.supported_architectures();
    let architecture = architectures.iter().find_map(|architecture| match architecture {
        ArchitectureType::X8664 => Some("amd64"),
        ArchitectureType::Arm64 => Some("arm64"),
        _ => None,
    })?;
    let machine = Machine {
        cpu_milli: cpus.checked_mul(1_000)?,
        memory_mib,
        architecture: architecture.to_owned(),
    };
    Some((told.instance_type()?.as_str().to_owned(), machine))
}

fn filter(name: &str, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

fn chunks(names: &BTreeSet<String>) -> Vec<Vec<String>> {
    let names: Vec<String> = names.iter().cloned().collect();
    names.chunks(CHUNK).map(<[String]>::to_vec).collect()
}

fn within(operation: Operation, page: usize) -> Result<(), Error> {
    if page < PAGES_MAX {
        return Ok(());
    }
    Err(Error::Malformed {
        operation,
        what: format!("there is no end after {PAGES_MAX} pages"),
    })
}
