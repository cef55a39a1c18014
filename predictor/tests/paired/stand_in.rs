//! What the stand-in for AWS knows.

use std::collections::BTreeMap;

use kompass_local_cluster::moto::Layer;

/// The `MinSize` of each group.
pub(crate) async fn min_sizes(layer: &Layer) -> BTreeMap<String, u32> {
    let told = layer.call("DescribeAutoScalingGroups", &[]).await.unwrap();
    let names = fields(&told, "AutoScalingGroupName").into_iter();
    let sizes = fields(&told, "MinSize").into_iter();
    // Instances say the name of their group in some answers; sizes are there once for each.
    let mut unique: Vec<&str> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
        .into_iter()
        .map(str::to_owned)
        .zip(sizes.map(|size| size.parse().unwrap()))
        .collect()
}

/// The contents of all elements of a name.
pub(crate) fn fields<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = text.split(open.as_str()).skip(1);
    parts
        .filter_map(|part| part.split_once(close.as_str()).map(|(value, _)| value))
        .collect()
}
