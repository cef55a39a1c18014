# shellcheck shell=bash
# What comes into the cluster once it is there: kubeconfig, images, KOMPASS; autoscaler.sh has the autoscaler.

readonly KOMPASS_IMAGES=(scheduler-extender admission-webhook predictor cli)
# A control plane and nodes that are new take a while to answer: so many times 5 seconds.
readonly API_TRIES=60 NODE_TRIES=120

# A kubeconfig of its own: the user's is left as it is.
eks_kubeconfig() {
  local command
  command="$(terraform_ output -no-color -raw kubeconfig_command 2>"$ERRORS")" || fail "the outputs of Terraform can't be read: $(errors)"
  # shellcheck disable=SC2086 # a command and its arguments
  $command --kubeconfig "$FOLDER/kubeconfig" >/dev/null 2>"$ERRORS" || fail "there is no kubeconfig: $(errors)"
  cluster_tools
}

# The same for a cluster that is there, whose outputs may not tell it any more.
cluster_kubeconfig() {
  aws_ eks update-kubeconfig --name "$NAME" --alias "$NAME" --kubeconfig "$FOLDER/kubeconfig" >/dev/null || return 1
  cluster_tools
}

cluster_tools() {
  EKS_KUBECTL=(kubectl --kubeconfig "$FOLDER/kubeconfig")
  EKS_HELM=(helm --kubeconfig "$FOLDER/kubeconfig")
}

# try TIMES COMMAND...: until it goes well, every 5 seconds.
try() {
  local left="$1"
  shift
  until "$@" >/dev/null 2>"$ERRORS"; do
    ((--left > 0)) || return 1
    sleep 5
  done
}

eks_wait() {
  step "waiting for the API server and the system's nodes"
  try "$API_TRIES" "${EKS_KUBECTL[@]}" get --raw /readyz --request-timeout=10s ||
    fail "the API server of $NAME does not answer: $(errors). It is reached from ${REACHED_FROM}. Run this again from there, or with --access-from"
  try "$NODE_TRIES" "${EKS_KUBECTL[@]}" wait --for=condition=Ready nodes --selector kompass.dev/node-group=system --timeout=10s ||
    fail "no node of the group system is ready: $(errors). aws eks describe-nodegroup tells what is wrong with the group; then run this again"
}

chart_version() {
  sed -nE 's/^appVersion: *"?([^"]*)"?$/\1/p' "$ROOT/charts/kompass/Chart.yaml"
}

# lacking_images [MOST]: those of KOMPASS's images that aren't in ECR, so many at most.
lacking_images() {
  local image left="${1:-99}"
  for image in "${KOMPASS_IMAGES[@]}"; do
    ((left > 0)) || break
    aws_ ecr describe-images --repository-name "$NAME/kompass-$image" --image-ids "imageTag=$(chart_version)" >/dev/null ||
      {
        printf '%s\n' "$image"
        left=$((left - 1))
      }
  done
}

# Which program builds images, before anything is made.
eks_builder() {
  BUILDER=none
  [[ -z "$REGISTRY" && -n "$(lacking_images 1)" ]] || return 0
  if docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    BUILDER=docker
  elif command -v buildah >/dev/null; then
    BUILDER=buildah
  else
    fail "nothing here builds images: install Docker with buildx (https://docs.docker.com/engine/install) or buildah, or name by --registry where KOMPASS's images are" "$NO_TOOL"
  fi
}

# Images from this checkout. A tag that is there stays what it is: repositories let no tag be moved.
eks_images() {
  local registry image lacking reference tag
  EKS_VALUES="$FOLDER/values.yaml"
  terraform_ output -no-color -raw helm_values >"$EKS_VALUES"
  if [[ -n "$REGISTRY" ]]; then
    CLUSTER_ARGUMENTS=(--set "image.registry=$REGISTRY" "${CLUSTER_ARGUMENTS[@]}")
    return 0
  fi
  mapfile -t lacking < <(lacking_images)
  ((${#lacking[@]} > 0)) || return 0
  registry="$(terraform_ output -no-color -raw registry)"
  tag="$(chart_version)"
  local password passwords="$FOLDER/registry.json" host="${registry%%/*}"
  password="$(aws_ ecr get-login-password)" || fail "ECR gives no password: $(errors)"
  # buildah keeps the password in a file of this run, Docker in its own place until it is logged out.
  if [[ "$BUILDER" == docker ]]; then
    docker login --username AWS --password-stdin "$host" <<<"$password" >/dev/null 2>"$ERRORS" || fail "ECR does not let docker in: $(errors)"
  else
    buildah login --authfile "$passwords" --username AWS --password-stdin "$host" <<<"$password" >/dev/null 2>"$ERRORS" ||
      fail "ECR does not let buildah in: $(errors)"
  fi
  for image in "${lacking[@]}"; do
    step "building the image kompass-$image"
    reference="$registry/kompass-$image:$tag"
    if [[ "$BUILDER" == docker ]]; then
      docker buildx build --platform "${BUILD_PLATFORM:-linux/amd64}" --target "$image" --build-arg "VERSION=$tag" --provenance=false \
        --file "$ROOT/docker/kompass/Dockerfile" --tag "$reference" --push "$ROOT" >&2 || image_failed "$image" "$host"
    else
      buildah build --platform "${BUILD_PLATFORM:-linux/amd64}" --target "$image" --build-arg "VERSION=$tag" --layers \
        --file "$ROOT/docker/kompass/Dockerfile" --tag "$reference" "$ROOT" >&2 || image_failed "$image" "$host"
      buildah push --authfile "$passwords" "$reference" >&2 || image_failed "$image" "$host"
    fi
  done
  leave_registry "$host"
}

# leave_registry HOST: what lets this machine in is good for half a day, and not needed any more.
leave_registry() {
  if [[ "$BUILDER" == docker ]]; then docker logout "$1" >/dev/null 2>&1 || true; fi
  rm -f "$FOLDER/registry.json"
}

# image_failed IMAGE HOST
image_failed() {
  leave_registry "$2"
  fail "the image kompass-$1 was not built and pushed; the lines above tell why. Run this again: images that are there stay"
}

eks_namespaces() {
  local job
  for job in "${EKS_JOBS[@]}"; do
    "${EKS_KUBECTL[@]}" get namespace "$job" >/dev/null 2>&1 || "${EKS_KUBECTL[@]}" create namespace "$job" >&2 ||
      fail "namespace $job was not made"
  done
}

# What `cluster` does, with what Terraform tells.
eks_kompass() {
  setup_cluster --kubeconfig "$FOLDER/kubeconfig" --namespace "$EKS_NAMESPACE" --values "$EKS_VALUES" "${CLUSTER_ARGUMENTS[@]}" --yes
}
