//! What may happen, as abstract steps: `who` and `which` are taken modulo what there is, so that every sequence has a
//! meaning and a shorter one too.

use proptest::prelude::*;

/// Which nodes kube-scheduler names to Filter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    /// All that pass its own filters, as far as it knows the pods.
    Fitting,
    /// All that are open, also those without room: its cache is behind.
    Whole,
    /// So many of these, beginning somewhere: it looks only at a sample of a large cluster.
    Sample(u8, u8),
    /// One: where an autoscaler or itself guesses that the pod could go.
    One(u8),
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Written,
    /// Certainly not written.
    Refused,
    Conflict,
    /// No answer; written.
    LostAnswer,
    /// No answer; not written.
    Lost,
    /// No answer; may be written later.
    Late,
}

/// Something happens. `follower`: at the planner that does not lead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    // Users.
    Submit {
        executors: u8,
        cpu: u8,
        queue: u8,
        priority: u8,
        dynamic: bool,
        profiled: bool,
        gated: bool,
        other_gate: bool,
        zone: u8,
        seconds: u8,
    },
    Profile(u8),
    /// Another gate than KOMPASS's is opened: a pod gets none after it was made.
    OtherGate(u8),
    End(u8, bool),
    DeleteDriver(u8, bool),
    Plain(u8),
    /// So many executors of client mode come, or such a run ends.
    Client(u8, u8),
    EndClient(u8),
    // Spark and the kubelets.
    Spark(u8, u8),
    SparkAll,
    FailExecutor(u8),
    DeleteExecutor(u8),
    LetGo(u8),
    Reap,
    /// A driver makes an executor larger than its profile says.
    Large(u8),
    /// Somebody makes a pod in another namespace that says it is a driver's executor.
    Stranger(u8),
    /// A kubelet says nothing about a pod any more, or speaks again.
    Silence(u8),
    /// A running pod is resized in place.
    ResizePod(u8),
    /// A pod changes in what does not matter.
    Touch(u8),
    // Watches.
    Deliver {
        follower: bool,
        kind: u8,
        count: u8,
    },
    DeliverAll {
        follower: bool,
    },
    Relist {
        follower: bool,
        seed: u8,
    },
    Repeat(u8),
    /// An event of the past is told, or Filter asked with it.
    Late {
        follower: bool,
        which: u16,
        filter: bool,
    },
    // The planner.
    Decide {
        follower: bool,
    },
    Carry {
        count: u8,
        fate: Fate,
    },
    Turn,
    /// All is said, and time goes on to just before the planner wants to be woken, at most so far.
    Doze(u16),
    // kube-scheduler.
    Schedule(u8, List),
    ScheduleAll,
    /// Filter is asked, and the Bind comes later.
    Choose(u8, List),
    BindChosen(u8),
    Ask {
        follower: bool,
        which: u8,
        list: List,
    },
    Land(u8, Fate),
    MoveScheduler,
    // Others' pods and nodes.
    Foreign(u8, u8),
    RemovePlain(u8),
    /// Somebody labels a pod of others anew.
    Relabel(u8),
    AddNode(u8, u8),
    ScaleUp(u8),
    ScaleDown(u8),
    LoseNode(u8, bool),
    ReturnNode(u8),
    Cordon(u8),
    Unready(u8),
    Resize(u8, u8),
    Quota(u8),
    // Faults.
    Kill {
        follower: bool,
    },
    Restart(u8),
    HandOver,
    GhostLands(u8),
    Tick(u16),
}

fn list() -> impl Strategy<Value = List> {
    prop_oneof![
        3 => Just(List::Fitting),
        3 => Just(List::Whole),
        2 => (1..4_u8, any::<u8>()).prop_map(|(count, from)| List::Sample(count, from)),
        1 => any::<u8>().prop_map(List::One),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Written),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Conflict),
        1 => Just(Fate::LostAnswer),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Late),
    ]
}

fn submit() -> impl Strategy<Value = Step> {
    let job = (0..6_u8, 1..4_u8, 0..3_u8, prop::sample::select(vec![0, 0, 0, 1, 2_u8]));
    let kind = (
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.92),
        prop::bool::weighted(0.06),
    );
    let rest = (prop::sample::select(vec![0, 0, 0, 0, 1, 2, 3_u8]), 1..120_u8);
    (job, kind, rest).prop_map(
        |((executors, cpu, queue, priority), (dynamic, profiled, gated, other_gate), (zone, seconds))| Step::Submit {
            executors,
            cpu,
            queue,
            priority,
            dynamic,
            profiled,
            gated,
            other_gate,
            zone,
            seconds,
        },
    )
}

