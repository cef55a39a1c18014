#!/usr/bin/env bats
# Preflight and plan of `setup-kompass.sh cluster`, against a kubectl and a helm that answer what a test tells them.

setup() {
  load helpers
  fake_tools
}

@test "usage errors have their code and say what is known" {
  run -2 setup_kompass cluster --scope everything
  [[ "$output" == *"--scope is labelled or all, not everything"* ]]
  run -2 setup_kompass cluster --scope all --jobs spark
  [[ "$output" == *"--jobs is for --scope labelled"* ]]
  run -2 setup_kompass cluster --contxt x
  [[ "$output" == *"unknown option --contxt"*"--help"* ]]
  run -2 setup_kompass cluster --namespace
  [[ "$output" == *"--namespace needs a value"* ]]
  run -2 setup_kompass cluster --values /no/such/file
  [[ "$output" == *"failed to read the values in /no/such/file"* ]]
}

@test "a missing tool is named, with where to get it" {
  rm "$FAKES/helm"
  run -3 setup_kompass cluster --plan
  [[ "$output" == *"helm is missing: https://helm.sh"* ]]
}

@test "without a cluster the error says how to name one" {
  answer kubectl "config view" ""
  run -1 setup_kompass cluster --plan
  [[ "$output" == *"--context or --kubeconfig"* ]]
}

@test "an API server that does not answer is an error with its words" {
  refuse kubectl "get --raw /version" "connection refused"
  run -1 setup_kompass cluster --plan
  [[ "$output" == *"https://cluster.example does not answer: connection refused"* ]]
}

@test "an old Kubernetes is refused" {
  answer kubectl "get --raw /version" '{"gitVersion": "v1.30.9-eks-abc"}'
  run -7 setup_kompass cluster --plan
  [[ "$output" == *"v1.30.9-eks-abc is too old"* ]]
}

@test "GKE Autopilot is refused, with what to use instead" {
  answer kubectl "get nodes" "gk3-pool-1 gce://project/zone/gk3-pool-1 {}"
  run -7 setup_kompass cluster --plan
  [[ "$output" == *"Autopilot"*"GKE Standard"* ]]
}

@test "a cluster of Fargate nodes alone is refused" {
  answer kubectl "get nodes" 'fargate-ip-10-0-0-1 aws:///eu-central-1a/x {"eks.amazonaws.com/compute-type":"fargate"}'
  run -7 setup_kompass cluster --plan
  [[ "$output" == *"Fargate"* ]]
}

@test "one Fargate node beside others is none of our business" {
  answer kubectl "get nodes" 'node-1 aws:///eu-central-1a/i-1 {}
fargate-ip-10-0-0-1 aws:///eu-central-1a/x {"eks.amazonaws.com/compute-type":"fargate"}'
  run -0 setup_kompass cluster --plan
  [[ "$output" == *"(EKS, Kubernetes v1.36.3)"* ]]
}

@test "rights that are missing are all named" {
  refuse kubectl "auth can-i create clusterroles.rbac.authorization.k8s.io" ""
  refuse kubectl "auth can-i create priorityclasses.scheduling.k8s.io" ""
  run -4 setup_kompass cluster --plan
  [[ "$output" == *"you may not: create clusterroles.rbac.authorization.k8s.io, create priorityclasses.scheduling.k8s.io. Ask"* ]]
}

@test "a second install names the first" {
  answer helm "list" '[{"name":"kompass","namespace":"data-platform","revision":"3","status":"deployed"}]'
  run -6 setup_kompass cluster --plan
  [[ "$output" == *"in namespace data-platform"*"--namespace data-platform"* ]]
}

@test "the release of the same namespace is an upgrade, not a clash" {
  answer helm "list" '[{"name":"kompass","namespace":"kompass","revision":"3","status":"deployed"}]'
  run -0 setup_kompass cluster --plan
}

@test "a webhook of another install names it" {
  answer kubectl "get mutatingwebhookconfiguration" "data/kompass-admission-webhook"
  run -6 setup_kompass cluster --plan
  [[ "$output" == *"belongs to data/kompass-admission-webhook"* ]]
}

