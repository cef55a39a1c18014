//! A request to AWS, as the layer reads and remembers it.

use std::collections::BTreeMap;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked for, such as `UpdateAutoScalingGroup`.
    pub operation: String,
    /// Its parameters; `Action` and `Version` are left out. Of JSON requests the whole text, as `body`.
    pub parameters: BTreeMap<String, String>,
    /// When it came by the layer's clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The how many-th write this is, from 1 on; none if it only reads.
    pub write: Option<usize>,
    /// The status that it was answered with; none while it is not.
    pub status: Option<u16>,
}

impl Request {
    /// Reads the body of a request, and its target where it is JSON.
    pub(crate) fn read(body: &[u8], target: Option<&str>, at_ms: i64) -> Self {
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        let operation = if let Some(target) = target {
            parameters.insert("body".to_owned(), String::from_utf8_lossy(body).into_owned());
            target.rsplit('.').next().unwrap_or_default().to_owned()
        } else {
            parameters.extend(form_urlencoded::parse(body).into_owned());
            parameters.remove("Action").unwrap_or_default()
        };
        parameters.remove("Version");
        Self {
            operation,
            parameters,
            at_ms,
            write: None,
            status: None,
        }
    }

    /// A parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The group that it is about, also where it is called otherwise.
    pub fn group(&self) -> Option<&str> {
        ["AutoScalingGroupName", "Tags.member.1.ResourceId"]
            .iter()
            .find_map(|name| self.get(name))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|value| value.parse().ok())
    }

    pub(crate) fn is_write(&self) -> bool {
        !["Describe", "Get", "List"]
            .iter()
            .any(|start| self.operation.starts_with(start))
    }

    pub(crate) fn is_json(&self) -> bool {
        self.get("body").is_some()
    }

    pub(crate) fn is_ec2(&self) -> bool {
        [
            "LaunchTemplate",
            "Instances",
            "InstanceTypes",
            "Spot",
            "AvailabilityZones",
        ]
        .iter()
        .any(|word| self.operation.contains(word))
            && !["AutoScaling", "AttachInstances", "DetachInstances"]
                .iter()
                .any(|word| self.operation.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_json_are_read() {
        let body = b"Action=CreateOrUpdateTags&Version=1&Tags.member.1.ResourceId=a%20b&Tags.member.1.Value=x%3Dy";
        let request = Request::read(body, None, 7);
        assert_eq!(
            (&*request.operation, request.group()),
            ("CreateOrUpdateTags", Some("a b"))
        );
        assert_eq!(request.get("Tags.member.1.Value"), Some("x=y"));
        assert!(request.is_write() && !request.is_ec2() && request.get("Version").is_none());
        let request = Request::read(b"{}", Some("AWSPriceListService.GetProducts"), 7);
        assert_eq!((&*request.operation, request.get("body")), ("GetProducts", Some("{}")));
        assert!(request.is_json() && !request.is_write());
    }
}
