//! Plans and profiles can't be forged: not at creation, not later, not by copying, and a label alone makes no executor.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kompass_core::names;
use kompass_local_cluster::kompass::Service;
use kompass_tests::deployment::{Deployment, JOBS, Options};
use kompass_tests::spark::{Application, Behaviour, Drivers, is_bound};
use kompass_tests::wait_for;
use kompass_tests::watchdog::Watchdog;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::{PATIENCE, all_done, bound, plan, waits_for};

/// A client of a user of the cluster, for pods of the tests' namespace.
async fn pods_as(deployment: &mut Deployment, user: &str) -> Api<Pod> {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:jobs",
        "system:authenticated",
    ];
    let kubeconfig = deployment.cluster().kubeconfig_for(user, &groups).unwrap();
    let client: Client = kompass_kube::client::connect(Some(&kubeconfig), "kompass-tests")
        .await
        .unwrap();
    Api::namespaced(client, JOBS)
}

/// Gives the service account that Spark's drivers usually have its usual rights, and those of a scheduler.
async fn allow_edit_and_bind(deployment: &Deployment) {
    let roles: Api<Role> = Api::namespaced(deployment.client().clone(), JOBS);
    let role = json!({
        "metadata": { "name": "binder" },
        "rules": [{ "apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"] }],
    });
    roles
        .create(&PostParams::default(), &serde_json::from_value(role).unwrap())
        .await
        .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(deployment.client().clone(), JOBS);
    for (kind, name) in [("ClusterRole", "edit"), ("Role", "binder")] {
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": "spark", "namespace": JOBS }],
        });
        bindings
            .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
            .await
            .unwrap();
    }
}

/// A scheduler of a stranger's: the API server copies annotations and labels of a Binding to the pod.
async fn a_binding_brings_no_plan(scene: &Scene) {
    let pods = &scene.spark;
    let pod = json!({
        "metadata": { "name": "strange" },
        "spec": { "schedulerName": "strange", "containers": [{ "name": "c", "image": "example.com/c" }] },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let bind = async |labels: Value, annotations: Value| {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": "strange", "labels": labels, "annotations": annotations },
            "target": { "apiVersion": "v1", "kind": "Node", "name": scene.driver.spec.as_ref().unwrap().node_name },
        });
        pods.create_subresource::<Value, Value>("binding", "strange", &PostParams::default(), &binding)
            .await
    };
    let plan = json!({ names::PLAN_ANNOTATION: scene.plan() });
    for labels in [json!({}), json!({ "spark-role": "executor" })] {
        let refused = bind(labels.clone(), plan.clone()).await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("kompass")),
            "{labels}: {refused:?}"
        );
    }
    bind(json!({}), json!({ "example.com/note": "x" }))
        .await
        .expect("other schedulers bind as they like");
    let bound = pods.get("strange").await.unwrap();
    assert!(is_bound(&bound) && !bound.annotations().contains_key(names::PLAN_ANNOTATION));
    scene.deployment.pods().delete("strange", &at_once()).await.unwrap();
}

fn annotation(name: &str, value: impl Into<Value>) -> Value {
    json!({ "metadata": { "annotations": { name: value.into() } } })
}

async fn merge(pods: &Api<Pod>, name: &str, patch: &Value) -> Result<Pod, kube::Error> {
    pods.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

fn at_once() -> DeleteParams {
    DeleteParams::default().grace_period(0)
}

fn is_refused(result: &Result<Pod, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("kompass"))
}

struct Scene {
    deployment: Deployment,
    /// Pods as the service account sees them that Spark's drivers run as.
    spark: Api<Pod>,
    /// The same for the extender's.
    kompass: Api<Pod>,
    /// A gang that fills the cluster but for one CPU.
    honest: Application,
    /// Its driver, bound.
    driver: Pod,
}

impl Scene {
    fn plan(&self) -> String {
        self.driver.annotations()[names::PLAN_ANNOTATION].clone()
    }
}

