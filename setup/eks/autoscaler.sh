# shellcheck shell=bash
# Who buys nodes: the autoscaler that the inputs ask for, and one of an earlier run.

# A later run keeps to these. cluster-autoscaler's is the chart that brings the version named beside it, for the Kubernetes
# that terraform/ makes by default; Karpenter's is the version that docs/karpenter.md was tested with. Helm never updates the
# definitions in Karpenter's chart once they are there: whoever raises its version has to.
readonly CLUSTER_AUTOSCALER_CHART=9.59.0 CLUSTER_AUTOSCALER_VERSION=1.35.0 KARPENTER_CHART=1.14.1
# By what a release of Helm is known as this script's, and the NodePool as that of terraform/karpenter.tf. What lacks it is
# somebody's own.
readonly RELEASE_MARK=kompass.dev/created-by=setup POOL_MARK=terraform
readonly KARPENTER_KINDS=(nodepools.karpenter.sh nodeclaims.karpenter.sh ec2nodeclasses.karpenter.k8s.aws)
readonly BUFFERS=capacitybuffers.autoscaling.x-k8s.io

eks_autoscaler() {
  local values="$FOLDER/autoscaler.yaml"
  terraform_ output -no-color -raw autoscaler_helm_values >"$values"
  AUTOSCALER=none
  if grep -q . "$values"; then
    AUTOSCALER="$(autoscaler_of "$values")"
    install_autoscaler "$values"
  fi
  remove_earlier_autoscaler
}

# autoscaler_of VALUES: whose values these are.
autoscaler_of() {
  if grep -q 'interruptionQueue' "$1"; then printf karpenter; else printf cluster-autoscaler; fi
}

