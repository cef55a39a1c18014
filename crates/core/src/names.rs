//! The names that KOMPASS's parts meet under in the cluster: a contract, changed only with a migration.

/// The scheduler name (and scheduler profile) of pods that KOMPASS places.
pub const SCHEDULER: &str = "kompass";
/// The scheduler that serves whoever names none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// The scheduler name of stand-ins; nobody serves it, so that only autoscalers react to them.
pub const STAND_IN_SCHEDULER: &str = "kompass-stand-in";

/// Scheduling gate on drivers (closed until the plan is written) and on executors beyond the reserved minimum.
pub const GANG_GATE: &str = "kompass.dev/gang";
/// Label of an executor: the UID of its driver. Counts only beside a controller owner reference to that driver.
pub const GANG_LABEL: &str = "kompass.dev/gang";
/// Annotation of a driver: its [`JobProfile`](crate::JobProfile) as JSON, written by the profiler.
pub const PROFILE_ANNOTATION: &str = "kompass.dev/job-profile";
/// Annotation of a driver: its [`GangPlan`](crate::GangPlan) as JSON, written by the planner with the gate's removal.
pub const PLAN_ANNOTATION: &str = "kompass.dev/gang-plan";
/// Annotation of a driver, the user's: how long after its creation its submitter waits for it to run, such as `10m`; `0`:
/// for ever.
pub const START_WITHIN_ANNOTATION: &str = "kompass.dev/start-within";
/// Label of a driver: the stable identity of "the same job", written by the webhook.
pub const PROFILE_KEY_LABEL: &str = "kompass.dev/profile-key";
/// Label of a driver or a namespace: the queue it waits in.
pub const QUEUE_LABEL: &str = "kompass.dev/queue";
/// Label of a namespace or a pod: `true` or `false`.
pub const ENABLED_LABEL: &str = "kompass.dev/enabled";
/// Label of a stand-in or marker pod: the UID of the driver that it stands for.
pub const STAND_IN_LABEL: &str = "kompass.dev/stand-in-for";
/// Label of a marker pod, which keeps an empty node of a plan from being taken away: the UID of the driver.
pub const MARKER_LABEL: &str = "kompass.dev/marker-for";
/// Label of what holds empty nodes where no floor of a node group does (capacity buffers with their pod templates, Jobs of
/// pause pods): why, [`HEADROOM_STATISTICAL`] or [`HEADROOM_SCHEDULED`].
pub const HEADROOM_LABEL: &str = "kompass.dev/headroom";
/// For gangs that the past lets expect.
pub const HEADROOM_STATISTICAL: &str = "statistical";
/// For a gang that something starts at a known time.
pub const HEADROOM_SCHEDULED: &str = "scheduled";
/// Annotation beside [`HEADROOM_LABEL`]: the gang and the time that it is held for.
pub const HEADROOM_FOR_ANNOTATION: &str = "kompass.dev/headroom-for";
/// Annotation beside [`HEADROOM_LABEL`]: until when it counts unless it is renewed (RFC 3339). Whoever finds it later
/// removes it.
pub const EXPIRES_ANNOTATION: &str = "kompass.dev/expires";

/// Kubernetes's label of a namespace: which level of `PodSecurity` pods must pass there.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Spark's own label that tells the role of a pod.
pub const SPARK_ROLE_LABEL: &str = "spark-role";
/// Spark's label with the application's id, the same on driver and executors (not in 2.4.0).
pub const SPARK_APP_SELECTOR_LABEL: &str = "spark-app-selector";
/// Spark's own label with the executor's number.
pub const SPARK_EXECUTOR_ID_LABEL: &str = "spark-exec-id";
/// Spark's own label with the id of the resource profile that an executor is made for, 0 for the default one; since 3.1.
pub const SPARK_RESOURCE_PROFILE_LABEL: &str = "spark-exec-resourceprofile-id";
/// Spark's own label with the application id.
pub const SPARK_APP_LABEL: &str = "spark-app-selector";

/// Stops Karpenter from disrupting a pod's node by consolidation.
pub const KARPENTER_DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Stops cluster-autoscaler from evicting a pod.
pub const AUTOSCALER_SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// The disruption budget of the drivers of a namespace.
pub const DRIVER_BUDGET: &str = "kompass-drivers";
/// The one `MutatingWebhookConfiguration`, `ValidatingAdmissionPolicy` and its binding.
pub const REGISTRATION: &str = "kompass-admission-webhook";
/// The webhook in the configuration that the API server asks about pods.
pub const PODS_WEBHOOK: &str = "pods.kompass.dev";
/// Annotation of the webhook configuration: why no pod is to be taken. While it is there the webhook registers nothing that
/// the API server would ask about pods.
pub const BYPASS_ANNOTATION: &str = "kompass.dev/bypass";
/// The lease of the planner among the extender's replicas; the profiler reads it to learn whether a planner lives.
pub const PLANNER_LEASE: &str = "kompass-planner";
/// A ConfigMap of this name in KOMPASS's namespace pauses the predictor: it gives back what it holds. Its key `reason` says
/// why.
pub const PREDICTOR_PAUSE: &str = "kompass-predictor-paused";
/// The namespace of KOMPASS's own objects unless configured otherwise.
pub const DEFAULT_NAMESPACE: &str = "kompass";
/// The queue of a driver that names none.
pub const DEFAULT_QUEUE: &str = "default";

/// Label with a node's zone (`topology.kubernetes.io/zone`); nodes without it are one zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Label with a node's own name, as `topologyKey`s say it.
pub const HOST_LABEL: &str = "kubernetes.io/hostname";
