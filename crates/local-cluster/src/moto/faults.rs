//! What goes wrong on purpose.

use std::collections::VecDeque;

use super::request::Request;

/// How a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with a status, a code and words, and not done.
    Refuse(u16, &'static str, &'static str),
    /// It is not done, and answered with a body of one's own and this status.
    Answer(u16, String),
    /// It is not done, and never answered.
    Silence,
    /// It is done, but never answered.
    DoneInSilence,
    /// It is not done, and the connection is closed.
    HangUp,
}

impl Fault {
    /// As EC2 Auto Scaling throttles.
    pub const THROTTLED: Self = Self::Refuse(400, "Throttling", "Rate exceeded");
    /// As EC2 throttles.
    pub const LIMIT_EXCEEDED: Self = Self::Refuse(503, "RequestLimitExceeded", "Request limit exceeded.");
    /// The session has ended.
    pub const EXPIRED: Self = Self::Refuse(
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    /// The role lacks a right.
    pub const DENIED: Self = Self::Refuse(403, "AccessDenied", "User is not authorized to perform this action");
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request is there, and nothing was done.
    Before,
    /// It was done, and not answered yet.
    After,
}

/// What becomes of a request after a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes its way.
    Go,
    /// The connection is closed; before it was done, it is not done.
    HangUp,
}

/// Faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct Faults(VecDeque<(String, Fault, usize)>);

impl Faults {
    pub(crate) fn add(&mut self, operation: &str, fault: Fault, times: usize) {
        self.0.push_back((operation.to_owned(), fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of a request, the first that was told.
    pub(crate) fn take(&mut self, request: &Request) -> Option<Fault> {
        let index = self
            .0
            .iter()
            .position(|(operation, ..)| operation == "*" || *operation == request.operation)?;
        let (_, fault, times) = self.0.get_mut(index)?;
        let fault = fault.clone();
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.0.remove(index);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_operation_so_often_as_was_told() {
        let mut faults = Faults::default();
        faults.add("A", Fault::Silence, 2);
        faults.add("*", Fault::HangUp, 1);
        let request = |name: &str| Request::read(format!("Action={name}").as_bytes(), None, 0);
        assert_eq!(faults.take(&request("A")), Some(Fault::Silence));
        assert_eq!(faults.take(&request("B")), Some(Fault::HangUp));
        assert_eq!(faults.take(&request("B")), None);
        assert_eq!(faults.take(&request("A")), Some(Fault::Silence));
        assert_eq!(faults.take(&request("A")), None);
    }
}
