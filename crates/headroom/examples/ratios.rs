#![allow(clippy::all, clippy::pedantic, clippy::print_stdout, clippy::unwrap_used)]
use kompass_capacity::*; use kompass_simulation::capacity::*; use kompass_simulation::capacity::protocol::Verdict;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let gangs = kompass_simulation::trace::read(std::fs::File::open(&a[1]).unwrap()).unwrap();
    let shape = Shape::new(a[2].parse().unwrap(), a[3].parse().unwrap()).unwrap();
    let timing = Timing::new(150_000);
    let (jobs, _) = input::jobs(&gangs, shape);
    let mut families = kompass_capacity::policy::families(shape);
    families.push(kompass_headroom::family(&jobs, shape, timing));
    let t = std::time::Instant::now();
    let b = Backtest::run(&gangs, Settings { shape, timing, seed: 1 }, &families, vec![], &mut |_, _| ()).unwrap();
    println!("{} {:.1?} gangs {} left out {} reactive val {:.1} test {:.1}", a[1], t.elapsed(), b.gangs, b.left_out, b.tried[0].validation[0].wait_mean_s, b.tried[0].test[0].wait_mean_s);
    for t in b.tried.iter().chain([&b.oracle]) {
        let c: Vec<f64> = t.on_test.chosen.iter().map(|&i| t.parameters[i]).collect();
        println!("{:18} val {:?} {:?} {:?} | test {:?} {:?} {:?} | hind {:?} chosen {:?} {:?}", t.policy, t.on_validation.ratio.map(|x| (x*1e3).round()/1e3), t.on_validation.interval, Verdict::of(&t.on_validation), t.on_test.ratio, t.on_test.interval, Verdict::of(&t.on_test), t.in_hindsight.ratio, c, t.on_test.beside);
    }
    println!("fixed {:?}", b.tried[0].test.iter().map(|p| (p.bill_node_hours, p.wait_mean_s)).collect::<Vec<_>>()); println!("recommended {}", b.tried[b.recommended].policy);
}
