#!/usr/bin/env bash
# KOMPASS in one command: on this machine, in a cluster that is there, or in a new one on AWS.
set -euo pipefail
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf 'error: bash %s is too old: 4.4 or newer is needed (on a Mac: brew install bash)\n' "$BASH_VERSION" >&2
  exit 3
fi
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=setup/common.sh
. "$ROOT/setup/common.sh"

usage() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh local      a real Kubernetes with KOMPASS on this machine, and a first Spark job (root)
       ./setup-kompass.sh cluster    KOMPASS in the cluster of your kubeconfig
       ./setup-kompass.sh eks        a new EKS cluster with node groups for Spark, and KOMPASS in it
       ./setup-kompass.sh uninstall  take KOMPASS out of a cluster, and leave nothing behind
       ./setup-kompass.sh doctor     what is wrong with a KOMPASS that is there, and how to mend it

Each tells first what it will do; `--plan` stops there, `--yes` asks nothing. A run that was interrupted is taken up by
running it again. `./setup-kompass.sh MODE --help` has the options of a mode.

Exit codes: 0 done, 1 failed, 2 usage, 3 a tool is missing, 4 a permission is missing, 5 a quota is too small,
6 something of that name belongs to somebody else, 7 the platform can't run KOMPASS, 8 another run is at it,
9 pods got no node in time, and KOMPASS was not taken away, 130 interrupted.
TEXT
}

mode="${1:-}"
[[ $# -eq 0 ]] || shift
case "$mode" in
  local | cluster | eks | uninstall | doctor)
    # shellcheck source=/dev/null
    . "$ROOT/setup/$mode.sh"
    "setup_$mode" "$@"
    ;;
  --help | -h | help) usage ;;
  "")
    usage >&2
    exit "$USAGE"
    ;;
  *) fail "unknown mode $mode; see ./setup-kompass.sh --help" "$USAGE" ;;
esac
