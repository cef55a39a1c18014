# shellcheck shell=bash
# All of it away again, in the order in which each step frees what keeps the next from going.

# How often ECR is asked to delete images that it has listed before.
readonly IMAGE_TRIES=3

destroy_eks() {
  local state='' there=''
  if [[ -n "$BACKEND" || -e "$FOLDER/backend.hcl" || -e "$FOLDER/terraform.tfstate" ]]; then
    eks_variables
    terraform_ready
    state="$(terraform_ state list 2>"$ERRORS")" || [[ "$(<"$ERRORS")" == *"No state file was found"* ]] || terraform_failed "the state can't be read"
    state="$(grep -vE '(^|\.)data\.' <<<"$state" | grep .)" || true
  fi
  if [[ -z "$state" ]]; then
    there="$(aws_ eks describe-cluster --name "$NAME" --query cluster.arn)" || there=''
    [[ -z "$there" ]] ||
      fail "the cluster $NAME in $REGION is not in the state ($FOLDER), so it is not this script's to destroy: is its state elsewhere (--backend-config), or did another machine make it?" "$NAME_CLASH"
    step "the state has nothing of $NAME"
    ! "$EKS_PLAN" || return 0
    nothing_remains false
    destroyed
    return
  fi
  images_of_others
  step "planning"
  terraform_plan -destroy
  plan_destroy
  ! "$EKS_PLAN" || return 0
  reach_cluster
  consent "Destroy it, with all that runs there?"
  clear_cluster
  clear_images
  step "destroying what the plan tells; EKS takes its time, some 15 minutes"
  terraform_apply
  nothing_remains true
  destroyed
}

destroyed() {
  rm -rf "$FOLDER"
  printf 'Nothing of the cluster %s is left in %s.\n' "$NAME" "$REGION"
}

plan_destroy() {
  cat >&2 <<TEXT
In account $ACCOUNT, region $REGION, as $CALLER, of the cluster $NAME:
  1. take KOMPASS out of it; end the jobs that run
  2. delete its load balancers (Services, Ingresses), its PersistentVolumeClaims with their disks, and the autoscaler with
     the nodes that it has bought
  3. delete the images in its ECR repositories
  4. destroy with Terraform:
$(kinds_of_plan | awk '{ printf "     %4d %s %s\n", $1, $2, $3 }')
  5. look that nothing with its tags remains
TEXT
}

# repositories: those of the cluster in ECR.
repositories() {
  local told
  told="$(aws_ ecr describe-repositories --query "repositories[?starts_with(repositoryName, '$NAME/')].repositoryName")" ||
    fail "the repositories in ECR can't be listed: $(errors)"
  tr -s '\t\n ' '\n' <<<"$told" | grep -v -e '^None$' -e '^$' || true
}

# Images that were not built from KOMPASS go only if that was asked for.
images_of_others() {
  local repository count all
  "$DELETE_IMAGES" && return
  all="$(repositories)" || exit
  for repository in $all; do
    [[ "$repository" != "$NAME"/kompass-* ]] || continue
    count="$(aws_ ecr list-images --repository-name "$repository" --query 'length(imageIds)' | awk '{ all += $1 } END { print all + 0 }')" ||
      fail "the images in $repository can't be listed: $(errors)"
    ((count == 0)) ||
      fail "the repository $repository holds $count images that aren't KOMPASS's: add --delete-images if they may go, or move them"
  done
}

clear_images() {
  local repository ids before all told deleted reason futile
  all="$(repositories)" || exit
  for repository in $all; do
    futile=0 before=''
    while :; do
      ids="$(aws_ --output json ecr list-images --repository-name "$repository" --max-items 100 --query 'imageIds[].{imageDigest: imageDigest}')" ||
        fail "the images in $repository can't be listed: $(errors)"
      [[ "$ids" == *imageDigest* ]] || break
      told="$(aws_ ecr batch-delete-image --repository-name "$repository" --image-ids "$ids" \
        --query '[imageIds[0].imageDigest, failures[0].failureReason]')" || fail "the images in $repository were not deleted: $(errors)"
      read -r deleted reason <<<"$told"
      # An image that a list of images names goes when the list has gone, and what is refused once may go a little later.
      if [[ "$deleted" == sha256:* && "$ids" != "$before" ]]; then
        futile=0 before="$ids"
        continue
      fi
      before="$ids"
      ((++futile < IMAGE_TRIES)) ||
        fail "ECR does not delete the images in $repository${reason:+: $reason}. Delete them by hand (aws ecr batch-delete-image), then run this again"
      sleep 5
    done
  done
}

