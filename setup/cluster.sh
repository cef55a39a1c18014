# shellcheck shell=bash
# KOMPASS in a cluster that is there: look first, tell, install, prove.

usage_cluster() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh cluster [options]

Installs KOMPASS with Helm in the cluster of your kubeconfig, waits until it is ready, and proves it with a dry run of a
Spark driver. Run again, it upgrades.

  --context NAME          Context of the kubeconfig; the current one unless given.
  --kubeconfig FILE       Kubeconfig; that of kubectl unless given.
  --namespace NAME        Namespace of KOMPASS's own objects, `kompass` unless given.
  --jobs NAMES            Namespaces whose Spark jobs KOMPASS takes, with commas between. Each gets the label
                          kompass.dev/enabled=true and a RoleBinding.
  --scope labelled|all    Only namespaces with that label (the default), or all but those with =false.
  --mode active|shadow    `shadow` changes no pod, and tells what it would have done.
  --values FILE           More values of the chart; may be given several times. charts/kompass/README.md has them all.
  --set KEY=VALUE         One value of the chart; may be given several times.
  --plan                  Look at the cluster, tell what would be done and which rights it takes, and change nothing.
  --yes                   Ask nothing.

Undo: ./setup-kompass.sh uninstall
TEXT
}

# Rights that an install takes: verb and resource.
readonly INSTALL_RIGHTS=(
  "create namespaces" "create clusterroles.rbac.authorization.k8s.io" "create clusterrolebindings.rbac.authorization.k8s.io"
  "create priorityclasses.scheduling.k8s.io" "create deployments.apps" "create serviceaccounts" "create services"
  "create secrets" "create configmaps" "create roles.rbac.authorization.k8s.io" "create rolebindings.rbac.authorization.k8s.io"
  "create networkpolicies.networking.k8s.io" "create poddisruptionbudgets.policy" "patch namespaces"
)
readonly INSTALL_LIMIT=5m INSTALL_LIMIT_SECONDS=300 RELEASE=kompass

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

KOMPASS is in the cluster, in namespace $NAMESPACE (${SECONDS} s). Next:
  spark-submit --master k8s://$SERVER --deploy-mode cluster --conf spark.kubernetes.namespace=${JOBS[0]:-NAMESPACE} ...
  ./setup-kompass.sh doctor${OPTIONS[*]:+ ${OPTIONS[*]}}
Undo: ./setup-kompass.sh uninstall${OPTIONS[*]:+ ${OPTIONS[*]}}
TEXT
}

# Everything that can be known to go wrong, before anything is changed.
preflight() {
  need kubectl "https://kubernetes.io/docs/tasks/tools"
  need helm "https://helm.sh/docs/intro/install"
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
  local right missing=()
  for right in "${INSTALL_RIGHTS[@]}"; do
    # shellcheck disable=SC2086 # a verb and a resource
    "${KUBECTL[@]}" auth can-i $right --namespace "$NAMESPACE" --quiet 2>/dev/null || missing+=("$right")
  done
  ((${#missing[@]} == 0)) ||
    fail "you may not: $(printf '%s, ' "${missing[@]}" | sed 's/, $//'). Ask for the ClusterRole cluster-admin, or for these" "$NO_PERMISSION"
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

plan_cluster() {
  local jobs="${JOBS[*]}"
  cat >&2 <<TEXT
In the cluster at $SERVER ($PLATFORM, Kubernetes $VERSION):
  1. install or upgrade the Helm release $RELEASE in namespace $NAMESPACE: admission webhook, kube-scheduler with
     extender, and their rights; mode ${MODE:-as before (active at first)}, scope ${SCOPE:-as before (labelled at first)}
  2. label namespaces for it: ${jobs:-none (--jobs NAMES does it)}
  3. prove it: \`helm test\` sends a Spark driver through the webhook as a dry run
Permissions: ${#INSTALL_RIGHTS[@]} rights to create namespaces, roles, deployments and the like; you have them all.
Price: the resources of its pods, on nodes that you have.
Undo: ./setup-kompass.sh uninstall${OPTIONS[*]:+ ${OPTIONS[*]}}
TEXT
}

install() {
  local chart_jobs=() chosen=()
  unfinished_release
  if ((${#JOBS[@]})); then
    chart_jobs=(--set "namespaces={$(IFS=,; printf '%s' "${JOBS[*]}")}")
    local job
    for job in "${JOBS[@]}"; do
      "${KUBECTL[@]}" label namespace "$job" kompass.dev/enabled=true --overwrite >/dev/null
    done
  fi
  # What is not said stays as it was: values of a file, and of the run before.
  [[ -z "$SCOPE" ]] || chosen+=(--set "scope=$SCOPE")
  [[ -z "$MODE" ]] || chosen+=(--set "mode=$MODE")
  # Helm 4 applies on the server's side, where fields that others wrote are theirs: `kompass uninstall` scales to nothing.
  ! at_least "$(helm version --template '{{.Version}}' 2>/dev/null)" 4.0 || chosen+=(--force-conflicts)
  step "installing the chart"
  "${HELM[@]}" upgrade --install "$RELEASE" "$ROOT/charts/kompass" --namespace "$NAMESPACE" --create-namespace \
    --reset-then-reuse-values "${chosen[@]}" "${chart_jobs[@]}" "${CHART_VALUES[@]}" \
    --wait --timeout "$INSTALL_LIMIT" >&2 ||
    {
      "${KUBECTL[@]}" get pods --namespace "$NAMESPACE" >&2 || true
      fail "KOMPASS is not ready after $INSTALL_LIMIT: \`./setup-kompass.sh doctor\` tells what is wrong; then run this again"
    }
}

# A Helm that was interrupted leaves a release that no other Helm touches. One that is at work looks the same, but ends.
unfinished_release() {
  local told state since age
  told="$("${HELM[@]}" status "$RELEASE" --namespace "$NAMESPACE" --output json 2>/dev/null)" || return 0
  state="$(sed -n 's/.*"status":"\([a-z-]*\)".*/\1/p' <<<"$told" | head -n 1)"
  case "$state" in
    pending-install | uninstalling | pending-upgrade | pending-rollback) ;;
    *) return 0 ;;
  esac
  since="$(sed -n 's/.*"last_deployed":"\([^"]*\)".*/\1/p' <<<"$told" | head -n 1)"
  age="$INSTALL_LIMIT_SECONDS"
  [[ -z "$since" ]] || age=$(($(date +%s) - $(date -d "$since" +%s 2>/dev/null || printf 0)))
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

prove() {
  step "proving it"
  "${HELM[@]}" test "$RELEASE" --namespace "$NAMESPACE" --timeout 2m >&2 ||
    fail "the test of the release failed: \`./setup-kompass.sh doctor\` tells what is wrong"
}
