//! Writes the files of the chart that are made from others: its dashboards, and the CRDs that it brings.
//!
//! ```sh
//! cargo run -p kompass-deployment-tests --bin generate
//! ```

use kompass_deployment_tests::{crds, dashboards, write_changed};

fn main() -> anyhow::Result<()> {
    for (path, text) in dashboards::generate()?.into_iter().chain(crds::generate()?) {
        write_changed(&path, &text)?;
    }
    Ok(())
}
