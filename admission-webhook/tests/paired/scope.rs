//! The scope of labelled namespaces: rights from each of them, and none elsewhere.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kompass_core::profile::Source;
use kompass_core::{JobProfile, names};
use kompass_local_cluster::kompass::Service;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{
    ControlPlane, JOBS, Recording, annotation, eventually, gates, label, name, scheduler, service_client,
};

const WATCHED: &str = r#"kompass_profiler_namespaces{state="watched"}"#;
const DENIED: &str = r#"kompass_profiler_namespaces{state="denied"}"#;

/// A namespace of the cluster, and what a user does in it.
struct Tenant<'p> {
    plane: &'p ControlPlane,
    name: &'static str,
}

impl<'p> Tenant<'p> {
    async fn make(plane: &'p ControlPlane, name: &'static str) -> Self {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces = Api::<Namespace>::all(plane.user.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Self { plane, name }
    }

    async fn label(&self, enabled: Option<&str>) {
        let patch = json!({"metadata": {"labels": {names::ENABLED_LABEL: enabled}}});
        let namespaces = Api::<Namespace>::all(self.plane.user.clone());
        namespaces
            .patch(self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Binds a role to the webhook's account.
    async fn bind(&self, kind: &str, role: &str) {
        let binding = json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": Service::AdmissionWebhook.name(), "namespace": "kompass"}],
        });
        let bindings = Api::<RoleBinding>::namespaced(self.plane.user.clone(), self.name);
        let binding = serde_json::from_value(binding).unwrap();
        bindings.create(&PostParams::default(), &binding).await.unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.plane.user.clone(), self.name)
    }

    async fn create(&self, pod: &Value) -> Pod {
        let pod = serde_json::from_value(pod.clone()).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    async fn configure(&self, recording: &Recording) {
        let config_maps = Api::<ConfigMap>::namespaced(self.plane.user.clone(), self.name);
        for map in &recording.config_maps {
            let map = serde_json::from_value(map.clone()).unwrap();
            config_maps.create(&PostParams::default(), &map).await.unwrap();
        }
    }

    async fn profile(&self, driver: &Pod) -> Option<JobProfile> {
        let pod = self.pods().get(name(driver)).await.unwrap();
        annotation(&pod, names::PROFILE_ANNOTATION).map(|text| JobProfile::from_annotation(text).unwrap())
    }

    async fn profiled(&self, driver: &Pod, source: Source) {
        eventually("a profile", || async {
            let profile = self.profile(driver).await?;
            (profile.source == source).then_some(())
        })
        .await;
    }

    /// What events with that reason say of a driver.
    async fn told(&self, driver: &Pod, reason: &str) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.plane.user.clone(), self.name);
        let all = events.list(&ListParams::default()).await.unwrap();
        let is_meant = |event: &Event| {
            let regarding = event.regarding.as_ref();
            event.reason.as_deref() == Some(reason)
                && regarding.and_then(|object| object.uid.as_ref()) == driver.metadata.uid.as_ref()
        };
        let meant = all.items.into_iter().filter(is_meant);
        meant.filter_map(|event| event.note).collect()
    }
}

