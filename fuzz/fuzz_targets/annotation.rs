//! Annotations that anybody may write: job profiles, gang plans, quantities.
#![no_main]

use kompass_core::{GangPlan, JobProfile, quantity};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(profile) = JobProfile::from_annotation(text) {
        let again = JobProfile::from_annotation(&profile.to_annotation());
        assert_eq!(again.ok().as_ref(), Some(&profile));
    }
    let _ = GangPlan::from_annotation(text);
    let _ = (quantity::milli(text), quantity::units(text));
});
