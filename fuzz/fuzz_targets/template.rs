//! The executors' pod template.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(template) = kompass_spark::template::parse(text) {
        let _ = kompass_spark::requests::pod_requests(&template);
        let _ = kompass_spark::placement::constraints(&template);
        let _ = kompass_spark::spacing::rules(&template, None);
    }
});
