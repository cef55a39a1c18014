# shellcheck shell=bash
# What every mode of setup-kompass.sh needs: words, ends, tools, consent.

# Exit codes: `./setup-kompass.sh --help` tells them, docs/operations/setup.md too.
readonly FAILED=1 USAGE=2 NO_TOOL=3 NO_PERMISSION=4 NO_QUOTA=5 NAME_CLASH=6 NO_PLATFORM=7 BUSY=8 STRANDED=9
export FAILED USAGE NO_TOOL NO_PERMISSION NO_QUOTA NAME_CLASH NO_PLATFORM BUSY STRANDED

# fail WORDS [CODE]: the last word. What to do about it belongs in the words.
fail() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-$FAILED}"
}

# step WORDS: what is being done now, with the time since the start.
step() {
  printf '[%3d s] %s\n' "$SECONDS" "$1" >&2
}

# value OPTION REST...: the value that follows an option.
value() {
  [[ $# -gt 1 && -n "$2" ]] || fail "$1 needs a value" "$USAGE"
  printf '%s' "$2"
}

# need TOOL ADVICE: ends with NO_TOOL unless the tool is there.
need() {
  command -v "$1" >/dev/null || fail "$1 is missing: $2" "$NO_TOOL"
}

# consent WORDS: asks, unless --yes was given. Nobody to ask is no consent.
consent() {
  [[ "${YES:-false}" != true ]] || return 0
  [[ -t 0 ]] || fail "nobody is here to ask: add --yes to go on, or --plan to see what would be done" "$USAGE"
  local answer
  read -r -p "$1 [y/N] " answer
  [[ "$answer" == [yY]* ]] || fail "nothing was changed"
}

# One run at a time for one cluster or one folder of Terraform. A lock of a run that is dead is nobody's.
# hold NAME
hold() {
  local folder="${XDG_STATE_HOME:-$HOME/.local/state}/kompass/setup"
  need flock "it is in util-linux (on a Mac: brew install flock)"
  mkdir -p "$folder"
  exec {LOCK}>"$folder/${1//[^A-Za-z0-9._-]/_}.lock"
  flock --nonblock "$LOCK" || fail "another run of setup-kompass.sh works on $1; wait for its end" "$BUSY"
}

# at_least VERSION WANTED: whether a version `1.31` or `v1.31.4-eks-1` is at least `1.31`.
at_least() {
  local have="${1#v}" want="$2"
  [[ "$have" == [0-9]*.[0-9]* ]] || return 1
  local major="${have%%.*}" rest="${have#*.}"
  local minor="${rest%%[!0-9]*}"
  local want_major="${want%%.*}" want_minor="${want#*.}"
  ((major > want_major || (major == want_major && minor >= want_minor)))
}

# The command line program: one that is installed, or one that is built from this checkout.
kompass_program() {
  if [[ -n "${KOMPASS_PROGRAM:-}" ]]; then
    printf '%s' "$KOMPASS_PROGRAM"
  elif command -v kompass >/dev/null; then
    command -v kompass
  else
    local folder
    folder="$(build dev --package kompass-cli)" || exit
    printf '%s/kompass' "$folder"
  fi
}

# build PROFILE PACKAGES...: builds programs and prints their folder.
build() {
  local profile="$1"
  shift
  if ! command -v cargo >/dev/null && [[ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]]; then
    # shellcheck source=/dev/null
    . "${CARGO_HOME:-$HOME/.cargo}/env"
  fi
  if ! command -v cargo >/dev/null; then
    if command -v rustup >/dev/null; then
      rustup toolchain install >&2
    else
      fail "Rust is missing. Install it from https://rustup.rs (curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh), then run this again" "$NO_TOOL"
    fi
  fi
  # Outside the checkout, so that another clone on this machine has nothing left to build.
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kompass/target}"
  local folder="$CARGO_TARGET_DIR/debug" arguments=(--locked --bins "$@")
  if [[ "$profile" == release ]]; then
    arguments+=(--release)
    folder="$CARGO_TARGET_DIR/release"
  fi
  (cd "$ROOT" && cargo build "${arguments[@]}" >&2) || fail "the programs were not built; the lines above tell why"
  printf '%s' "$folder"
}
