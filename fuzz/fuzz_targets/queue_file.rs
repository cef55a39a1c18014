//! The queue file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kompass_queues::parse(bytes);
});
