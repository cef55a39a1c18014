//! Which groups hold how much of the headroom.

/// A group, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// The nodes that it has in any case.
    pub base: u32,
    /// `MaxSize`.
    pub max: u32,
    /// Nodes that pods run on.
    pub busy: u32,
    /// Headroom that is held there now.
    pub held: u32,
    /// What a node costs an hour, in any unit; the same for all where it is not known.
    pub price: u64,
    /// It may be raised.
    pub is_open: bool,
}

/// The floor that each group is to have (busy nodes included), none where its base is enough.
///
/// Idle nodes within a base count first: they are there in any case. What is held stays where it is, as long as it is
/// wanted; what is new goes to the cheapest group, and among these to the one that holds least, so that zones share.
/// What goes is the dearest.
pub fn share(rooms: &[Room], headroom: u32) -> Vec<Option<u32>> {
    let idle: u64 = rooms
        .iter()
        .map(|room| u64::from(room.base.saturating_sub(room.busy)))
        .sum();
    let wanted = u64::from(headroom).saturating_sub(idle);
    let space = |room: &Room| {
        let from = room.base.max(room.busy);
        if room.is_open { room.max.saturating_sub(from) } else { 0 }
    };
    let mut held: Vec<u32> = rooms.iter().map(|room| room.held.min(space(room))).collect();
    let sum = |held: &[u32]| held.iter().map(|&nodes| u64::from(nodes)).sum::<u64>();
    while sum(&held) > wanted {
        let dearest = (0..rooms.len())
            .filter(|&at| held[at] > 0)
            .max_by_key(|&at| (rooms[at].price, held[at], at));
        let Some(at) = dearest else { break };
        held[at] -= 1;
    }
    while sum(&held) < wanted {
        let cheapest = (0..rooms.len())
            .filter(|&at| held[at] < space(&rooms[at]))
            .min_by_key(|&at| (rooms[at].price, held[at], at));
        let Some(at) = cheapest else { break };
        held[at] += 1;
    }
    rooms
        .iter()
        .zip(held)
        .map(|(room, held)| (held > 0).then(|| room.base.max(room.busy) + held))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room(base: u32, busy: u32, max: u32) -> Room {
        Room {
            base,
            max,
            busy,
            is_open: true,
            ..Room::default()
        }
    }

    #[test]
    fn zones_share_and_the_base_counts_first() {
        let zones = [room(0, 3, 10), room(0, 0, 10), room(0, 1, 10)];
        assert_eq!(share(&zones, 4), [Some(5), Some(1), Some(2)]);
        // Three of the five of the base are idle.
        assert_eq!(share(&[room(5, 2, 10)], 3), [None]);
        assert_eq!(share(&[room(5, 2, 10)], 4), [Some(6)]);
    }

    #[test]
    fn what_is_held_stays_and_the_dearest_goes_first() {
        let (cheap, dear) = (
            room(0, 0, 10),
            Room {
                price: 9,
                held: 3,
                ..room(0, 0, 10)
            },
        );
        assert_eq!(share(&[cheap, dear], 4), [Some(1), Some(3)]);
        assert_eq!(share(&[Room { held: 2, ..cheap }, dear], 2), [Some(2), None]);
    }

    #[test]
    fn a_group_that_is_shut_holds_nothing_and_the_others_take_over() {
        let shut = Room {
            held: 3,
            is_open: false,
            ..room(0, 1, 10)
        };
        assert_eq!(share(&[shut, room(0, 1, 3)], 3), [None, Some(3)]);
    }

    fn rooms() -> impl Strategy<Value = Vec<Room>> {
        let room = (0_u32..8, 0_u32..20, 0_u32..20, 0_u32..9, 0_u64..4, any::<bool>()).prop_map(
            |(base, max, busy, held, price, is_open)| Room {
                base,
                max: max.max(base),
                busy,
                held,
                price,
                is_open,
            },
        );
        prop::collection::vec(room, 0..6)
    }

    proptest! {
        #[test]
        fn never_above_max_nor_more_than_wanted_and_never_less_than_there_is_room_for(rooms in rooms(), headroom in 0_u32..40) {
            let floors = share(&rooms, headroom);
            let mut added = 0;
            let mut space = 0;
            let mut idle = 0;
            for (room, floor) in rooms.iter().zip(&floors) {
                let from = room.base.max(room.busy);
                idle += room.base.saturating_sub(room.busy);
                if let Some(floor) = *floor {
                    prop_assert!(room.is_open && floor > room.base && floor > room.busy && floor <= room.max);
                    added += floor - from;
                }
                if room.is_open {
                    space += room.max.saturating_sub(from);
                }
            }
            prop_assert_eq!(added, headroom.saturating_sub(idle).min(space));
        }

        #[test]
        fn what_was_decided_stays(rooms in rooms(), headroom in 0_u32..40) {
            let floors = share(&rooms, headroom);
            let again: Vec<Room> = rooms.iter().zip(&floors)
                .map(|(room, floor)| Room { held: floor.map_or(0, |floor| floor - room.base.max(room.busy)), ..*room })
                .collect();
            prop_assert_eq!(share(&again, headroom), floors);
        }
    }
}
