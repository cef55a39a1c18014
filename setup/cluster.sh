# shellcheck shell=bash
# KOMPASS in a cluster that is there: look first, tell, install, prove.

usage_cluster() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh cluster [options]

Installs KOMPASS with Helm in the cluster of your kubeconfig, waits until it is ready, and proves by dry runs that the
API server calls its webhook: for a Spark driver too, where --jobs or --scope all says where there are any. Run again,
it upgrades.

  --context NAME          Context of the kubeconfig; the current one unless given.
  --kubeconfig FILE       Kubeconfig; that of kubectl unless given.
  --namespace NAME        Namespace of KOMPASS's own objects, `kompass` unless given.
  --jobs NAMES            Namespaces whose Spark jobs KOMPASS takes, with commas between. Each gets the label
                          kompass.dev/enabled=true and a RoleBinding. Those of an earlier run stay.
  --scope labelled|all    Only namespaces with that label (the default), or all but those with =false.
  --mode active|shadow    `shadow` changes no pod, and tells what it would have done.
  --values FILE           More values of the chart; may be given several times. charts/kompass/README.md has them all.
  --set KEY=VALUE         One value of the chart; may be given several times.
  --plan                  Look at the cluster, tell what would be done and which rights it takes, and change nothing.
  --yes                   Ask nothing.

Undo: ./setup-kompass.sh uninstall
TEXT
}

# Rights that an install takes: verb and resource, and the namespace where it isn't KOMPASS's own.
readonly INSTALL_RIGHTS=(
  "create namespaces"
  "create clusterroles.rbac.authorization.k8s.io"
  "create clusterrolebindings.rbac.authorization.k8s.io"
  "create roles.rbac.authorization.k8s.io"
  "create rolebindings.rbac.authorization.k8s.io"
  "create rolebindings.rbac.authorization.k8s.io kube-system"
  "create validatingadmissionpolicies.admissionregistration.k8s.io"
  "create validatingadmissionpolicybindings.admissionregistration.k8s.io"
  "create priorityclasses.scheduling.k8s.io"
  "create deployments.apps"
  "create pods"
  "create services"
  "create serviceaccounts"
  "create secrets"
  "create configmaps"
  "create leases.coordination.k8s.io"
  "create networkpolicies.networking.k8s.io"
  "create poddisruptionbudgets.policy"
  "patch namespaces"
)
# Those of what the chart makes only where a value asks for it.
readonly OPTIONAL_RIGHTS=(
  "create resourcequotas"
  "create horizontalpodautoscalers.autoscaling"
  "create certificates.cert-manager.io"
  "create roles.rbac.authorization.k8s.io kube-system"
  "create servicemonitors.monitoring.coreos.com"
  "create prometheusrules.monitoring.coreos.com"
  "create prometheuses.monitoring.coreos.com"
  "create customresourcedefinitions.apiextensions.k8s.io"
)
# What the pods of an install without other values ask for.
readonly PODS_CPU=600m PODS_MEMORY=416Mi
readonly INSTALL_LIMIT=5m INSTALL_LIMIT_SECONDS=300 RELEASE=kompass PARTS=app.kubernetes.io/part-of=kompass

