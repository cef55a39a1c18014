//! `kill -9` at exact points of a job's way, one after the other on one cluster that has room for some of the gangs
//! only: whatever is booked twice or lost there shows.

use std::time::{Duration, Instant};

use kompass_local_cluster::process::Daemon;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::fault_proxy::{Armed, Effect, Moment, Seen};
use kompass_tests::spark::{Application, Behaviour, Drivers};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use nix::sys::signal::Signal;

use crate::{PATIENCE, all_done, bound, submit_all};

/// For the gangs of one point, restart and the scheduler's back-off included.
const LIMIT: Duration = Duration::from_secs(90);
/// Gangs per point, of five CPUs each, on twelve CPUs.
const GANGS: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Extender,
    Webhook,
    Scheduler,
}

/// Whether a request is the one, given the name of the point's first gang.
type Matches = fn(&Seen, &str) -> bool;

/// Where a part dies: at a request about the first gang of the point.
struct Point {
    name: &'static str,
    victim: Part,
    moment: Moment,
    matches: Matches,
}

const fn point(name: &'static str, victim: Part, moment: Moment, matches: Matches) -> Point {
    Point {
        name,
        victim,
        moment,
        matches,
    }
}

fn writes_profile(seen: &Seen, app: &str) -> bool {
    seen.patches(&format!("{app}-driver"), "job-profile")
}

fn writes_plan(seen: &Seen, app: &str) -> bool {
    seen.patches(&format!("{app}-driver"), "gang-plan")
}

fn binds_driver(seen: &Seen, app: &str) -> bool {
    seen.binds(&format!("{app}-driver"))
}

fn binds_executor(seen: &Seen, app: &str) -> bool {
    seen.binds(&format!("{app}-exec-"))
}

fn binds_third_executor(seen: &Seen, app: &str) -> bool {
    seen.binds(&format!("{app}-exec-3"))
}

const POINTS: [Point; 13] = [
    point("e-before-plan", Part::Extender, Moment::Before, writes_plan),
    point("e-plan-written", Part::Extender, Moment::After, writes_plan),
    point("e-before-driver-bind", Part::Extender, Moment::Before, binds_driver),
    point("e-driver-bind-written", Part::Extender, Moment::After, binds_driver),
    point("e-before-executor-bind", Part::Extender, Moment::Before, binds_executor),
    point("e-executor-bind-written", Part::Extender, Moment::After, binds_executor),
    point("e-mid-ramp", Part::Extender, Moment::Before, binds_third_executor),
    point("s-plan-written", Part::Scheduler, Moment::After, writes_plan),
    point("s-before-driver-bind", Part::Scheduler, Moment::Before, binds_driver),
    point("s-driver-bind-written", Part::Scheduler, Moment::After, binds_driver),
    point("s-mid-ramp", Part::Scheduler, Moment::After, binds_third_executor),
    point("w-before-profile", Part::Webhook, Moment::Before, writes_profile),
    point("w-profile-written", Part::Webhook, Moment::After, writes_profile),
];

fn gangs(point: &str) -> Vec<Application> {
    (0..GANGS)
        .map(|number| Application::new(format!("{point}-{number}"), 1_000, 4, 1_000))
        .collect()
}

fn daemon(deployment: &Deployment, part: Part) -> &Daemon {
    let daemon = match part {
        Part::Extender => &deployment.extender,
        Part::Webhook => &deployment.webhook,
        Part::Scheduler => &deployment.scheduler,
    };
    daemon.as_ref().unwrap()
}

fn arm(deployment: &Deployment, point: &Point, app: String) -> Armed {
    let record = daemon(deployment, point.victim).record().clone();
    let (proxy, effect) = match point.victim {
        Part::Extender => (deployment.extender_faults(), Effect::Kill(record)),
        Part::Webhook => (deployment.webhook_faults(), Effect::Kill(record)),
        // It asks the extender, whose requests are the same moments.
        Part::Scheduler => (deployment.extender_faults(), Effect::Signal(record, Signal::SIGKILL)),
    };
    let matches = point.matches;
    proxy.arm(point.moment, effect, move |seen| matches(seen, &app))
}

