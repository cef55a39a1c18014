//! An application's configuration: `spark.properties`.
#![no_main]

use kompass_spark::{Conf, Version, requests};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let conf = Conf::parse(text);
    for version in [Version::OLDEST, Version::new(3, 3, 0), Version::NEWEST] {
        let _ = requests::executor_requests(&conf, version, None);
    }
});