/// Whether whoever the client is may do that; `None`: in all namespaces.
async fn may(client: &Client, verb: &str, resource: &str, namespace: Option<&str>) -> bool {
    let attributes = json!({"verb": verb, "resource": resource, "namespace": namespace});
    let review = json!({"spec": {"resourceAttributes": attributes}});
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let review = serde_json::from_value(review).unwrap();
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

/// Watches of `ConfigMaps` that the API server serves, but for those of single ones.
async fn watches(plane: &ControlPlane) -> f64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = plane.user.request_text(request).await.unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("apiserver_longrunning_requests{"))
        .filter(|line| line.contains(r#"resource="configmaps""#) && line.contains(r#"scope="namespace""#));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_labelled_namespaces_are_touched_and_only_with_their_rights() {
    let plane = ControlPlane::start_labelled().await;
    let jobs = Tenant {
        plane: &plane,
        name: JOBS,
    };
    let (free, poor) = (Tenant::make(&plane, "free").await, Tenant::make(&plane, "poor").await);
    jobs.label(Some("true")).await;
    jobs.bind("ClusterRole", "kompass-profiler-namespace").await;
    poor.label(Some("true")).await;
    let webhook = plane.webhook(&["--scope", "labelled", "--conf-hold", "1s"]).await;

    let own = service_client(&plane.cluster, Service::AdmissionWebhook).await;
    for (verb, resource) in [
        ("get", "configmaps"),
        ("list", "configmaps"),
        ("watch", "configmaps"),
        ("patch", "pods"),
    ] {
        assert!(may(&own, verb, resource, Some(JOBS)).await, "{verb} {resource}");
        for elsewhere in [Some("free"), Some("poor"), Some("kube-system"), None] {
            assert!(
                !may(&own, verb, resource, elsewhere).await,
                "{verb} {resource} {elsewhere:?}"
            );
        }
    }
    eventually("one namespace watched and one not", || async {
        (webhook.metric(WATCHED) == 1.0 && webhook.metric(DENIED) == 1.0).then_some(())
    })
    .await;

    // Without the label nothing is touched, not even a driver that asks for KOMPASS by name.
    let recording = Recording::read("4.1.4", "a-basic-scala", "x");
    let plain = free.create(&recording.driver).await;
    assert_eq!((scheduler(&plain), gates(&plain).len()), ("default-scheduler", 0));
    let mut named = Recording::read("4.1.4", "b-minimal", "named");
    named.driver["spec"]["schedulerName"] = json!(names::SCHEDULER);
    let untouched = free.create(&named.driver).await;
    free.configure(&named).await;
    assert_eq!(label(&untouched, names::PROFILE_KEY_LABEL), None);

    // With both, drivers are profiled.
    let driver = jobs.create(&recording.driver).await;
    assert_eq!(gates(&driver), [names::GANG_GATE]);
    jobs.configure(&recording).await;
    jobs.profiled(&driver, Source::Conf).await;
    assert_eq!(free.profile(&untouched).await, None);

    // With the label alone their owner is told what is missing, and the gate waits for the planner.
    let waiting = poor.create(&recording.driver).await;
    assert_eq!(gates(&waiting), [names::GANG_GATE]);
    let told = eventually("words about missing rights", || async {
        poor.told(&waiting, "RightsMissing").await.pop()
    })
    .await;
    assert!(
        told.contains("RoleBinding") && told.contains("--clusterrole=kompass-profiler-namespace"),
        "{told}"
    );
    assert_eq!(poor.profile(&waiting).await, None);
    // That one came earlier: nothing was even tried.
    assert!(free.told(&untouched, "RightsMissing").await.is_empty());

    // Where pods may be written, a guess comes in time.
    let patcher = json!({
        "metadata": {"name": "patcher"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}],
    });
    let roles = Api::<Role>::namespaced(plane.user.clone(), "poor");
    let patcher = serde_json::from_value(patcher).unwrap();
    roles.create(&PostParams::default(), &patcher).await.unwrap();
    poor.bind("Role", "patcher").await;
    let second = poor
        .create(&Recording::read("4.1.4", "a-basic-scala", "second").driver)
        .await;
    poor.profiled(&second, Source::Guess).await;
    eventually("words about missing rights", || async {
        poor.told(&second, "RightsMissing").await.pop()
    })
    .await;

    // Once the rights are there, nobody has to do anything more.
    poor.configure(&recording).await;
    poor.bind("ClusterRole", "kompass-profiler-namespace").await;
    poor.profiled(&waiting, Source::Conf).await;
    // The API server has to know of both, too, or it would not be one less afterwards.
    eventually("both watched", || async {
        let told = webhook.metric(WATCHED) == 2.0 && webhook.metric(DENIED) == 0.0;
        (told && watches(&plane).await >= 2.0).then_some(())
    })
    .await;
    assert_eq!(poor.told(&waiting, "RightsMissing").await.len(), 1, "told once");

    // Without the label the watch ends; who was taken before gets a profile all the same.
    let last = Recording::read("4.1.4", "a-basic-scala", "last");
    let taken = poor.create(&last.driver).await;
    assert_eq!(gates(&taken), [names::GANG_GATE]);
    let before = watches(&plane).await;
    poor.label(None).await;
    eventually("one watch less", || async {
        (watches(&plane).await < before && webhook.metric(WATCHED) == 1.0).then_some(())
    })
    .await;
    poor.configure(&last).await;
    poor.profiled(&taken, Source::Conf).await;

    // With the label the driver that waited without one is found.
    free.bind("ClusterRole", "kompass-profiler-namespace").await;
    free.label(Some("true")).await;
    free.profiled(&untouched, Source::Conf).await;
    webhook.stop().await;
    plane.stop().await;
}
