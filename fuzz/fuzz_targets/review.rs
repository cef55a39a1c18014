//! What the API server, or anybody who can reach the webhook, sends.
#![no_main]

use kompass_admission_webhook::review;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = review::parse(bytes) {
        assert!(!request.uid.is_empty());
    }
});