# cluster_options OPTIONS...: takes them in.
cluster_options() {
  NAMESPACE=kompass SCOPE='' MODE='' PLAN=false YES=false JOBS=() OPTIONS=()
  KUBECTL=(kubectl) HELM=(helm) CHART_VALUES=()
  while (($#)); do
    case "$1" in
      --context)
        value "$@" >/dev/null
        KUBECTL+=(--context "$2")
        HELM+=(--kube-context "$2")
        OPTIONS+=(--context "$2")
        shift
        ;;
      --kubeconfig)
        value "$@" >/dev/null
        KUBECTL+=(--kubeconfig "$2")
        HELM+=(--kubeconfig "$2")
        OPTIONS+=(--kubeconfig "$2")
        shift
        ;;
      --namespace)
        NAMESPACE="$(value "$@")" || exit
        OPTIONS+=(--namespace "$2")
        shift
        ;;
      --jobs)
        value "$@" >/dev/null
        IFS=, read -r -a JOBS <<<"$2"
        shift
        ;;
      --scope)
        SCOPE="$(value "$@")" || exit
        [[ "$SCOPE" == labelled || "$SCOPE" == all ]] || fail "--scope is labelled or all, not $SCOPE" "$USAGE"
        shift
        ;;
      --mode)
        MODE="$(value "$@")" || exit
        [[ "$MODE" == active || "$MODE" == shadow ]] || fail "--mode is active or shadow, not $MODE" "$USAGE"
        shift
        ;;
      --values)
        value "$@" >/dev/null
        [[ -r "$2" ]] || fail "failed to read the values in $2: is it there?" "$USAGE"
        CHART_VALUES+=(--values "$2")
        shift
        ;;
      --set)
        value "$@" >/dev/null
        CHART_VALUES+=(--set "$2")
        shift
        ;;
      --plan) PLAN=true ;;
      --yes | -y) export YES=true ;;
      --help | -h)
        usage_cluster
        exit
        ;;
      *) fail "unknown option $1; see ./setup-kompass.sh cluster --help" "$USAGE" ;;
    esac
    shift
  done
  # Whatever a file of values says: namespaces are named for this scope only.
  ((${#JOBS[@]} == 0)) || SCOPE="${SCOPE:-labelled}"
  [[ "$SCOPE" != all || ${#JOBS[@]} -eq 0 ]] ||
    fail "--jobs is for --scope labelled: with --scope all KOMPASS takes the jobs of every namespace" "$USAGE"
}

setup_cluster() {
  cluster_options "$@"
  preflight
  plan_cluster
  ! "$PLAN" || return 0
  consent "Install KOMPASS?"
  hold "$SERVER"
  install
  prove
  cat <<TEXT

KOMPASS is in the cluster, in namespace $NAMESPACE (${SECONDS} s). $(first_job)

Is all well: $(command_line doctor)
Undo: $(command_line uninstall)
TEXT
}

# What to copy for a first job. Its driver needs an account that may make pods, which no namespace has by itself.
first_job() {
  local namespace="${JOBS[0]:-NAMESPACE}" kubectl=kubectl environment='' context='' option
  [[ "$SCOPE" != all ]] || namespace=default
  for option in "${!OPTIONS[@]}"; do
    case "${OPTIONS[option]}" in
      --kubeconfig)
        kubectl+=" --kubeconfig ${OPTIONS[option + 1]}"
        environment="KUBECONFIG=${OPTIONS[option + 1]} "
        ;;
      --context)
        kubectl+=" --context ${OPTIONS[option + 1]}"
        context=" --conf spark.kubernetes.context=${OPTIONS[option + 1]}"
        ;;
    esac
  done
  cat <<TEXT
A first job, with the Spark of your machine:
  $kubectl create serviceaccount spark --namespace $namespace
  $kubectl create rolebinding spark --clusterrole=edit --serviceaccount=$namespace:spark --namespace $namespace
  ${environment}spark-submit --master k8s://$SERVER$context --deploy-mode cluster --name first-job \\
    --conf spark.kubernetes.namespace=$namespace --conf spark.kubernetes.authenticate.driver.serviceAccountName=spark \\
    --conf spark.kubernetes.container.image=apache/spark:4.0.0 \\
    --class org.apache.spark.examples.SparkPi local:///opt/spark/examples/jars/spark-examples.jar
TEXT
}

# Everything that can be known to go wrong, before anything is changed.
preflight() {
  need kubectl "https://kubernetes.io/docs/tasks/tools"
  need helm "https://helm.sh/docs/intro/install"
  helm_is_new
  one_context
  local version
  SERVER="$("${KUBECTL[@]}" config view --minify -o 'jsonpath={.clusters[0].cluster.server}' 2>/dev/null)" ||
    fail "there is no cluster in the kubeconfig: name one by --context or --kubeconfig"
  [[ -n "$SERVER" ]] || fail "there is no cluster in the kubeconfig: name one by --context or --kubeconfig"
  version="$("${KUBECTL[@]}" get --raw /version --request-timeout=20s 2>&1)" ||
    fail "the API server at $SERVER does not answer: $version"
  VERSION="$(sed -n 's/.*"gitVersion": *"\([^"]*\)".*/\1/p' <<<"$version")"
  at_least "$VERSION" 1.31 || fail "Kubernetes $VERSION is too old: KOMPASS needs 1.31 or newer" "$NO_PLATFORM"
  platform
  rights
  clash
  local job
  for job in "${JOBS[@]}"; do
    "${KUBECTL[@]}" get namespace "$job" >/dev/null 2>&1 ||
      fail "there is no namespace $job: make it (kubectl create namespace $job), or name another by --jobs"
  done
  earlier_jobs
  own_namespace
}

# The current context is asked for once: by the time that somebody has agreed to the plan another may be the current one.
one_context() {
  [[ " ${OPTIONS[*]} " != *" --context "* ]] || return 0
  local context
  context="$("${KUBECTL[@]}" config current-context 2>/dev/null)" || return 0
  [[ -n "$context" ]] || return 0
  KUBECTL+=(--context "$context")
  HELM+=(--kube-context "$context")
}

# Older ones don't know how to keep the values of an earlier run. One that doesn't tell its version is tried.
helm_is_new() {
  HELM_VERSION="$(helm version --template '{{.Version}}' 2>/dev/null)" || true
  [[ -z "$HELM_VERSION" ]] || at_least "$HELM_VERSION" 3.14 ||
    fail "Helm $HELM_VERSION is too old: 3.14 or newer is needed (https://helm.sh/docs/intro/install)" "$NO_TOOL"
}

# Where pods can't be placed by a scheduler of one's own, KOMPASS can do nothing.
platform() {
  local nodes
  nodes="$("${KUBECTL[@]}" get nodes -o 'jsonpath={range .items[*]}{.metadata.name} {.spec.providerID} {.metadata.labels}{"\n"}{end}' 2>&1)" ||
    fail "nodes can't be listed: $nodes" "$NO_PERMISSION"
  PLATFORM=Kubernetes
  case "$nodes" in
    *aws:///*) PLATFORM=EKS ;;
    *gce://*) PLATFORM=GKE ;;
    *azure://*) PLATFORM=AKS ;;
  esac
  if [[ "$nodes" == *'"cloud.google.com/gke-autopilot"'* || "$nodes" == gk3-* || "$nodes" == *$'\n'gk3-* ]]; then
    fail "this is GKE Autopilot, which runs no scheduler beside its own: use GKE Standard (docs/support.md)" "$NO_PLATFORM"
  fi
  local others
  others="$(grep -v -e '"eks.amazonaws.com/compute-type":"fargate"' -e '^fargate-' <<<"$nodes" | grep -c . || true)"
  if [[ -n "$nodes" && "$others" == 0 ]]; then
    fail "all nodes are Fargate's, each made for one pod: KOMPASS needs a node group (docs/support.md)" "$NO_PLATFORM"
  fi
}

rights() {
  local job missing wanted=("${INSTALL_RIGHTS[@]}") rbac=rbac.authorization.k8s.io
  local places=("${JOBS[@]}")
  # The proof tries a driver there.
  [[ "$SCOPE" != all ]] || places=(default)
  for job in "${places[@]}"; do
    wanted=("create roles.$rbac $job" "create rolebindings.$rbac $job" "${wanted[@]}")
  done
  mapfile -t missing < <(refused "${wanted[@]}" | LC_ALL=C sort)
  ((${#missing[@]} == 0)) ||
    fail "you may not: $(listed "${missing[@]}"). Ask for the ClusterRole cluster-admin, or for these" "$NO_PERMISSION"
  RIGHTS=("${wanted[@]}")
  grants
  mapfile -t UNGRANTED < <(refused "${OPTIONAL_RIGHTS[@]}" | LC_ALL=C sort)
}

# Who makes a role must hold what it gives, or be let give more. The API server tells, by a dry run of the chart's
# ClusterRoles; what else it minds there (they exist already) is for Helm to meet.
grants() {
  local chosen=() roles told
  [[ -z "$SCOPE" ]] || chosen+=(--set "scope=$SCOPE")
  [[ -z "$MODE" ]] || chosen+=(--set "mode=$MODE")
  RENDERED="$("${HELM[@]}" template "$RELEASE" "$ROOT/charts/kompass" --namespace "$NAMESPACE" --kube-version "$VERSION" \
    "${chosen[@]}" "${CHART_VALUES[@]}" 2>/dev/null)" || RENDERED=''
  roles="$(documents ClusterRole <<<"$RENDERED")"
  [[ -n "$roles" ]] || return 0
  told="$("${KUBECTL[@]}" create --dry-run=server --request-timeout=20s --filename - <<<"$roles" 2>&1 >/dev/null)" || true
  [[ "$told" != *"attempting to grant"* ]] ||
    fail "you may make roles, but none that give more than you hold, and KOMPASS's do: $(
      grep -o '^{.*}' <<<"$told" | LC_ALL=C sort -u | paste -sd ' ' -
    ). Ask for the ClusterRole cluster-admin, or for these" "$NO_PERMISSION"
}

# documents KIND: those of that kind, of YAML documents.
documents() {
  awk -v kind="kind: $1" '
    function flush() { if (found) printf "---\n%s", text; text = ""; found = 0 }
    /^---/ { flush(); next }
    $0 == kind { found = 1 }
    { text = text $0 "\n" }
    END { flush() }'
}

# refused RIGHTS...: those that you have not. Eight are asked for at a time: a kubectl of EKS takes a second to log in.
refused() {
  local each started=0
  for each in "$@"; do
    may "$each" || printf '%s\n' "$each" &
    ((++started % 8)) || wait
  done
  wait
}

# may RIGHT
may() {
  local right
  read -r -a right <<<"$1"
  "${KUBECTL[@]}" auth can-i "${right[0]}" "${right[1]}" --namespace "${right[2]:-$NAMESPACE}" --quiet 2>/dev/null
}

# listed RIGHTS...: them in one line, each verb once.
listed() {
  printf '%s\n' "$@" | awk '
    { name = $2 ($3 == "" ? "" : " in " $3) }
    $1 == verb { printf ", %s", name; next }
    { printf "%s%s %s", (NR > 1 ? "; " : ""), $1, name; verb = $1 }'
}

# Another install in this cluster, or objects of that name that are somebody else's.
clash() {
  local releases release first
  # What a release may be in but "superseded"; Helm 4 has no --all.
  releases="$("${HELM[@]}" list --all-namespaces --deployed --failed --pending --uninstalling \
    --filter "^$RELEASE\$" --output json 2>&1)" || fail "Helm's releases can't be listed: $releases" "$NO_PERMISSION"
  release="$(tr '{' '\n' <<<"$releases" | sed -n "s/.*\"namespace\":\"\([^\"]*\)\".*/\1/p" | grep -vx "$NAMESPACE" | head -n 1)" || true
  [[ -z "$release" ]] ||
    fail "KOMPASS is in this cluster already, in namespace $release, and there can be one only: upgrade that one (--namespace $release), or uninstall it first" "$NAME_CLASH"
  first="$("${KUBECTL[@]}" get mutatingwebhookconfiguration kompass-admission-webhook \
    -o 'jsonpath={.metadata.annotations.kompass\.dev/install}' 2>/dev/null)" || true
  [[ -z "$first" || "$first" == "$NAMESPACE/"* ]] ||
    fail "the webhook in this cluster belongs to $first: upgrade that install (--namespace ${first%%/*}), or uninstall it first" "$NAME_CLASH"
}

# Namespaces that an earlier run named. They stay, and are told to Helm again: it can't add to a list.
earlier_jobs() {
  EARLIER=()
  ((${#JOBS[@]})) || return 0
  local told job jobs
  told="$("${HELM[@]}" get values "$RELEASE" --namespace "$NAMESPACE" --output yaml 2>&1)" || {
    [[ "$told" == *"not found"* ]] || fail "the values of the release can't be read: $told" "$NO_PERMISSION"
    return 0
  }
  mapfile -t jobs < <(awk '
    /^[^ -]/ { inside = /^namespaces:/ }
    inside && /^ *- / { gsub(/["\047]/, "", $2); print $2 }' <<<"$told")
  for job in "${jobs[@]}"; do
    [[ " ${JOBS[*]} " != *" $job "* ]] || continue
    if told="$("${KUBECTL[@]}" get namespace "$job" --ignore-not-found --output name 2>/dev/null)" &&
      [[ -z "$told" ]]; then
      printf 'warning: namespace %s, which an earlier run named, is gone, and is left out\n' "$job" >&2
    else
      EARLIER+=("$job")
    fi
  done
}

# Whether KOMPASS's namespace is to be made, and what it then enforces: who has taken a part of KOMPASS over may make pods
# there, and they shall not be the node's root. Pods on the node's network don't pass. A namespace that is there may have
# other pods, and stays as it is.
own_namespace() {
  local told
  OWN_NAMESPACE=old
  told="$("${KUBECTL[@]}" get namespace "$NAMESPACE" --ignore-not-found --output name 2>&1)" ||
    fail "whether there is a namespace $NAMESPACE is not known: $told" "$NO_PERMISSION"
  [[ -z "$told" ]] || return 0
  OWN_NAMESPACE=restricted
  [[ "$RENDERED" != *"hostNetwork: true"* ]] || OWN_NAMESPACE=new
}

make_namespace() {
  local labels=''
  case "$OWN_NAMESPACE" in
    old) return 0 ;;
    restricted) labels='{"pod-security.kubernetes.io/enforce": "restricted"}' ;;
  esac
  "${KUBECTL[@]}" create --filename - >/dev/null <<TEXT || fail "namespace $NAMESPACE was not made; the line above tells why"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "$NAMESPACE", "labels": ${labels:-null}}}
TEXT
}

plan_cluster() {
  local place="namespace $NAMESPACE"
  case "$OWN_NAMESPACE" in
    restricted) place+=" (new, with PodSecurity \`restricted\`)" ;;
    new) place+=" (new, without PodSecurity: it would refuse hostNetwork)" ;;
  esac
  local labelled="${JOBS[*]:-none (--jobs NAMES does it)}" driver="a Spark driver in each namespace of --jobs" rights
  [[ "$SCOPE" != all ]] || driver="a Spark driver in default"
  ((${#EARLIER[@]} == 0)) || labelled+="; those of an earlier run stay: ${EARLIER[*]}"
  rights="You have them all:
$(folded "$(listed "${RIGHTS[@]}")")"
  ((${#UNGRANTED[@]} == 0)) || rights+="
You have not these, which matter only where a value turns on what needs them:
$(folded "$(listed "${UNGRANTED[@]}")")"
  cat >&2 <<TEXT
In the cluster at $SERVER ($PLATFORM, Kubernetes $VERSION):
  1. install or upgrade the Helm release $RELEASE in $place:
     admission webhook, kube-scheduler with extender, and their rights;
     mode ${MODE:-as before (active at first)}, scope ${SCOPE:-as before (labelled at first)}
  2. label namespaces for it: $labelled
  3. prove it: \`helm test\` has the API server call the webhook, by dry runs, with $driver
Permissions, in $NAMESPACE where no other namespace is named. $rights
Price: $PODS_CPU CPU and $PODS_MEMORY memory, which its pods ask for, on nodes that you have; more with a predictor,
  with the chart's own Prometheus, and as your values say.
Undo: $(command_line uninstall)
TEXT
}

# folded TEXT: in lines, set in.
folded() {
  fold -s -w 116 <<<"$1" | sed -e 's/^/  /' -e 's/ *$//'
}

# command_line MODE: what to type for this cluster.
command_line() {
  printf './setup-kompass.sh %s' "$1${OPTIONS[*]:+ ${OPTIONS[*]}}"
}

install() {
  local chart_jobs=() chosen=() told
  unfinished_release
  if ((${#JOBS[@]})); then
    local job jobs=("${EARLIER[@]}" "${JOBS[@]}")
    chart_jobs=(--set "namespaces={$(IFS=,; printf '%s' "${jobs[*]}")}")
    for job in "${JOBS[@]}"; do
      "${KUBECTL[@]}" label namespace "$job" kompass.dev/enabled=true --overwrite >/dev/null
    done
  elif [[ "$SCOPE" == all ]]; then
    # Those of an earlier run: the chart takes none with this scope.
    chart_jobs=(--set-json 'namespaces=[]')
  fi
  # What is not said stays as it was: values of a file, and of the run before.
  [[ -z "$SCOPE" ]] || chosen+=(--set "scope=$SCOPE")
  [[ -z "$MODE" ]] || chosen+=(--set "mode=$MODE")
  # Helm 4 applies on the server's side, where fields that others wrote are theirs: `kompass uninstall` scales to nothing.
  ! at_least "$HELM_VERSION" 4.0 || chosen+=(--force-conflicts)
  # A refused pod is tried again after minutes, when the reason may be gone for long; one of a new rollout at once.
  [[ -z "$(refusals)" ]] ||
    "${KUBECTL[@]}" rollout restart deployment --namespace "$NAMESPACE" --selector "$PARTS" >&2 || true
  step "installing the chart"
  make_namespace
  # The chart's notes are for those who have Helm alone.
  told="$("${HELM[@]}" upgrade --install "$RELEASE" "$ROOT/charts/kompass" --namespace "$NAMESPACE" --create-namespace \
    --reset-then-reuse-values "${chosen[@]}" "${chart_jobs[@]}" "${CHART_VALUES[@]}" \
    --wait --timeout "$INSTALL_LIMIT")" ||
    {
      printf '%s\n' "$told" >&2
      "${KUBECTL[@]}" get pods --namespace "$NAMESPACE" >&2 || true
      pods_are_let_in
      images_are_there
      fail "Helm did not install it, or it was not ready within $INSTALL_LIMIT; the lines above tell why, and \`$(command_line doctor)\` may tell more. Then run this again"
    }
}

# Why the cluster refuses KOMPASS's pods, if it does: a quota, PodSecurity, a policy of somebody's. Asked of each newest
# ReplicaSet: a Deployment goes on telling the first reason, and events tell of earlier tries.
refusals() {
  local owner='{.metadata.ownerReferences[0].name}'
  local revision='{.metadata.annotations.deployment\.kubernetes\.io/revision}'
  local why='{.status.conditions[?(@.type=="ReplicaFailure")].message}{"\n"}'
  "${KUBECTL[@]}" get replicasets --namespace "$NAMESPACE" --selector "$PARTS" \
    -o "jsonpath={range .items[*]}$owner $revision $why{end}" 2>/dev/null |
    awk '
      $2 + 0 >= newest[$1] + 0 { newest[$1] = $2; owner = $1; sub(/^[^ ]* [^ ]* /, ""); why[owner] = $0 }
      END { for (owner in why) if (why[owner] != "") print why[owner] }' | LC_ALL=C sort -u | paste -sd ';' - || true
}

# Ends where the cluster refuses the pods. Helm only sees that they don't come.
pods_are_let_in() {
  local told
  told="$(refusals)"
  case "$told" in
    *" quota: "*)
      fail "a quota of namespace $NAMESPACE keeps KOMPASS's pods out: $told. Change it (kubectl describe resourcequota --namespace $NAMESPACE shows it), then run this again" "$NO_QUOTA"
      ;;
    *forbidden* | *denied*)
      fail "the cluster does not let KOMPASS's pods into namespace $NAMESPACE: $told. Whoever runs the cluster can allow them there (they pass PodSecurity \`restricted\`); then run this again" "$NO_PERMISSION"
      ;;
  esac
}

# Ends where an image can't be had, with the node's words.
images_are_there() {
  local told
  told="$("${KUBECTL[@]}" get pods --namespace "$NAMESPACE" --selector "$PARTS" \
    -o 'jsonpath={range .items[*].status.containerStatuses[*]}{.state.waiting.reason} {.image}: {.state.waiting.message}{"\n"}{end}' 2>/dev/null |
    sed -n -e 's/^ImagePullBackOff //p' -e 's/^ErrImagePull //p' | LC_ALL=C sort -u | head -n 1)" || true
  [[ -z "$told" ]] ||
    fail "an image can't be pulled: $told. Name the registry that has KOMPASS's images by --set image.registry=REGISTRY (docker/README.md builds them), and a Secret for it by --set image.pullSecrets={NAME}; then run this again"
}

# A Helm that was interrupted leaves a release that no other Helm touches. One that is at work looks the same, but ends.
unfinished_release() {
  local told state since began age
  told="$("${HELM[@]}" status "$RELEASE" --namespace "$NAMESPACE" --output json 2>/dev/null)" || return 0
  state="$(sed -n 's/.*"status":"\([a-z-]*\)".*/\1/p' <<<"$told" | head -n 1)"
  case "$state" in
    pending-install | uninstalling | pending-upgrade | pending-rollback) ;;
    *) return 0 ;;
  esac
  since="$(sed -n 's/.*"last_deployed":"\([^"]*\)".*/\1/p' <<<"$told" | head -n 1)"
  age="$INSTALL_LIMIT_SECONDS"
  if [[ -n "$since" ]]; then
    began="$(epoch "$since")" ||
      fail "since $since a Helm has been at work on the release, or was interrupted, and \`date\` can't tell how long that is. If none is at work: helm rollback $RELEASE --namespace $NAMESPACE (helm uninstall, if it was never installed), then run this again" "$BUSY"
    age=$(($(date +%s) - began))
  fi
  ((age >= INSTALL_LIMIT_SECONDS)) ||
    fail "a Helm has been at work on the release for $age s, or was interrupted: wait until $INSTALL_LIMIT are over, then run this again" "$BUSY"
  case "$state" in
    pending-install | uninstalling)
      step "clearing away an install that was interrupted"
      "${HELM[@]}" uninstall "$RELEASE" --namespace "$NAMESPACE" --wait >&2
      ;;
    *)
      step "taking back an upgrade that was interrupted"
      "${HELM[@]}" rollback "$RELEASE" --namespace "$NAMESPACE" --wait >&2
      ;;
  esac
}

# epoch TIME: seconds since 1970 of a time as Helm writes it, such as 2026-11-30T17:07:12.123+01:00.
epoch() {
  date -d "$1" +%s 2>/dev/null && return
  # A Mac's takes no fraction of a second, and no colon in the zone.
  [[ "$1" =~ ^([0-9-]{10}T[0-9:]{8})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$ ]] || return 1
  local zone="${BASH_REMATCH[3]/Z/+0000}"
  date -j -f %Y-%m-%dT%H:%M:%S%z "${BASH_REMATCH[1]}${zone/:/}" +%s 2>/dev/null
}

prove() {
  local told
  step "proving it"
  told="$("${HELM[@]}" test "$RELEASE" --namespace "$NAMESPACE" --timeout 2m)" || {
    printf '%s\n' "$told" >&2
    fail "the test of the release failed; the lines above tell why, and \`$(command_line doctor)\` may tell more"
  }
  step "proved: the API server calls the webhook"
}
