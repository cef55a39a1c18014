#!/usr/bin/env bats
# `setup-kompass.sh uninstall` and `doctor`: what they hand to the program `kompass`, and how they end.

setup() {
  load helpers
  fake_builds
  fake kompass
}

@test "uninstall hands its options on" {
  run -0 setup_kompass uninstall --context blue --namespace apart --yes
  [[ "$(calls kompass)" == "uninstall --context blue --namespace apart --yes" ]]
  [[ -z "$(calls cargo)" ]]
}

@test "a plan of the uninstall is a dry run" {
  run -0 setup_kompass uninstall --plan --context blue
  [[ "$(calls kompass)" == "uninstall --dry-run --context blue" ]]
}

@test "pods that got no node in time are no missing tool" {
  tell kompass "uninstall" 3 "2 pods have no node"
  run -9 setup_kompass uninstall --yes
  [[ "$output" == *"2 pods have no node"* ]]
}

@test "other ends of the uninstall are the script's" {
  local code
  for code in 1 2; do
    tell kompass "uninstall" "$code" "error"
    run "-$code" setup_kompass uninstall --yes
  done
}

@test "the help of the uninstall has the program's options, and the script's exit codes" {
  answer kompass "uninstall --help" "Takes KOMPASS away
Options:
      --drain <SECONDS>
Exit codes: 0 nothing of KOMPASS is left, 3 pods that got no node in time."
  run -0 setup_kompass uninstall --help
  [[ "$output" == *"--plan"*"--drain"*"9 pods that got no node in time"* ]]
  [[ "$output" != *"Takes KOMPASS away"* ]]
  never kompass "uninstall$"
}

@test "what is installed is used, and what is not is built" {
  rm "$FAKES/kompass"
  without kompass
  run -0 setup_kompass uninstall --yes
  [[ "$(calls cargo)" == "build --locked --bins --package kompass-cli" ]]
  [[ "$(FAKES="$BUILT" calls kompass)" == "uninstall --yes" ]]
}

@test "without the program and without Rust both say where to get it" {
  rm "$FAKES/cargo" "$FAKES/kompass"
  without cargo rustup kompass
  run -3 setup_kompass uninstall --yes
  [[ "$output" == *"Rust is missing"*"https://rustup.rs"* ]]
  run -3 setup_kompass uninstall --help
  run -3 setup_kompass doctor
  [[ "$output" == *"Rust is missing"*"https://rustup.rs"* ]]
}

@test "the doctor gets all options, and its verdict is the script's" {
  run -0 setup_kompass doctor --context blue --output json
  [[ "$(calls kompass)" == "doctor --context blue --output json" ]]
  refuse kompass "doctor" "fail: no webhook"
  run -1 setup_kompass doctor
  [[ "$output" == *"fail: no webhook"* ]]
  tell kompass "doctor" 2 "error: unexpected argument '--plan' found"
  run -2 setup_kompass doctor --plan
}
