//! The gang planner: cluster state, queue, packing, reservations, answers to the scheduler.
//!
//! Pure: no I/O, no clock (every call takes `now_ms`), no async, integers only. One owned, mutable [`Planner`]; the
//! extender keeps it behind a mutex.
//!
//! The life of a planner: [`Planner::new`], feed what the watches list, [`Planner::synced`], [`Planner::take_over`]
//! once the lease is held, then [`Planner::decide`] after each batch of events and at [`Planner::next_wake`].
//! kube-scheduler's Filter is [`Planner::filter`], its Bind goes through [`Planner::bind_started`] and
//! [`Planner::bind_done`]. Preemption is never allowed: the edge answers the Preempt verb with no victims.

pub mod action;
pub mod answer;
mod arena;
mod attention;
mod backfill;
mod bind;
mod classes;
mod client;
pub mod config;
mod decide;
mod demand;
mod driver;
mod ends;
mod executor;
mod extras;
pub mod filter;
pub mod finished;
mod forecast;
mod gang;
mod gangs;
mod headroom;
mod invariants;
mod journal;
mod lookahead;
mod markers;
mod nodes;
mod outlook;
mod pack;
mod paper;
mod peers;
mod plan;
mod planner;
mod pods;
pub mod policy;
mod promise;
mod queue;
pub mod quota;
mod reason;
mod repair;
mod runtimes;
mod share;
mod shortfall;
mod slots;
mod space;
pub mod standing;
mod start;
mod terms;
pub mod unclaimed;
mod view;

pub use action::{Action, Decision, Demand, Failure, Member, Order, OrderId, PodRef};
pub use answer::{BindOrder, BindRefusal, BindResult, FilterAnswer};
pub use config::{Backfill, Config, Packing};
pub use finished::FinishedGang;
pub use forecast::ExpectedStart;
pub use gang::minimum;
pub use planner::Planner;
pub use policy::{QueueRules, QueueTable};
pub use promise::Held;
pub use quota::{Limits, Quota};
pub use standing::{NextGang, QueueState};
pub use view::{GangState, GangView, Summary, Waiting};
