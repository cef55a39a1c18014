# shellcheck shell=bash
# From a fresh machine to a Spark job that KOMPASS has placed.

usage_local() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh local [--yes] [--name NAME] [--release] [--plan]
       ./setup-kompass.sh local --down [--name NAME]

Builds KOMPASS, starts a real Kubernetes cluster with KOMPASS's chart and images in it on this machine, submits SparkPi
with an ordinary spark-submit, and shows its output and the gang's time line. Needs root and Linux.

  --down       Stop that cluster and remove every process, mount and interface of it.
  --name NAME  Name of the cluster, `local` unless given.
  --release    Build optimised programs: slower to build, for measuring.
  --plan       Tell what would be done, and do nothing.
  --yes        Ask nothing: install missing packages at once.

Environment: KOMPASS_CACHE, KOMPASS_STATE and CARGO_TARGET_DIR name other folders for what is kept.
TEXT
}

plan_local() {
  cat <<TEXT
On this machine:
  1. install the Debian packages that are missing (containerd, runc, buildah and others); you are asked before
  2. build KOMPASS with cargo, and Kubernetes, etcd, CoreDNS and Helm from their Go modules; once, some minutes
  3. build images for Spark (from PyPI's pyspark) and for KOMPASS, without a registry
  4. start the cluster "$1" in a network namespace of its own: no port, route or bridge on the machine itself
  5. install the chart charts/kompass, and submit SparkPi with spark-submit
Permissions: root. Price: nothing.  Undo: ./setup-kompass.sh local --down --name $1
TEXT
}

setup_local() {
  local down=false plan=false name=local profile=dev
  local consent=()
  while (($#)); do
    case "$1" in
      --down) down=true ;;
      --plan) plan=true ;;
      --yes | -y) consent=(--yes) ;;
      --release) profile=release ;;
      --name)
        name="$(value "$@")" || exit
        shift
        ;;
      --help | -h)
        usage_local
        return
        ;;
      *) fail "unknown option $1; see ./setup-kompass.sh local --help" "$USAGE" ;;
    esac
    shift
  done
  if "$plan"; then
    plan_local "$name"
    return
  fi
  [[ "$(uname -s)" == Linux ]] || fail "the local cluster needs Linux" "$NO_PLATFORM"
  # Known before minutes of building.
  ((EUID == 0)) || fail "the local cluster needs root: try again with sudo" "$NO_PERMISSION"
  "$down" || need go "Kubernetes is built with it. Install Go 1.26 or newer from https://go.dev/dl, put its bin folder on the PATH (that of root, too), then run this again"

  local programs
  programs="$(build "$profile" --package kompass-cli --package kompass-admission-webhook --package kompass-scheduler-extender)" || exit
  if "$down"; then
    "$programs/kompass" local down --name "$name"
    return
  fi
  "$programs/kompass" local up --name "$name" "${consent[@]}"
  "$programs/kompass" run --cluster "$name" --executors 2 -- 100
  printf '\nall of it took %d s\n' "$SECONDS"
}
