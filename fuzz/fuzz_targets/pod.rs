//! A pod as anybody may create it, and what admission does to it.
#![no_main]

use kompass_admission_webhook::admit::{self, Rules};
use kompass_spark::{Conf, DriverPod, placement, profile, profile_key, requests, role, spacing};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(pod) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let _ = (role::of(&pod), role::driver_of(&pod), role::allocated_application(&pod));
    let _ = (requests::pod_requests(&pod), placement::constraints(&pod));
    let _ = spacing::rules(&pod, Some(&pod));
    if let Some(driver) = DriverPod::from_json(&pod) {
        assert!(profile_key::keys(&driver).own.len() <= 63);
        let _ = profile::build(&driver, Some(&Conf::default()), None);
    }
    let rules = Rules::default();
    let _ = admit::driver(pod.clone(), "key", &rules);
    let _ = admit::executor(pod.clone(), None, &rules);
    let _ = admit::client_executor(pod.clone(), &rules);
    let _ = admit::other(pod);
});
