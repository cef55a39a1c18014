# shellcheck shell=bash
# Takes KOMPASS out of a cluster. The work is done by `kompass uninstall`; docs/operations/uninstall.md tells it step by step.

usage_uninstall() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh uninstall [--plan] [options of `kompass uninstall`]

Webhook off, gates lifted, waits until no pod needs KOMPASS's scheduler, gives back what is held, uninstalls the Helm
release, and looks that nothing is left. Running jobs go on. Interrupted, run it again.

  --plan           Tell what would be done, and change nothing.

TEXT
  local program
  program="$(kompass_program)" || exit
  "$program" uninstall --help | sed -n -e 's/3 pods that got/9 pods that got/' -e '/^Options:/,$p'
}

setup_uninstall() {
  local arguments=()
  while (($#)); do
    case "$1" in
      --plan) arguments+=(--dry-run) ;;
      --help | -h)
        usage_uninstall
        return
        ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  local program
  program="$(kompass_program)" || exit
  local ended=0
  "$program" uninstall "${arguments[@]}" || ended=$?
  # Its 3 is pods that got no node in time; here that is a tool that is missing.
  ((ended != 3)) || ended="$STRANDED"
  return "$ended"
}