@test "a namespace for jobs that is not there is an error before anything is changed" {
  refuse kubectl "get namespace spark-b" "not found"
  run -1 setup_kompass cluster --jobs spark-a,spark-b --yes
  [[ "$output" == *"there is no namespace spark-b"* ]]
  nothing_changed
}

@test "a plan changes nothing and tells what would be" {
  run -0 setup_kompass cluster --jobs spark-a --mode shadow --plan
  [[ "$output" == *"mode shadow, scope labelled"* ]]
  [[ "$output" == *"label namespaces for it: spark-a"* ]]
  [[ "$output" == *"Undo: ./setup-kompass.sh uninstall"* ]]
  nothing_changed
}

@test "without a terminal and without --yes nothing is changed" {
  run -2 setup_kompass cluster </dev/null
  [[ "$output" == *"add --yes"* ]]
  nothing_changed
}

@test "an install that was interrupted is cleared away first" {
  answer helm "status" '{"info":{"status":"pending-install"}}'
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep -n "^uninstall" | cut -d: -f1)" -lt "$(calls helm | grep -n "^upgrade" | cut -d: -f1)" ]]
}

@test "an upgrade that was interrupted is taken back first" {
  answer helm "status" '{"info":{"status":"pending-upgrade"}}'
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep -n "^rollback" | cut -d: -f1)" -lt "$(calls helm | grep -n "^upgrade" | cut -d: -f1)" ]]
}

@test "the install has what was asked for, and is proved" {
  run -0 setup_kompass cluster --context blue --jobs a,b --mode shadow --set predictor.replicas=2 --yes
  local upgrade
  upgrade="$(calls helm | grep "^--kube-context blue upgrade")"
  [[ "$upgrade" == *"--reset-then-reuse-values --set scope=labelled --set mode=shadow --set namespaces={a,b} --set predictor.replicas=2"* ]]
  calls kubectl | grep -q "^--context blue label namespace b kompass.dev/enabled=true --overwrite"
  calls helm | grep -q "^--kube-context blue test kompass"
  [[ "$output" == *"Undo: ./setup-kompass.sh uninstall --context blue"* ]]
}

@test "what is not said stays as it was" {
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep "^upgrade")" == *"--reset-then-reuse-values"* ]]
  [[ "$(calls helm | grep "^upgrade")" != *"scope="* && "$(calls helm | grep "^upgrade")" != *"mode="* ]]
}

@test "Helm 4 may take over fields that the uninstall wrote, Helm 3 does not know how" {
  answer helm "version" "v4.3.1"
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep "^upgrade")" == *"--force-conflicts"* ]]
  answer helm "version" "v3.19.0"
  rm "$FAKES/helm.calls"
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep "^upgrade")" != *"--force-conflicts"* ]]
}

@test "a Helm that may still be at work is left alone" {
  answer helm "status" "{\"info\":{\"last_deployed\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"status\":\"pending-install\"}}"
  run -8 setup_kompass cluster --yes
  [[ "$output" == *"wait until 5m are over"* ]]
  nothing_changed
}

@test "releases that can't be listed are no proof that there are none" {
  refuse helm "list" "secrets is forbidden"
  run -4 setup_kompass cluster --plan
  [[ "$output" == *"secrets is forbidden"* ]]
}

@test "an empty list of namespaces is an error, and nothing is installed" {
  run -2 setup_kompass cluster --jobs "" --yes
  nothing_changed
  run -2 setup_kompass cluster --yes --jobs
}

@test "an install that fails says what to do" {
  refuse helm "upgrade" "timed out"
  run -1 setup_kompass cluster --yes
  [[ "$output" == *"doctor"* ]]
}

@test "two runs at once: the second one stops" {
  export XDG_STATE_HOME="$BATS_TEST_TMPDIR/state"
  mkdir -p "$XDG_STATE_HOME/kompass/setup"
  exec 9>"$XDG_STATE_HOME/kompass/setup/https___cluster.example.lock"
  flock 9
  run -8 setup_kompass cluster --yes
  [[ "$output" == *"another run"* ]]
  nothing_changed
}