install_autoscaler() {
  local values="$1" chart version
  if [[ "$AUTOSCALER" == karpenter ]]; then
    chart=(oci://public.ecr.aws/karpenter/karpenter)
    version="$KARPENTER_CHART"
  else
    buffers_are_known "$values"
    chart=(cluster-autoscaler --repo https://kubernetes.github.io/autoscaler)
    version="$CLUSTER_AUTOSCALER_CHART"
  fi
  if [[ -n "$AUTOSCALER_CHART" ]]; then
    chart=("$AUTOSCALER_CHART")
    version=''
  fi
  version="${AUTOSCALER_VERSION:-$version}"
  step "installing $AUTOSCALER"
  "${EKS_HELM[@]}" upgrade --install "$AUTOSCALER" "${chart[@]}" --namespace kube-system --values "$values" \
    ${version:+--version "$version"} --labels "$RELEASE_MARK" --wait --timeout 5m >&2 ||
    fail "$AUTOSCALER was not installed; the lines above tell why. Without a way to its chart: --autoscaler-chart PATH"
  [[ "$AUTOSCALER" != karpenter ]] || karpenters_nodes
}

# With this flag cluster-autoscaler waits at its start until the definition is there, and buys nothing before.
buffers_are_known() {
  local told
  grep -Eq 'capacity-buffer-controller-enabled"?: *"?true' "$1" || return 0
  told="$(definitions "$BUFFERS")" || fail "whether the cluster has the definition $BUFFERS is not known: $(errors)"
  [[ -z "$told" ]] || return 0
  fail "cluster-autoscaler is to take CapacityBuffers, and the cluster has no definition of them, without which it never starts. Make it, then run this again:
  kubectl --kubeconfig $FOLDER/kubeconfig apply --filename https://raw.githubusercontent.com/kubernetes/autoscaler/cluster-autoscaler-$CLUSTER_AUTOSCALER_VERSION/cluster-autoscaler/apis/config/crd/autoscaling.x-k8s.io_capacitybuffers.yaml"
}

# definitions NAMES...: those of these CustomResourceDefinitions that the cluster has.
definitions() {
  "${EKS_KUBECTL[@]}" get customresourcedefinitions "$@" --ignore-not-found --output=name 2>"$ERRORS" | sed 's|.*/||'
}

# Without a NodePool Karpenter buys nothing. The one of terraform/karpenter.tf follows the inputs at each run; any other is
# somebody's choice, and so is having none but those.
karpenters_nodes() {
  local pools
  pools="$("${EKS_KUBECTL[@]}" get nodepools.karpenter.sh 2>"$ERRORS" --output \
    'jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.kompass\.dev/created-by}{"\n"}{end}')" ||
    fail "Karpenter's NodePools can't be listed: $(errors)"
  if [[ -n "$pools" ]] && ! grep -qx "spark $POOL_MARK" <<<"$pools"; then
    warn "the NodePools of the cluster are not this script's, so that spark_nodes does not reach them: $(
      cut -d ' ' -f 1 <<<"$pools" | paste -sd ' ' -
    )"
    return
  fi
  terraform_ output -no-color -raw karpenter_nodes >"$FOLDER/nodes.yaml"
  "${EKS_KUBECTL[@]}" apply --filename "$FOLDER/nodes.yaml" >&2 || fail "Karpenter's NodePool was not made; the lines above tell why"
}

# own_release NAME: that name, if this script has installed such a release.
own_release() {
  "${EKS_HELM[@]}" list --namespace kube-system --deployed --failed --pending --uninstalling --selector "$RELEASE_MARK" \
    --filter "^$1\$" --short 2>"$ERRORS"
}

# Beside the new autoscaler, or with none, cluster-autoscaler has neither role nor groups any more.
remove_earlier_autoscaler() {
  local told
  [[ "$AUTOSCALER" != cluster-autoscaler ]] || return 0
  told="$(own_release cluster-autoscaler)" || fail "Helm's releases can't be listed: $(errors)"
  [[ "$told" == cluster-autoscaler ]] || return 0
  step "uninstalling cluster-autoscaler"
  "${EKS_HELM[@]}" uninstall cluster-autoscaler --namespace kube-system --wait >&2 ||
    fail "cluster-autoscaler was not uninstalled; the lines above tell why. Run this again when it is mended"
}

# Before anything is changed: sets EARLIER_AUTOSCALER to what remove_earlier_autoscaler would take away, and ends where the
# plan takes Karpenter's role away and Karpenter still has something in the cluster. Nobody could end its nodes then.
eks_earlier_autoscaler() {
  local status told away=false tries=1
  EARLIER_AUTOSCALER=''
  ! grep -q '^  # module\.karpenter\[0\]\..* will be destroyed' "$FOLDER/plan.txt" || away=true
  ! "$away" || tries=6
  status="$(aws_ eks describe-cluster --name "$NAME" --query cluster.status)" || {
    [[ "$(errors)" != *ResourceNotFound* ]] || return 0
    ! "$away" || fail "whether the cluster $NAME is there is not known: $(errors)"
    return 0
  }
  # In no other has anything run.
  [[ "$status" == ACTIVE || "$status" == UPDATING ]] || return 0
  if ! cluster_kubeconfig || ! try "$tries" "${EKS_KUBECTL[@]}" get --raw /version --request-timeout=10s; then
    ! "$away" ||
      fail "the API server of $NAME does not answer: $(errors). This change takes Karpenter's role away, and the nodes that Karpenter has bought must be gone before. Run this from within the VPC, or let this machine in first (./setup-kompass.sh eks --region $REGION --name $NAME --autoscaler karpenter --access-from me)"
    return 0
  fi
  ! "$away" || karpenter_is_gone
  [[ "$(planned_autoscaler)" != cluster-autoscaler ]] || return 0
  told="$(own_release cluster-autoscaler)" || told=''
  [[ "$told" != cluster-autoscaler ]] || EARLIER_AUTOSCALER="$told"
}

karpenter_is_gone() {
  local kinds kind told left
  kinds="$(definitions "${KARPENTER_KINDS[@]}")" || fail "what Karpenter has in the cluster can't be listed: $(errors)"
  left="$("${EKS_HELM[@]}" list --namespace kube-system --deployed --failed --pending --uninstalling --filter '^karpenter$' \
    --short 2>"$ERRORS")" || fail "Helm's releases can't be listed: $(errors)"
  [[ "$left" == karpenter ]] || left=''
  for kind in $kinds; do
    told="$("${EKS_KUBECTL[@]}" get "$kind" --output=name 2>"$ERRORS")" || fail "Karpenter's ${kind%%.*} can't be listed: $(errors)"
    [[ -z "$told" ]] || left+=", $(grep -c . <<<"$told") ${kind%%.*}"
  done
  [[ -n "$left" ]] || return 0
  fail "Karpenter is in the cluster still: ${left#, }. This change takes its role away, and then nobody ends the nodes that it has bought, which cost. Take it out first, in this order; the second line waits until the jobs on its nodes have ended:
  export KUBECONFIG=$FOLDER/kubeconfig
  kubectl delete nodepools.karpenter.sh --all
  kubectl delete nodeclaims.karpenter.sh --all
  kubectl delete ec2nodeclasses.karpenter.k8s.aws --all
  helm uninstall karpenter --namespace kube-system --wait
Then run this again. Nothing was changed"
}