# Whether the cluster answers, in ANSWERS. One that works and does not answer ends it: what it has made would outlive it.
reach_cluster() {
  local status
  ANSWERS=false
  step "asking whether the cluster answers"
  status="$(aws_ eks describe-cluster --name "$NAME" --query cluster.status)" || {
    [[ "$(errors)" == *ResourceNotFound* ]] || fail "whether the cluster $NAME is there is not known: $(errors)"
    return 0
  }
  # Of any other the AWS CLI makes no kubeconfig.
  if [[ "$status" != ACTIVE && "$status" != UPDATING ]]; then
    warn "the cluster $NAME is $status and can't be asked: load balancers, disks and nodes that it may have made stay, and are looked for at the end"
    return 0
  fi
  cluster_kubeconfig || fail "there is no kubeconfig: $(errors)"
  if try 6 "${EKS_KUBECTL[@]}" get --raw /version --request-timeout=10s; then
    ANSWERS=true
  elif "$WITHOUT_CLUSTER"; then
    warn "the API server of $NAME does not answer ($(errors)): load balancers, disks and nodes that the cluster has made stay, and are looked for at the end"
  else
    fail "the API server of $NAME does not answer, and without it load balancers, disks and nodes that the cluster has made would outlive it: $(errors). Run this from within its VPC, or let this machine in first (./setup-kompass.sh eks --region $REGION --name $NAME --access-from me). If that can't be, --without-cluster destroys all the same, and leaves these to you"
  fi
}

# What the cluster has made in the account, and Terraform doesn't know.
clear_cluster() {
  "$ANSWERS" || return 0
  clear_kompass
  clear_jobs
  clear_balancers
  clear_volumes
  clear_autoscaler
}

# Nothing of it outlives the cluster, so that what goes wrong here keeps nothing from going on.
clear_kompass() {
  local program=''
  "${EKS_HELM[@]}" status "$RELEASE" --namespace "$EKS_NAMESPACE" >/dev/null 2>&1 ||
    "${EKS_KUBECTL[@]}" get mutatingwebhookconfiguration kompass-admission-webhook >/dev/null 2>&1 || return 0
  step "taking KOMPASS out"
  if [[ -n "${KOMPASS_PROGRAM:-}" ]] || command -v kompass >/dev/null || command -v cargo >/dev/null; then
    program="$(kompass_program)" || warn "there is no program \`kompass\` to take it out with; Helm does it, and jobs that wait for KOMPASS go with the cluster"
  fi
  if [[ -n "$program" ]]; then
    "$program" uninstall --kubeconfig "$FOLDER/kubeconfig" --namespace "$EKS_NAMESPACE" --timeout 120 --force --yes >&2 ||
      warn "KOMPASS was not taken out wholly; it goes with the cluster"
  else
    "${EKS_HELM[@]}" uninstall "$RELEASE" --namespace "$EKS_NAMESPACE" --wait >&2 ||
      warn "KOMPASS was not taken out; it goes with the cluster"
  fi
}

# Nobody else ends them, and Karpenter keeps a node as long as one of their pods is on it. Drivers go first: a driver makes
# anew what it loses. What stays or comes after this keeps nothing from going (clear_karpenter).
clear_jobs() {
  local roles role running=status.phase!=Succeeded,status.phase!=Failed
  roles="$("${EKS_KUBECTL[@]}" get pods --all-namespaces --selector 'spark-role in (driver,executor)' --field-selector "$running" \
    --output 'jsonpath={range .items[*]}{.metadata.labels.spark-role}{"\n"}{end}' 2>"$ERRORS")" ||
    fail "the pods of Spark can't be listed: $(errors)"
  [[ -n "$roles" ]] || return 0
  step "ending Spark's jobs: $(grep -cx driver <<<"$roles") drivers, $(grep -cx executor <<<"$roles") executors"
  for role in driver executor; do
    "${EKS_KUBECTL[@]}" delete pods --all-namespaces --selector "spark-role=$role" --field-selector "$running" \
      --timeout=3m >&2 ||
      warn "not every $role of Spark has ended; they go with their nodes"
  done
}

