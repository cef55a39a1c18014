#!/usr/bin/env bats
# Options and errors of `setup-kompass.sh local`, with a cargo that builds nothing. The cluster: tests/tests/full.

setup() {
  load helpers
  fake_builds
}

# nothing_started: nothing was built, and no cluster was asked for.
nothing_started() {
  [[ -z "$(calls cargo)$(FAKES="$BUILT" calls kompass)" ]]
}

@test "a plan tells what would be done, with rights and price, and does nothing" {
  run -0 setup_kompass local --plan --name blue
  [[ "$output" == *'start the cluster "blue"'*"Permissions: root. Price: nothing."*"local --down --name blue"* ]]
  nothing_started
}

@test "usage errors have their code and say what is known" {
  run -2 setup_kompass local --nmae blue
  [[ "$output" == *"unknown option --nmae"*"local --help"* ]]
  run -2 setup_kompass local --name
  [[ "$output" == *"--name needs a value"* ]]
  nothing_started
}

@test "another system than Linux is refused" {
  fake uname
  answer uname "-s" Darwin
  run -7 setup_kompass local --yes
  [[ "$output" == *"needs Linux"* ]]
  nothing_started
}

@test "without root it ends before minutes of building" {
  # It may read what root may, wherever the checkout is.
  RUNNER=(setpriv --reuid=65534 --inh-caps=+dac_override --ambient-caps=+dac_override)
  run -4 setup_kompass local --yes
  [[ "$output" == *"needs root"*"sudo"* ]]
  nothing_started
  run -0 setup_kompass local --plan
}

@test "without Rust it says where to get it" {
  rm "$FAKES/cargo"
  without cargo rustup
  run -3 setup_kompass local --yes
  [[ "$output" == *"Rust is missing"*"https://rustup.rs"* ]]
  nothing_started
}

@test "without Go it says where to get it, before minutes of building" {
  rm "$FAKES/go"
  without go
  run -3 setup_kompass local --yes
  [[ "$output" == *"go is missing"*"https://go.dev/dl"* ]]
  nothing_started
  # What is there can be taken away without it.
  run -0 setup_kompass local --down
}

@test "packages that nobody can be asked about are wrong usage, as everywhere" {
  FAKES="$BUILT" tell kompass "local up" 2 "error: packages are missing"
  run -2 setup_kompass local
  [[ -z "$(FAKES="$BUILT" calls kompass | grep '^run')" ]]
}

@test "programs that can't be built end it" {
  refuse cargo "build" "error: could not compile"
  run -1 setup_kompass local --yes
  [[ "$output" == *"could not compile"*"the programs were not built"* ]]
  [[ -z "$(FAKES="$BUILT" calls kompass)" ]]
}

@test "it starts the cluster, and runs a job in it" {
  run -0 setup_kompass local --yes --name blue
  [[ "$(calls cargo)" == "build --locked --bins --package kompass-cli"* ]]
  [[ "$(FAKES="$BUILT" calls kompass)" == "local up --name blue --yes
run --cluster blue --executors 2 -- 100" ]]
}

@test "a cluster that does not start gets no job" {
  FAKES="$BUILT" refuse kompass "local up" "error: no room"
  run -1 setup_kompass local --yes
  [[ "$(FAKES="$BUILT" calls kompass)" == "local up --name local --yes" ]]
}

@test "down takes that cluster away, and starts none" {
  run -0 setup_kompass local --down --name blue
  [[ "$(FAKES="$BUILT" calls kompass)" == "local down --name blue" ]]
}
