# Tools that answer what a test tells them, and note what they were asked.

# setup_kompass ARGUMENTS...: the script, with the fakes first on the PATH and no terminal.
setup_kompass() {
  PATH="$FAKES:/usr/bin:/bin" XDG_STATE_HOME="${XDG_STATE_HOME:-$BATS_TEST_TMPDIR/state}" \
    "$BATS_TEST_DIRNAME/../../../../../setup-kompass.sh" "$@"
}

# fake_tools: kubectl and helm of a cluster in which all is well.
fake_tools() {
  bats_require_minimum_version 1.5.0
  FAKES="$BATS_TEST_TMPDIR/fakes"
  mkdir -p "$FAKES"
  local tool
  for tool in kubectl helm; do
    fake "$tool"
  done
  answer kubectl "config view" "https://cluster.example"
  answer kubectl "get --raw /version" '{"major": "1", "gitVersion": "v1.36.3"}'
  answer kubectl "get nodes" "node-1 kind://node-1 {}"
  answer kubectl "get mutatingwebhookconfiguration" ""
  answer helm "list" "[]"
  refuse helm "status" "release: not found"
}

# fake TOOL: writes the fake. Of the answers whose words are in the call, the one that was told last counts.
fake() {
  mkdir -p "$FAKES/$1.answers"
  cat >"$FAKES/$1" <<'TOOL'
#!/bin/bash
answers="$0.answers"
printf '%s\n' "$*" >>"$0.calls"
for file in $(ls "$answers" | sort -rn); do
  read -r words <"$answers/$file"
  if [[ " $* " == *" $words"* ]]; then
    code="$(sed -n 2p "$answers/$file")"
    if [[ "$code" == 0 ]]; then sed 1,2d "$answers/$file"; else sed 1,2d "$answers/$file" >&2; fi
    exit "$code"
  fi
done
TOOL
  chmod +x "$FAKES/$1"
}

# answer TOOL WORDS TEXT, refuse TOOL WORDS TEXT: what a call with these words gets.
answer() { tell "$1" "$2" 0 "$3"; }
refuse() { tell "$1" "$2" 1 "$3"; }
tell() {
  local count
  count="$(find "$FAKES/$1.answers" -type f | wc -l)"
  printf '%s\n%s\n%s\n' "$2" "$3" "$4" >"$FAKES/$1.answers/$count"
}

# calls TOOL: what it was asked, a line each.
calls() { cat "$FAKES/$1.calls" 2>/dev/null; }

# nothing_changed: no tool was told to change anything.
nothing_changed() {
  local changes
  changes="$(
    calls kubectl | grep -v 'auth can-i' | grep -E '(^| )(apply|create|delete|label|patch|scale) '
    calls helm | grep -E '(^| )(upgrade|install|uninstall|rollback) '
  )" || true
  [[ -z "$changes" ]] || {
    printf 'changed: %s\n' "$changes"
    return 1
  }
}