clear_balancers() {
  local namespace name kind told
  for kind in ingress service; do
    local path='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}'
    [[ "$kind" == ingress ]] || path="${path/\[\*\]/[?(@.spec.type==\"LoadBalancer\")]}"
    told="$("${EKS_KUBECTL[@]}" get "$kind" --all-namespaces -o "jsonpath=$path" 2>"$ERRORS")" ||
      fail "the ${kind}s of the cluster can't be listed: $(errors)"
    while read -r namespace name; do
      [[ -n "$name" ]] || continue
      step "deleting the load balancer of $kind $namespace/$name"
      "${EKS_KUBECTL[@]}" delete "$kind" "$name" --namespace "$namespace" --ignore-not-found --timeout=5m >&2 </dev/null ||
        fail "$kind $namespace/$name is not gone, and would leave a load balancer behind: kubectl describe tells why; then run this again"
    done <<<"$told"
  done
}

clear_volumes() {
  local namespaces namespace kept
  namespaces="$("${EKS_KUBECTL[@]}" get persistentvolumeclaims --all-namespaces -o 'jsonpath={.items[*].metadata.namespace}' 2>"$ERRORS")" || fail "the volumes of the cluster can't be listed: $(errors)"
  for namespace in $(tr ' ' '\n' <<<"$namespaces" | sort -u); do
    step "deleting the volumes of namespace $namespace"
    # A claim stays while a pod has it, and who makes pods makes them again. What deletes disks is in kube-system.
    [[ "$namespace" == kube-system ]] ||
      "${EKS_KUBECTL[@]}" delete cronjobs,jobs,statefulsets,deployments,daemonsets,replicasets,pods --all --namespace "$namespace" --wait=false >&2 || true
    "${EKS_KUBECTL[@]}" delete persistentvolumeclaims --all --namespace "$namespace" --timeout=5m >&2 ||
      fail "volumes of namespace $namespace are not gone: kubectl describe pvc --namespace $namespace tells why; then run this again"
  done
  [[ -z "$namespaces" ]] || try 60 no_disks ||
    fail "disks of PersistentVolumes are not gone, and would outlive the cluster: kubectl describe pv tells why; then run this again"
  kept="$(volumes Retain)" || kept=''
  [[ -z "$kept" ]] || warn "the disks of these volumes stay, since they are to be retained: $kept"
}

# volumes POLICY: names and disks.
volumes() {
  "${EKS_KUBECTL[@]}" get persistentvolumes \
    -o "jsonpath={range .items[?(@.spec.persistentVolumeReclaimPolicy==\"$1\")]}{.metadata.name} {.spec.csi.volumeHandle}{\"\n\"}{end}"
}

no_disks() {
  local left
  left="$(volumes Delete)" && [[ -z "$left" ]]
}

clear_autoscaler() {
  local release
  clear_karpenter
  for release in karpenter cluster-autoscaler; do
    "${EKS_HELM[@]}" status "$release" --namespace kube-system >/dev/null 2>&1 || continue
    step "uninstalling $release"
    "${EKS_HELM[@]}" uninstall "$release" --namespace kube-system --wait >&2 || fail "$release was not uninstalled; the lines above tell why"
  done
}

# While Karpenter is there, it ends its instances itself: first no new ones, then those that there are, then the launch
# templates, which go with their EC2NodeClass.
clear_karpenter() {
  local kinds kind deadline
  kinds="$(definitions "${KARPENTER_KINDS[@]}")" || fail "what Karpenter has in the cluster can't be listed: $(errors)"
  for kind in "${KARPENTER_KINDS[@]}"; do
    grep -qx "$kind" <<<"$kinds" || continue
    step "deleting Karpenter's ${kind%%.*}"
    if [[ "$kind" == nodeclaims.* ]]; then
      # As if their terminationGracePeriod ended then. Without it a drain waits for each pod that is not to be disrupted or
      # that a budget keeps, and nobody ends those that aren't Spark's.
      TZ=UTC printf -v deadline '%(%Y-%m-%dT%H:%M:%SZ)T' "$(($(date +%s) + 60))"
      "${EKS_KUBECTL[@]}" annotate "$kind" --all --overwrite "karpenter.sh/nodeclaim-termination-timestamp=$deadline" \
        >/dev/null 2>&1 || true
    fi
    "${EKS_KUBECTL[@]}" delete "$kind" --all --timeout=10m >&2 ||
      fail "Karpenter's ${kind%%.*} are not gone, and their instances or launch templates would outlive the cluster: kubectl describe $kind tells why; then run this again"
  done
}
