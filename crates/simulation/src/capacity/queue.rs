//! The gangs that wait, and how many new nodes they need: first fit decreasing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use kompass_capacity::{Members, Shape};

use super::nodes::Room;

/// What a member requests: its dominant share, its CPU and its memory. The largest is first.
type Size = Reverse<(u64, u64, u64)>;

/// Waiting gangs, first come, first served.
#[derive(Debug)]
pub(super) struct Queue {
    shape: Shape,
    gangs: VecDeque<usize>,
    /// Members of all of them by what they request.
    sizes: BTreeMap<Size, u64>,
}

/// What the whole queue takes to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Need {
    /// Nodes beyond those that are ready.
    pub(super) new: u64,
    /// Of the empty nodes, those on which something is placed.
    pub(super) empty: u64,
}

impl Queue {
    pub(super) const fn new(shape: Shape) -> Self {
        Self {
            shape,
            gangs: VecDeque::new(),
            sizes: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gangs.is_empty()
    }

    /// The gang whose turn it is.
    pub(super) fn head(&self) -> Option<usize> {
        self.gangs.front().copied()
    }

    pub(super) fn push(&mut self, gang: usize, members: &[Members]) {
        self.gangs.push_back(gang);
        for member in members.iter().filter(|member| member.count > 0) {
            *self.sizes.entry(self.size(member)).or_default() += member.count;
        }
    }

    /// The head starts.
    pub(super) fn pop(&mut self, members: &[Members]) {
        self.gangs.pop_front();
        for member in members.iter().filter(|member| member.count > 0) {
            let size = self.size(member);
            if let Some(count) = self.sizes.get_mut(&size) {
                *count -= member.count;
                if *count == 0 {
                    self.sizes.remove(&size);
                }
            }
        }
    }

    /// The least CPU and the least memory that any waiting member requests.
    pub(super) fn least(&self) -> (u64, u64) {
        let mut least = (u64::MAX, u64::MAX);
        for &Reverse((_, cpu, memory)) in self.sizes.keys() {
            least = (least.0.min(cpu), least.1.min(memory));
        }
        least
    }

    /// First fit decreasing of all waiting members into `rooms` (the last of which are the empty nodes) and then into new
    /// nodes. Rooms that are alike are filled together: members of one size fill one after the other as far as it goes.
    pub(super) fn need(&self, rooms: &mut Vec<Room>) -> Need {
        let all = (self.shape.cpu_milli(), self.shape.memory_mib());
        let ready: u64 = rooms.iter().map(|room| room.nodes).sum();
        let empty = rooms.last().map_or(0, |room| room.nodes);
        for (&Reverse((_, cpu, memory)), &count) in &self.sizes {
            let mut left = fill(rooms, (cpu, memory), count);
            let each = fit(all, (cpu, memory));
            if left > 0 && each > 0 {
                let nodes = left.div_ceil(each);
                rooms.push(Room {
                    cpu_milli: all.0,
                    memory_mib: all.1,
                    nodes,
                });
                let last = rooms.len() - 1;
                left = fill_from(rooms, last, (cpu, memory), left);
            }
            debug_assert!(left == 0 || each == 0, "new nodes take what is left");
        }
        // Rooms were only split, in place: the first ones are still those that were ready, and the empty ones their last.
        let mut need = Need::default();
        let mut seen = 0;
        for room in rooms.iter() {
            if seen >= ready {
                need.new += room.nodes;
            } else if seen >= ready - empty && (room.cpu_milli, room.memory_mib) != all {
                need.empty += room.nodes;
            }
            seen += room.nodes;
        }
        need
    }

    fn size(&self, member: &Members) -> Size {
        let share = self.shape.share(member.cpu_milli, member.memory_mib);
        Reverse((share, member.cpu_milli, member.memory_mib))
    }
}

fn fill(rooms: &mut Vec<Room>, request: (u64, u64), count: u64) -> u64 {
    fill_from(rooms, 0, request, count)
}

/// Puts members into the rooms from one on, in order; how many are left.
fn fill_from(rooms: &mut Vec<Room>, from: usize, request: (u64, u64), count: u64) -> u64 {
    let (mut at, mut left) = (from, count);
    while left > 0 && at < rooms.len() {
        let room = rooms[at];
        let each = fit((room.cpu_milli, room.memory_mib), request).min(left);
        if each == 0 || room.nodes == 0 {
            at += 1;
            continue;
        }
        let full = (left / each).min(room.nodes);
        left -= full * each;
        rooms[at] = Room {
            nodes: full,
            ..used(room, request, each)
        };
        at += 1;
        if full < room.nodes {
            let untouched = Room {
                nodes: room.nodes - full,
                ..room
            };
            rooms.insert(at, untouched);
        }
    }
    left
}

const fn used(room: Room, request: (u64, u64), pods: u64) -> Room {
    Room {
        cpu_milli: room.cpu_milli - pods * request.0,
        memory_mib: room.memory_mib - pods * request.1,
        nodes: room.nodes,
    }
}

/// How many pods with these requests fit in this room; a resource that isn't requested sets no limit.
pub(super) fn fit(room: (u64, u64), request: (u64, u64)) -> u64 {
    let cpu = room.0.checked_div(request.0).unwrap_or(u64::MAX);
    let memory = room.1.checked_div(request.1).unwrap_or(u64::MAX);
    cpu.min(memory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(members: &[(u64, u64, u64)]) -> Queue {
        let mut queue = Queue::new(Shape::new(8, 8).unwrap());
        for (gang, &(count, cpu_milli, memory_mib)) in members.iter().enumerate() {
            let members = Members {
                count,
                cpu_milli,
                memory_mib,
            };
            queue.push(gang, &[members]);
        }
        queue
    }

    fn room(cpu_milli: u64, memory_mib: u64, nodes: u64) -> Room {
        Room {
            cpu_milli,
            memory_mib,
            nodes,
        }
    }

    #[test]
    fn the_largest_is_placed_first() {
        for (members, rooms, new, empty) in [
            // 5 + 3, 5 + 3, and not 3 + 3, 5, 5.
            (vec![(2, 3, 1), (2, 5, 1)], vec![room(8, 8, 0)], 2, 0),
            (vec![(1, 8, 8), (1, 1, 1)], vec![room(8, 8, 1)], 1, 1),
            // Free room on busy nodes first: 2 of 3 members go there.
            (vec![(3, 4, 1)], vec![room(4, 8, 2), room(8, 8, 1)], 0, 1),
            (vec![(9, 4, 1)], vec![room(4, 8, 2), room(8, 8, 1)], 3, 1),
            // Memory is what doesn't fit.
            (vec![(3, 1, 5)], vec![room(8, 8, 0)], 3, 0),
            (vec![], vec![room(8, 8, 2)], 0, 0),
            (vec![(5, 0, 0)], vec![room(8, 8, 0)], 1, 0),
        ] {
            let need = queue(&members).need(&mut rooms.clone());
            assert_eq!((need.new, need.empty), (new, empty), "{members:?}");
        }
    }

    /// First fit decreasing, one member and one node at a time.
    fn plainly(members: &[(u64, u64, u64)], rooms: &[Room]) -> Need {
        let mut one_by_one: Vec<(u64, u64, u64)> = Vec::new();
        for &(count, cpu, memory) in members {
            one_by_one.extend((0..count).map(|_| (cpu.max(memory) * 8, cpu, memory)));
        }
        one_by_one.sort_unstable();
        let count = |nodes: u64| usize::try_from(nodes).unwrap();
        let ready = count(rooms.iter().map(|room| room.nodes).sum());
        let empty = rooms.last().map_or(0, |room| count(room.nodes));
        let mut nodes: Vec<(u64, u64)> = Vec::new();
        for room in rooms {
            nodes.extend((0..room.nodes).map(|_| (room.cpu_milli, room.memory_mib)));
        }
        let mut touched = vec![false; nodes.len()];
        for (_, cpu, memory) in one_by_one.into_iter().rev() {
            let place = nodes.iter().position(|free| free.0 >= cpu && free.1 >= memory);
            let place = place.unwrap_or_else(|| {
                nodes.push((8, 8));
                touched.push(false);
                nodes.len() - 1
            });
            nodes[place] = (nodes[place].0 - cpu, nodes[place].1 - memory);
            touched[place] = true;
        }
        Need {
            new: (nodes.len() - ready) as u64,
            empty: touched[ready - empty..ready].iter().filter(|touched| **touched).count() as u64,
        }
    }

    proptest! {
        #[test]
        fn filling_together_is_filling_one_by_one(
            members in prop::collection::vec((1_u64..6, 1_u64..=8, 1_u64..=8), 0..6),
            busy in prop::collection::vec((0_u64..8, 0_u64..8, 1_u64..4), 0..5),
            empty in 0_u64..4,
        ) {
            let mut rooms: Vec<Room> = busy.iter().map(|&(cpu, memory, nodes)| room(cpu, memory, nodes)).collect();
            rooms.push(room(8, 8, empty));
            let expected = plainly(&members, &rooms);
            prop_assert_eq!(queue(&members).need(&mut rooms), expected);
        }

        #[test]
        fn what_has_started_needs_nothing(members in prop::collection::vec((1_u64..6, 1_u64..=8, 1_u64..=8), 0..6)) {
            let mut queue = queue(&members);
            for &(count, cpu_milli, memory_mib) in &members {
                queue.pop(&[Members { count, cpu_milli, memory_mib }]);
            }
            prop_assert!(queue.is_empty() && queue.sizes.is_empty());
        }
    }
}
