//! The frontier of fixed headroom: what waiting costs at which bill when a constant number of empty nodes is held.

/// A bill and the mean wait that comes with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Node-hours.
    pub bill: f64,
    /// Seconds.
    pub wait_s: f64,
}

/// The lower convex hull of points of fixed headroom, as far as waits fall: rising bills, falling waits. Between two
/// points lies what a part of the time at one and the rest at the other gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Hull {
    vertices: Vec<Vertex>,
}

impl Hull {
    /// Of at least one point; of none it is a hull on which nobody waits.
    pub fn new(points: impl IntoIterator<Item = Vertex>) -> Self {
        let mut points: Vec<Vertex> = points.into_iter().collect();
        points.sort_by(|a, b| a.bill.total_cmp(&b.bill).then(a.wait_s.total_cmp(&b.wait_s)));
        let mut vertices: Vec<Vertex> = Vec::new();
        for point in points {
            if vertices.last().is_some_and(|last| point.wait_s >= last.wait_s) {
                continue;
            }
            while let [.., before, last] = vertices[..]
                && is_above(before, last, point)
            {
                vertices.pop();
            }
            vertices.push(point);
        }
        Self { vertices }
    }

    /// The wait at a bill; beyond the ends it is that of the end.
    pub fn wait_s(&self, bill: f64) -> f64 {
        let after = self.vertices.partition_point(|vertex| vertex.bill <= bill);
        match (
            after.checked_sub(1).map(|at| self.vertices[at]),
            self.vertices.get(after),
        ) {
            (Some(left), Some(right)) => {
                let part = (bill - left.bill) / (right.bill - left.bill);
                left.wait_s + part * (right.wait_s - left.wait_s)
            }
            (Some(end), None) => end.wait_s,
            (None, Some(end)) => end.wait_s,
            (None, None) => 0.0,
        }
    }

    /// The least bill at which the wait is this; that of the last point where it is never so short.
    pub fn bill(&self, wait_s: f64) -> f64 {
        let after = self.vertices.partition_point(|vertex| vertex.wait_s > wait_s);
        match (
            after.checked_sub(1).map(|at| self.vertices[at]),
            self.vertices.get(after),
        ) {
            (Some(left), Some(right)) => {
                let part = (left.wait_s - wait_s) / (left.wait_s - right.wait_s);
                left.bill + part * (right.bill - left.bill)
            }
            (Some(end), None) => end.bill,
            (None, Some(end)) => end.bill,
            (None, None) => 0.0,
        }
    }

    /// Its corners, by rising bill.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }
}

/// Whether the middle one lies on or above the line between the others.
fn is_above(left: Vertex, middle: Vertex, right: Vertex) -> bool {
    let (run, rise) = (right.bill - left.bill, right.wait_s - left.wait_s);
    (middle.wait_s - left.wait_s) * run >= rise * (middle.bill - left.bill)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hull(points: &[(f64, f64)]) -> Hull {
        Hull::new(points.iter().map(|&(bill, wait_s)| Vertex { bill, wait_s }))
    }

    #[test]
    fn points_above_the_line_between_others_do_not_count() {
        let hull = hull(&[(10.0, 100.0), (12.0, 90.0), (20.0, 20.0), (30.0, 25.0), (40.0, 10.0)]);
        let corners: Vec<f64> = hull.vertices().iter().map(|vertex| vertex.bill).collect();
        assert_eq!(corners, [10.0, 20.0, 40.0]);
        for (bill, wait_s) in [(5.0, 100.0), (10.0, 100.0), (15.0, 60.0), (30.0, 15.0), (50.0, 10.0)] {
            assert!((hull.wait_s(bill) - wait_s).abs() < 1e-9, "{bill}");
        }
        for (wait_s, bill) in [(200.0, 10.0), (60.0, 15.0), (15.0, 30.0), (10.0, 40.0), (1.0, 40.0)] {
            assert!((hull.bill(wait_s) - bill).abs() < 1e-9, "{wait_s}");
        }
    }

    #[test]
    fn one_point_and_none_are_hulls() {
        assert!((hull(&[(3.0, 7.0)]).wait_s(1.0) - 7.0).abs() < 1e-9);
        assert!(hull(&[]).wait_s(1.0).abs() < 1e-9 && hull(&[]).bill(1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_point_is_below_the_hull(
            points in prop::collection::vec((0_u32..1_000, 0_u32..1_000), 1..20),
        ) {
            let points: Vec<(f64, f64)> = points.iter().map(|&(bill, wait)| (bill.into(), wait.into())).collect();
            let hull = hull(&points);
            for &(bill, wait_s) in &points {
                prop_assert!(hull.wait_s(bill) <= wait_s + 1e-6 || bill < hull.vertices()[0].bill);
                prop_assert!(hull.wait_s(bill) <= wait_s + 1e-6);
            }
            let slopes: Vec<f64> = hull.vertices().windows(2)
                .map(|pair| (pair[1].wait_s - pair[0].wait_s) / (pair[1].bill - pair[0].bill)).collect();
            prop_assert!(slopes.iter().all(|slope| *slope < 0.0) && slopes.is_sorted(), "{:?}", slopes);
        }
    }
}