async fn revive(deployment: &mut Deployment, part: Part) {
    match part {
        Part::Extender => deployment.start_extender().await.unwrap(),
        Part::Webhook => deployment.start_webhook().await.unwrap(),
        Part::Scheduler => deployment.start_scheduler().await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_nothing_is_booked_twice_and_all_finish() {
    let options = Options {
        nodes: 3,
        faults: true,
        ..Options::default()
    };
    let mut deployment = Deployment::start(options).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    for point in &POINTS {
        let started = Instant::now();
        let applications = gangs(point.name);
        let mut armed = arm(&deployment, point, applications[0].name.clone());
        // What is created while no webhook is there goes the ordinary way, past every reservation: with the webhook
        // nothing else may be on its way.
        let is_webhook = point.victim == Part::Webhook;
        let behaviour = Behaviour {
            held: is_webhook,
            ..Behaviour::default()
        };
        let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, behaviour);
        let mut order = applications.clone();
        if is_webhook {
            order.reverse();
        }
        submit_all(&deployment, &order).await.unwrap();
        armed
            .hit(PATIENCE)
            .await
            .map_err(|error| format!("{}: {error:#}", point.name))
            .unwrap();
        let record = daemon(&deployment, point.victim).record().clone();
        wait_for("the victim to be gone", PATIENCE, || async {
            if record.is_running() { Err(()) } else { Ok(()) }
        })
        .await
        .unwrap();
        revive(&mut deployment, point.victim).await;
        drivers.let_go();
        let finished = all_done(&drivers, &applications, LIMIT).await;
        finished.map_err(|error| format!("{}: {error:#}", point.name)).unwrap();
        println!(
            "{}: all done {:?} after the first submission",
            point.name,
            started.elapsed()
        );
        drivers.stop().await;
    }

    // Between driver and first executor, where no request is on its way.
    let started = Instant::now();
    let applications = gangs("e-between");
    let held = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, held);
    submit_all(&deployment, &applications).await.unwrap();
    bound(&deployment, &applications[0].driver(), PATIENCE).await.unwrap();
    deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
    drivers.let_go();
    deployment.start_extender().await.unwrap();
    all_done(&drivers, &applications, LIMIT).await.unwrap();
    println!("e-between: all done {:?} after the first submission", started.elapsed());
    println!("the watchdog looked {} times", watchdog.finish().await.unwrap());
    drivers.stop().await;
    deployment.stop().await.unwrap();
}

/// What the API server may answer and how the network may fail at any time; nobody has to be restarted for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_refused_requests_are_made_good_without_a_restart() {
    use http::StatusCode;

    let options = Options {
        nodes: 3,
        faults: true,
        ..Options::default()
    };
    let deployment = Deployment::start(options).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    let faults: [(&str, Moment, Effect, Matches); 8] = [
        ("plan-cut", Moment::Before, Effect::Cut, writes_plan),
        ("plan-written-cut", Moment::After, Effect::Cut, writes_plan),
        (
            "plan-written-500",
            Moment::After,
            Effect::Answer(StatusCode::INTERNAL_SERVER_ERROR),
            writes_plan,
        ),
        (
            "plan-409",
            Moment::Before,
            Effect::Answer(StatusCode::CONFLICT),
            writes_plan,
        ),
        ("bind-cut", Moment::Before, Effect::Cut, binds_driver),
        ("bind-written-cut", Moment::After, Effect::Cut, binds_executor),
        (
            "bind-429",
            Moment::Before,
            Effect::Answer(StatusCode::TOO_MANY_REQUESTS),
            binds_executor,
        ),
        // Longer than the extender's deadline for a Bind: the write comes after its answer.
        (
            "bind-late",
            Moment::Before,
            Effect::Delay(Duration::from_millis(3_500)),
            binds_driver,
        ),
    ];
    let mut armed = Vec::new();
    let mut applications = Vec::new();
    for (name, moment, effect, matches) in faults {
        let application = Application::new(name, 1_000, 2, 500);
        let app = application.name.clone();
        armed.push((
            name,
            deployment
                .extender_faults()
                .arm(moment, effect, move |seen| matches(seen, &app)),
        ));
        applications.push(application);
    }
    let refused = Application::new("profile-500", 1_000, 2, 500);
    let effect = Effect::Answer(StatusCode::INTERNAL_SERVER_ERROR);
    let matches = |seen: &Seen| writes_profile(seen, "profile-500");
    armed.push((
        "profile-500",
        deployment.webhook_faults().arm(Moment::Before, effect, matches),
    ));
    applications.push(refused);

    let drivers = Drivers::start(deployment.client().clone(), JOBS, &applications, Behaviour::default());
    submit_all(&deployment, &applications).await.unwrap();
    all_done(&drivers, &applications, Duration::from_mins(2)).await.unwrap();
    for (name, mut armed) in armed {
        armed
            .hit(PATIENCE)
            .await
            .map_err(|error| format!("{name}: {error:#}"))
            .unwrap();
    }
    println!("the watchdog looked {} times", watchdog.finish().await.unwrap());
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