/// Changed by the driver's own account.
async fn patches_are_refused(scene: &Scene) {
    let (spark, name, plan_text) = (&scene.spark, scene.honest.driver(), scene.plan());
    // The policy takes a moment to come into effect.
    let rehearsal = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    wait_for("the policy to refuse a forged plan", PATIENCE, || async {
        let forged = Patch::Merge(annotation(names::PLAN_ANNOTATION, "{}"));
        let result = spark.patch(&name, &rehearsal, &forged).await;
        if is_refused(&result) {
            Ok(())
        } else {
            Err(format!("{result:?}"))
        }
    })
    .await
    .unwrap();
    for text in [plan_text.replace("\"v\":1", "\"v\": 1"), plan_text.clone()] {
        let written = merge(&scene.kompass, &name, &annotation(names::PLAN_ANNOTATION, text)).await;
        written.expect("KOMPASS's own account may write plans");
    }
    for forged in [
        annotation(names::PLAN_ANNOTATION, plan_text.replace("\"v\":1", "\"v\": 1")),
        annotation(names::PLAN_ANNOTATION, Value::Null),
        annotation(names::PROFILE_ANNOTATION, "{}"),
        annotation(names::PROFILE_ANNOTATION, Value::Null),
        json!({ "metadata": { "annotations": null } }),
        json!({ "metadata": { "labels": { names::GANG_LABEL: "x" } } }),
    ] {
        let result = merge(spark, &name, &forged).await;
        assert!(is_refused(&result), "{forged}: {result:?}");
    }
    let harmless = json!({ "metadata": { "annotations": { "example.com/note": "x" } } });
    merge(spark, &name, &harmless)
        .await
        .expect("what is not KOMPASS's is the user's");
}

/// Created with plan and profile, copied from another driver.
async fn nothing_is_brought_along(scene: &Scene) {
    let spark = &scene.spark;
    let copied = Application::new("copied", 1_500, 1, 1_000);
    let mut pod = copied.driver_pod();
    pod["metadata"]["annotations"] = json!({
        names::PLAN_ANNOTATION: scene.plan(),
        names::PROFILE_ANNOTATION: scene.driver.annotations()[names::PROFILE_ANNOTATION],
    });
    let created = spark
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    for name in [names::PLAN_ANNOTATION, names::PROFILE_ANNOTATION] {
        assert!(!created.annotations().contains_key(name), "{name}");
    }
    scene
        .deployment
        .pods()
        .delete(&copied.driver(), &at_once())
        .await
        .unwrap();
    // A pod that is no driver does not pass the webhook, and the policy stops it.
    let mut plain = json!({
        "metadata": { "name": "plain", "annotations": { names::PLAN_ANNOTATION: "{}" } },
        "spec": { "containers": [{ "name": "c", "image": "example.com/c" }] },
    });
    let result = spark
        .create(&PostParams::default(), &serde_json::from_value(plain.clone()).unwrap())
        .await;
    assert!(is_refused(&result), "{result:?}");
    plain["metadata"]["annotations"] = json!({});
    spark
        .create(&PostParams::default(), &serde_json::from_value(plain).unwrap())
        .await
        .unwrap();
}

/// Even with KOMPASS's own hand a plan of another driver is worth nothing: it is written on a driver that waits, and a
/// restarted extender believes only what names its driver.
async fn a_copied_plan_is_not_believed(scene: &mut Scene) -> Application {
    let copied = annotation(names::PLAN_ANNOTATION, scene.plan());
    let Scene {
        deployment, kompass, ..
    } = scene;
    let waiting = Application::new("waiting", 1_000, 1, 1_000);
    waiting.submit(deployment.client(), JOBS).await.unwrap();
    waits_for(deployment, &waiting, "no-room").await.unwrap();
    deployment.extender.as_mut().unwrap().kill_9().await.unwrap();
    merge(kompass, &waiting.driver(), &copied).await.unwrap();
    deployment.start_extender().await.unwrap();
    waits_for(deployment, &waiting, "no-room").await.unwrap();
    waiting
}

