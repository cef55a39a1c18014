#!/usr/bin/env bash
# From a fresh machine to a Spark job that KOMPASS has placed, in one command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh local [--yes] [--name NAME] [--release]
       ./setup-kompass.sh local --down [--name NAME]

  local        Build KOMPASS, start a real Kubernetes cluster with KOMPASS in it on this machine, submit SparkPi with an
               ordinary spark-submit, and show its output and the gang's time line. Needs root.
  --down       Stop that cluster and remove every process, mount and interface of it.
  --yes        Ask nothing: install missing packages at once.
  --name NAME  Name of the cluster, `local` unless given.
  --release    Build optimised programs: slower to build, for measuring.

Environment: KOMPASS_CACHE, KOMPASS_STATE and CARGO_TARGET_DIR name other folders for what is kept.
TEXT
}

fail() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Prints the folder of the programs after building what is not up to date.
build() {
  local profile="$1"
  if ! command -v cargo >/dev/null && [[ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]]; then
    # shellcheck source=/dev/null
    . "${CARGO_HOME:-$HOME/.cargo}/env"
  fi
  if ! command -v cargo >/dev/null; then
    if command -v rustup >/dev/null; then
      rustup toolchain install >&2
    else
      fail "Rust is missing. Install it from https://rustup.rs (curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh), then run this again"
    fi
  fi
  # Outside the checkout, so that another clone on this machine has nothing left to build.
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kompass/target}"
  local arguments=(--locked --package kompass-cli --package kompass-admission-webhook --package kompass-scheduler-extender --bins)
  local folder="$CARGO_TARGET_DIR/debug"
  if [[ "$profile" == release ]]; then
    arguments+=(--release)
    folder="$CARGO_TARGET_DIR/release"
  fi
  cargo build "${arguments[@]}" >&2
  printf '%s\n' "$folder"
}

setup_local() {
  local down=false name=local profile=dev
  local consent=()
  while (($#)); do
    case "$1" in
      --down) down=true ;;
      --yes | -y) consent=(--yes) ;;
      --release) profile=release ;;
      --name)
        (($# > 1)) || fail "--name needs a name" 2
        name="$2"
        shift
        ;;
      --help | -h)
        usage
        return
        ;;
      *) fail "unknown option $1; see ./setup-kompass.sh --help" 2 ;;
    esac
    shift
  done
  [[ "$(uname -s)" == Linux ]] || fail "the local cluster needs Linux"
  # Known before minutes of building.
  ((EUID == 0)) || fail "the local cluster needs root: try again with sudo"

  local programs
  programs="$(build "$profile")"
  if "$down"; then
    "$programs/kompass" local down --name "$name"
    return
  fi
  "$programs/kompass" local up --name "$name" "${consent[@]}"
  "$programs/kompass" run --cluster "$name" --executors 2 -- 100
  printf '\nall of it took %d s\n' "$SECONDS"
}

case "${1:-}" in
  local)
    shift
    setup_local "$@"
    ;;
  --help | -h) usage ;;
  "")
    usage
    exit 2
    ;;
  *) fail "unknown mode $1; see ./setup-kompass.sh --help" 2 ;;
esac