/// Any step, those without which nothing happens most often.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let which = any::<u8>;
    let follower = || prop::bool::weighted(0.3);
    let often = prop_oneof![
        8 => submit(),
        10 => Just(Step::Turn),
        8 => follower().prop_map(|follower| Step::Decide { follower }),
        8 => (0..6_u8, fate()).prop_map(|(count, fate)| Step::Carry { count, fate }),
        8 => (follower(), 0..3_u8, 1..8_u8).prop_map(|(follower, kind, count)| Step::Deliver { follower, kind, count }),
        6 => follower().prop_map(|follower| Step::DeliverAll { follower }),
        9 => (which(), list()).prop_map(|(which, list)| Step::Schedule(which, list)),
        4 => Just(Step::ScheduleAll),
        3 => (which(), list()).prop_map(|(which, list)| Step::Choose(which, list)),
        3 => which().prop_map(Step::BindChosen),
        8 => (which(), fate()).prop_map(|(which, fate)| Step::Land(which, fate)),
        3 => (follower(), which(), list()).prop_map(|(follower, which, list)| Step::Ask { follower, which, list }),
        6 => (which(), 1..4_u8).prop_map(|(driver, count)| Step::Spark(driver, count)),
        4 => Just(Step::SparkAll),
        4 => (which(), 1..4_u8).prop_map(|(job, count)| Step::Client(job, count)),
        2 => which().prop_map(Step::EndClient),
        6 => prop_oneof![4 => 1..400_u16, 2 => 400..4_000_u16, 1 => 4_000..20_000_u16].prop_map(Step::Tick),
        5 => (which(), prop::bool::weighted(0.2)).prop_map(|(driver, sidecar)| Step::End(driver, sidecar)),
    ];
    let lives = prop_oneof![
        3 => which().prop_map(Step::Profile),
        2 => which().prop_map(Step::OtherGate),
        2 => (which(), any::<bool>()).prop_map(|(driver, at_once)| Step::DeleteDriver(driver, at_once)),
        1 => (1..3_u8).prop_map(Step::Plain),
        3 => which().prop_map(Step::FailExecutor),
        3 => which().prop_map(Step::DeleteExecutor),
        2 => which().prop_map(Step::LetGo),
        4 => Just(Step::Reap),
        3 => (which(), 1..4_u8).prop_map(|(node, cpus)| Step::Foreign(node, cpus)),
        4 => which().prop_map(Step::RemovePlain),
        1 => which().prop_map(Step::Relabel),
        1 => which().prop_map(Step::Large),
        1 => which().prop_map(Step::Stranger),
        2 => which().prop_map(Step::Silence),
        2 => which().prop_map(Step::ResizePod),
        3 => which().prop_map(Step::Touch),
        3 => (follower(), any::<u16>(), prop::bool::weighted(0.3))
            .prop_map(|(follower, which, filter)| Step::Late { follower, which, filter }),
        1 => (1..30_000_u16).prop_map(Step::Doze),
    ];
    let seldom = prop_oneof![
        1 => (1..9_u8, 0..2_u8).prop_map(|(cpus, zone)| Step::AddNode(cpus, zone)),
        3 => which().prop_map(Step::ScaleUp),
        3 => which().prop_map(Step::ScaleDown),
        1 => (which(), any::<bool>()).prop_map(|(node, linger)| Step::LoseNode(node, linger)),
        2 => which().prop_map(Step::ReturnNode),
        2 => which().prop_map(Step::Cordon),
        2 => which().prop_map(Step::Unready),
        1 => (which(), 1..9_u8).prop_map(|(node, cpus)| Step::Resize(node, cpus)),
        1 => (0..24_u8).prop_map(Step::Quota),
        1 => follower().prop_map(|follower| Step::Kill { follower }),
        2 => which().prop_map(Step::Restart),
        1 => Just(Step::HandOver),
        2 => which().prop_map(Step::GhostLands),
        1 => Just(Step::MoveScheduler),
        1 => which().prop_map(Step::Repeat),
        1 => (follower(), which()).prop_map(|(follower, seed)| Step::Relist { follower, seed }),
    ];
    prop_oneof![14 => often, 3 => lives, 2 => seldom]
}
