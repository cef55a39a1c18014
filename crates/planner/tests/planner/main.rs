//! The planner against a small model of the API server, kube-scheduler, kubelet, webhook and Spark.

#[cfg(test)]
mod backfill;
#[cfg(test)]
mod binds;
#[cfg(test)]
mod client;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod forecast;
#[cfg(test)]
mod found;
#[cfg(test)]
mod headroom;
#[cfg(test)]
mod job;
#[cfg(test)]
mod model;
#[cfg(test)]
mod neighbourly;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod paper;
#[cfg(test)]
mod patience;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod queues;
#[cfg(test)]
mod room;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod spacing;
#[cfg(test)]
mod terms;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod unclaimed;
#[cfg(test)]
mod world;
#[cfg(test)]
mod writes;
