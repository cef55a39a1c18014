//! What AWS refuses and moto lets pass. Pure.

use super::request::Request;
use super::xml;

/// A refusal: AWS's code and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// A group, as moto describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) desired: i64,
    /// Scheduled actions don't run.
    pub(crate) suspended: bool,
}

impl Sizes {
    /// Reads moto's description of one group; none if there is none.
    pub(crate) fn read(described: &str) -> Option<Self> {
        let number = |name| xml::text(described, name).and_then(|text| text.parse().ok());
        Some(Self {
            min: number("MinSize")?,
            max: number("MaxSize")?,
            desired: number("DesiredCapacity")?,
            suspended: xml::texts(described, "ProcessName").any(|process| process == "ScheduledActions"),
        })
    }
}

pub(crate) fn gone() -> Refusal {
    invalid("AutoScalingGroup name not found - null")
}

pub(crate) fn invalid(message: &str) -> Refusal {
    Refusal {
        code: "ValidationError",
        message: message.to_owned(),
    }
}

/// Why a change of sizes is refused.
pub(crate) fn sizes(request: &Request, group: Option<Sizes>) -> Option<Refusal> {
    let Some(group) = group else {
        return Some(gone());
    };
    let min = request.number("MinSize").unwrap_or(group.min);
    let max = request.number("MaxSize").unwrap_or(group.max);
    let desired = request.number("DesiredCapacity");
    if min > max {
        let message = format!("Max bound, {max}, must be greater than or equal to min bound, {min}");
        return Some(invalid(&message));
    }
    let desired = desired.filter(|desired| !(min..=max).contains(desired))?;
    Some(if request.operation == "SetDesiredCapacity" {
        let (side, bound) = if desired > max {
            ("above max", max)
        } else {
            ("below min", min)
        };
        invalid(&format!(
            "New SetDesiredCapacity value {desired} is {side} value {bound} for the AutoScalingGroup."
        ))
    } else {
        invalid(&format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        ))
    })
}

/// Why a node may not be taken out of a group for good.
pub(crate) fn termination(request: &Request, group: Sizes) -> Option<Refusal> {
    let shrinks = request.get("ShouldDecrementDesiredCapacity") == Some("true");
    (shrinks && group.desired <= group.min).then(|| {
        let min = group.min;
        invalid(&format!(
            "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will violate group's \
             min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
        ))
    })
}

/// Why tags are refused for themselves.
pub(crate) fn tags(request: &Request) -> Option<Refusal> {
    for (name, value) in &request.parameters {
        let limit = match name.rsplit('.').next() {
            Some("Value") => 256,
            Some("Key") => 128,
            _ => continue,
        };
        if value.chars().count() > limit {
            return Some(invalid(&format!(
                "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must have length less \
                 than or equal to {limit}"
            )));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Sizes = Sizes {
        min: 1,
        max: 5,
        desired: 1,
        suspended: false,
    };

    fn request(text: &str) -> Request {
        Request::read(text.as_bytes(), None, 0)
    }

    #[test]
    fn sizes_outside_the_bounds_are_refused() {
        for (text, refused) in [
            ("Action=UpdateAutoScalingGroup&MinSize=5", None),
            ("Action=UpdateAutoScalingGroup&MinSize=6", Some("Max bound, 5")),
            ("Action=UpdateAutoScalingGroup&MinSize=6&MaxSize=6", None),
            (
                "Action=UpdateAutoScalingGroup&DesiredCapacity=0",
                Some("Desired capacity:0"),
            ),
            ("Action=SetDesiredCapacity&DesiredCapacity=6", Some("above max value 5")),
            ("Action=SetDesiredCapacity&DesiredCapacity=0", Some("below min value 1")),
            ("Action=SetDesiredCapacity&DesiredCapacity=3", None),
        ] {
            let got = sizes(&request(text), Some(GROUP)).map(|refusal| refusal.message);
            let fits = match (&got, refused) {
                (Some(got), Some(refused)) => got.contains(refused),
                (got, refused) => got.is_none() && refused.is_none(),
            };
            assert!(fits, "{text}: {got:?}");
        }
        assert_eq!(sizes(&request("Action=UpdateAutoScalingGroup"), None), Some(gone()));
    }

    #[test]
    fn the_last_node_of_the_minimum_stays() {
        let text = "Action=TerminateInstanceInAutoScalingGroup&ShouldDecrementDesiredCapacity=true";
        assert!(termination(&request(text), GROUP).is_some());
        assert!(termination(&request(text), Sizes { desired: 2, ..GROUP }).is_none());
        assert!(termination(&request("Action=X"), GROUP).is_none());
    }

    #[test]
    fn long_tags_are_refused() {
        let tag = |length: usize| format!("Action=CreateOrUpdateTags&Tags.member.1.Value={}", "x".repeat(length));
        assert!(tags(&request(&tag(256))).is_none());
        assert!(tags(&request(&tag(257))).is_some());
    }
}