/// The label of an executor without its owner: it gets none of the gang's slots.
async fn a_label_is_no_slot(scene: &mut Scene) {
    let Scene {
        deployment,
        spark,
        honest,
        driver,
        ..
    } = scene;
    let mut lone = honest.executor_pod(&driver.uid().unwrap(), 99);
    lone["metadata"]["ownerReferences"] = json!([]);
    lone["metadata"]["labels"][names::GANG_LABEL] = json!(driver.uid());
    lone["metadata"]["name"] = json!("lone");
    lone["spec"]["nodeSelector"] = json!({ "example.com/nowhere": "true" });
    let lone = spark
        .create(&PostParams::default(), &serde_json::from_value(lone).unwrap())
        .await
        .unwrap();
    assert!(
        !lone.labels().contains_key(names::GANG_LABEL),
        "the webhook leaves the label to forgers"
    );
    // To KOMPASS it is an executor of client mode, for which nothing is reserved.
    assert_eq!(lone.spec.unwrap().scheduler_name.as_deref(), Some(names::SCHEDULER));
    // The same past the webhook, straight to KOMPASS's scheduler.
    deployment.webhook.as_mut().unwrap().kill_9().await.unwrap();
    let mut past = honest.executor_pod(&driver.uid().unwrap(), 100);
    past["metadata"]["ownerReferences"] = json!([]);
    past["metadata"]["labels"][names::GANG_LABEL] = json!(driver.uid());
    past["metadata"]["name"] = json!("past");
    past["spec"]["schedulerName"] = json!(names::SCHEDULER);
    spark
        .create(&PostParams::default(), &serde_json::from_value(past).unwrap())
        .await
        .unwrap();
    let judged = wait_for("the label's forger to be judged", PATIENCE, || async {
        let pod = deployment.pods().get("past").await.map_err(|error| error.to_string())?;
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "PodScheduled") {
            Ok(pod)
        } else {
            Err(format!("{conditions:?}"))
        }
    });
    assert!(
        !is_bound(&judged.await.unwrap()),
        "a label without an owner took a slot of the gang"
    );
    deployment.start_webhook().await.unwrap();
    for name in ["lone", "past"] {
        deployment.pods().delete(name, &at_once()).await.unwrap();
    }
}

#[tokio::test]
async fn plans_profiles_and_labels_cannot_be_forged() {
    let mut deployment = Deployment::start(Options::default()).await.unwrap();
    let watchdog = Watchdog::start(deployment.client());
    allow_edit_and_bind(&deployment).await;
    let spark = pods_as(&mut deployment, "system:serviceaccount:jobs:spark").await;
    let kompass = pods_as(&mut deployment, &Service::SchedulerExtender.user()).await;
    let honest = Application::new("honest", 1_000, 7, 2_000);
    let stays = Behaviour {
        held: true,
        ..Behaviour::default()
    };
    let drivers = Drivers::start(deployment.client().clone(), JOBS, std::slice::from_ref(&honest), stays);
    honest.submit(deployment.client(), JOBS).await.unwrap();
    let driver = bound(&deployment, &honest.driver(), PATIENCE).await.unwrap();
    let mut scene = Scene {
        deployment,
        spark,
        kompass,
        honest,
        driver,
    };
    patches_are_refused(&scene).await;
    nothing_is_brought_along(&scene).await;
    a_binding_brings_no_plan(&scene).await;
    let waiting = a_copied_plan_is_not_believed(&mut scene).await;
    a_label_is_no_slot(&mut scene).await;

    let Scene { deployment, honest, .. } = scene;
    drivers.let_go();
    all_done(&drivers, &[honest], PATIENCE).await.unwrap();
    let planned = bound(&deployment, &waiting.driver(), PATIENCE).await.unwrap();
    assert_eq!(plan(&planned).unwrap().uid, planned.uid().unwrap());
    watchdog.finish().await.unwrap();
    drivers.stop().await;
    deployment.stop().await.unwrap();
}
