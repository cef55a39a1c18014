//! `setup-kompass.sh eks` from nothing to nothing, and interrupted wherever it takes its time. What is in the cluster is
//! made up (`fakes/`); with real pods it is tested once, beside this (`installed.rs`).

use crate::life::Aws;
use crate::machine::Machine;

/// Terraform has made something, and has something left to make.
const UNDER_WAY: &str = "aws_vpc.this: Creation complete";

#[tokio::test]
async fn one_command_makes_a_cluster_however_often_it_was_interrupted_and_another_takes_all_of_it_away() {
    let aws = Aws::start().await;
    let machine = Machine::new(&aws).await;
    let inputs = machine.inputs();
    let make = [
        "--vars",
        &inputs,
        "--access-from",
        "203.0.113.7/32",
        "--jobs",
        "spark",
        "--yes",
    ];

    // What is made stays, the lock goes.
    let (code, told) = machine.ended_at(UNDER_WAY, &make).await;
    assert_eq!(code, Some(130), "{told}");
    for word in [
        "1 created aws_eks_cluster",
        "4 created aws_autoscaling_group",
        "Price: 0.49 to ",
        "the same command goes on",
    ] {
        assert!(told.contains(word), "{word}:\n{told}");
    }
    let half = aws.look().await;
    assert_eq!(
        (half["vpcs"].as_u64(), half["clusters"].as_array().map(Vec::len)),
        (Some(1), Some(0)),
        "{half}"
    );
    assert!(!machine.calls("helm").contains("install"), "{told}");

    // And so at each later step, whose own work is lost, and no other's.
    let built = |image: &str| machine.calls("docker").matches(&format!("--target {image} ")).count();
    let (code, told) = machine
        .ended_at("building the image kompass-admission-webhook", &make)
        .await;
    assert_eq!(code, Some(130), "{told}");
    assert!(!told.contains("created aws_vpc\n"), "{told}");
    assert_eq!((built("scheduler-extender"), built("cli")), (1, 0), "{told}");

    for (step, releases) in [
        ("installing cluster-autoscaler", [false, false]),
        ("installing the chart", [true, false]),
        ("proving it", [true, true]),
    ] {
        let (code, told) = machine.ended_at(step, &make).await;
        assert_eq!(code, Some(130), "{step}:\n{told}");
        assert!(told.contains("nothing to change"), "{step}:\n{told}");
        let there = ["cluster-autoscaler", "kompass"].map(|release| machine.has_release(release));
        assert_eq!(there, releases, "{step}:\n{told}");
    }

    let told = machine.done(&make).await;
    assert!(!told.contains("building the image"), "{told}");
    let whole = aws.look().await;
    assert_eq!(whole["clusters"], serde_json::json!(["spark-eu"]));
    assert_eq!(whole["vpcs"], 1);
    let kubeconfig = std::fs::read_to_string(machine.state().join("kubeconfig")).unwrap();
    assert!(
        kubeconfig.contains("get-token") && kubeconfig.contains("spark-eu"),
        "{kubeconfig}"
    );
    assert!(!machine.has_users_kubeconfig(), "the user's kubeconfig was touched");
    let builds = ["scheduler-extender", "predictor", "cli"].map(built);
    assert_eq!(builds, [1, 1, 1], "{}", machine.calls("docker"));

    // Again: nothing to change, and no image twice. Inputs are those of the last run.
    let told = machine.done(&["--jobs", "spark", "--yes"]).await;
    assert!(told.contains("nothing to change"), "{told}");
    assert!(!told.contains("building the image"), "{told}");

    // Whoever has lost the state, or never had it, does no harm.
    let state = machine.state();
    let away = state.with_extension("away");
    std::fs::rename(&state, &away).unwrap();
    let (code, told) = machine.outcome(&make).await;
    assert_eq!(code, Some(6), "{told}");
    assert!(
        told.contains("there is a cluster spark-eu in eu-central-1 already"),
        "{told}"
    );
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&away, &state).unwrap();

    // A destroy is taken up, too: inside the cluster, and in the middle of Terraform.
    let destroy = ["--destroy", "--yes"];
    let (code, told) = machine.ended_at("taking KOMPASS out", &destroy).await;
    assert_eq!(code, Some(130), "{told}");
    assert_eq!(aws.look().await["clusters"], whole["clusters"]);
    assert!(machine.has_release("kompass") && machine.has_release("cluster-autoscaler"));
    let (code, told) = machine.ended_at("Destruction complete", &destroy).await;
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("the same command goes on"), "{told}");
    assert!(!machine.has_release("kompass") && !machine.has_release("cluster-autoscaler"));
    assert_eq!(aws.look().await["vpcs"], 1);

    let told = machine.done(&destroy).await;
    assert!(
        told.contains("AWS deletes these keys when their time is over"),
        "{told}"
    );
    assert!(machine.calls("kompass").contains("uninstall --kubeconfig"));
    assert!(!state.exists());
    // One that was being made when it was interrupted is made anew.
    aws.is_empty_but_for(2).await;
    machine.done(&destroy).await;
}
