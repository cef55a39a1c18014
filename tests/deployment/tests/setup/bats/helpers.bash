# Tools that answer what a test tells them, and note what they were asked.

# setup_kompass ARGUMENTS...: the script, with the fakes first on the PATH and no terminal. RUNNER may run it otherwise.
setup_kompass() {
  PATH="$FAKES:${TOOLS:-/usr/bin:/bin}" XDG_STATE_HOME="${XDG_STATE_HOME:-$BATS_TEST_TMPDIR/state}" \
    "${RUNNER[@]}" "$BATS_TEST_DIRNAME/../../../../../setup-kompass.sh" "$@"
}

# without TOOLS...: the machine's own tools but these.
without() {
  TOOLS="$BATS_TEST_TMPDIR/tools"
  mkdir "$TOOLS"
  ln -s /usr/bin/* "$TOOLS/"
  (cd "$TOOLS" && rm -f "$@")
}

# fake_builds: a cargo that builds nothing, and the program `kompass` where it would have put it.
fake_builds() {
  bats_require_minimum_version 1.5.0
  FAKES="$BATS_TEST_TMPDIR/fakes"
  fake cargo
  fake go
  unset KOMPASS_PROGRAM
  export CARGO_TARGET_DIR="$BATS_TEST_TMPDIR/target" CARGO_HOME="$BATS_TEST_TMPDIR/no-cargo"
  BUILT="$CARGO_TARGET_DIR/debug"
  mkdir -p "$BUILT"
  FAKES="$BUILT" fake kompass
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
  answer helm "version" "v3.19.0"
  answer helm "list" "[]"
  refuse helm "get values" "Error: release: not found"
  refuse helm "status" "release: not found"
}

# fake_aws: beside these, an account in eu-central-1 that has nothing yet and may do all, and a Terraform that plans for it.
fake_aws() {
  fake_tools
  local tool
  for tool in terraform aws docker sleep; do
    fake "$tool"
  done
  STATE="$BATS_TEST_TMPDIR/state/kompass/terraform/123456789012/eu-central-1/kompass"
  answer terraform version "Terraform v1.11.4"
  answer terraform "state list" ""
  tell terraform plan 2 "$(<"$BATS_TEST_DIRNAME/plan.txt")"
  answer terraform "output -no-color -raw kubeconfig_command" "aws eks update-kubeconfig --region eu-central-1 --name kompass --alias kompass"
  answer terraform "output -no-color -raw registry" "123456789012.dkr.ecr.eu-central-1.amazonaws.com/kompass"
  answer terraform "output -no-color -raw helm_values" "predictor: {}"
  answer terraform "output -no-color -raw autoscaler_helm_values" "autoDiscovery: {}"
  answer aws --version "aws-cli/2.31.0 Python/3.13.7 Linux/6.1"
  answer aws "sts get-caller-identity" "123456789012	arn:aws:iam::123456789012:user/ada"
  answer aws "ec2 describe-regions" "opt-in-not-required"
  answer aws "iam simulate-principal-policy" ""
  refuse aws "eks describe-cluster" "An error occurred (ResourceNotFoundException): no cluster found"
  refuse aws "ecr describe-images" "An error occurred (RepositoryNotFoundException)"
  answer aws "ec2 describe-instance-types" "m6i.2xlarge	8	x86_64
m6i.large	2	x86_64"
  answer aws "ec2 describe-vpcs" 1
  answer aws "ec2 describe-addresses" 0
  answer aws "service-quotas get-service-quota" "5000.0"
  answer kubectl "get mutatingwebhookconfiguration" ""
  answer kubectl "get nodes" "node-1 aws:///eu-central-1a/i-1 {}"
}

# fake TOOL: writes the fake. Of the answers whose words are in the call, the one that was told last counts.
fake() {
  mkdir -p "$FAKES/$1.answers"
  cat >"$FAKES/$1" <<'TOOL'
#!/bin/bash
printf '%s\n' "$*" >>"$0.calls"
# What it is given to read.
[[ " $* " != *" --filename - "* ]] || cat >"$0.read"
answers=("$0.answers"/*)
for ((last = ${#answers[@]} - 1; last >= 0; last--)); do
  [[ -e "$0.answers/$last" ]] || continue
  mapfile -t lines <"$0.answers/$last"
  if [[ " $* " == *" ${lines[0]}"* ]]; then
    # `terraform plan` ends with 2 where there is something to do.
    if [[ "${lines[1]}" == [02] ]]; then exec 3>&1; else exec 3>&2; fi
    printf '%s\n' "${lines[@]:2}" >&3
    exit "${lines[1]}"
  fi
done
TOOL
  chmod +x "$FAKES/$1"
}

# answer TOOL WORDS TEXT, refuse TOOL WORDS TEXT: what a call with these words gets.
answer() { tell "$1" "$2" 0 "$3"; }
refuse() { tell "$1" "$2" 1 "$3"; }
tell() {
  local answers=("$FAKES/$1.answers"/*) count=0
  [[ ! -e "${answers[0]}" ]] || count="${#answers[@]}"
  printf '%s\n%s\n%s\n' "$2" "$3" "$4" >"$FAKES/$1.answers/$count"
}

# calls TOOL: what it was asked, a line each.
calls() { cat "$FAKES/$1.calls" 2>/dev/null; }

# never TOOL WORDS: it was not asked that.
never() {
  if calls "$1" | grep -- "$2"; then return 1; fi
}

# nothing_changed: no tool was told to change anything.
nothing_changed() {
  local changes
  changes="$(
    calls kubectl | grep -v -e 'auth can-i' -e '--dry-run=server' | grep -E '(^| )(apply|create|delete|label|patch|scale) '
    calls terraform | grep -E '(^| )(apply|import) '
    # A kubeconfig is a file of this machine.
    calls aws | grep -v ' eks update-kubeconfig ' | grep -E ' (create|delete|batch-delete|put|update)-'
    calls helm | grep -E '(^| )(upgrade|install|uninstall|rollback) '
  )" || true
  [[ -z "$changes" ]] || {
    printf 'changed: %s\n' "$changes"
    return 1
  }
}
