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

@test "a Helm that can't keep values is named before the cluster is asked" {
  answer helm "version" "v3.13.3"
  run -3 setup_kompass cluster --plan
  [[ "$output" == *"Helm v3.13.3 is too old: 3.14 or newer is needed (https://helm.sh"* ]]
  [[ -z "$(calls kubectl)" ]]
  answer helm "version" "v3.14.0"
  run -0 setup_kompass cluster --plan
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
  [[ "$output" == *"you may not: create clusterroles.rbac.authorization.k8s.io, priorityclasses.scheduling.k8s.io. Ask"* ]]
}

@test "rights elsewhere than in KOMPASS's namespace are asked for there" {
  refuse kubectl "auth can-i create rolebindings.rbac.authorization.k8s.io --namespace kube-system" ""
  refuse kubectl "auth can-i create roles.rbac.authorization.k8s.io --namespace spark-b" ""
  run -4 setup_kompass cluster --jobs spark-a,spark-b --plan
  [[ "$output" == *"you may not: create rolebindings.rbac.authorization.k8s.io in kube-system, roles.rbac.authorization.k8s.io in spark-b. Ask"* ]]
}

@test "with the scope all, the proof takes rights in default" {
  refuse kubectl "auth can-i create roles.rbac.authorization.k8s.io --namespace default" ""
  run -4 setup_kompass cluster --scope all --plan
  [[ "$output" == *"you may not: create roles.rbac.authorization.k8s.io in default. Ask"* ]]
  run -0 setup_kompass cluster --plan
}

@test "rights that only some values take are told, and are no hindrance" {
  run -0 setup_kompass cluster --plan
  [[ "$output" != *"You have not these"* ]]
  refuse kubectl "auth can-i create servicemonitors.monitoring.coreos.com" ""
  run -0 setup_kompass cluster --plan
  [[ "$output" == *"You have not these"*"create servicemonitors.monitoring.coreos.com"* ]]
}

# A chart that gives rights, and what the API server says of them.
gives_rights() {
  answer helm "template" "---
kind: ClusterRole
metadata: {name: kompass-scheduler}
---
kind: ConfigMap
---
kind: ClusterRole
metadata: {name: kompass-predictor}"
  refuse kubectl "create --dry-run=server" "$1"
}

@test "rights that an install would give and that you don't hold are named, each once" {
  gives_rights 'Error from server (Forbidden): error when creating "STDIN": clusterroles "kompass-scheduler" is forbidden: user "ada" is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods/binding"], Verbs:["create"]}
{APIGroups:[""], Resources:["nodes"], Verbs:["watch"]}
Error from server (Forbidden): clusterroles "kompass-predictor" is forbidden: user "ada" is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["nodes"], Verbs:["watch"]}'
  run -4 setup_kompass cluster --scope all --mode shadow --set predictor.mode=act --plan
  [[ "$output" == *'KOMPASS'"'"'s do: {APIGroups:[""], Resources:["nodes"], Verbs:["watch"]} {APIGroups:[""], Resources:["pods/binding"], Verbs:["create"]}. Ask'* ]]
  calls helm | grep -q "^template .* --kube-version v1.36.3 --set scope=all --set mode=shadow --set predictor.mode=act"
  nothing_changed
}

@test "roles that are there already are no hindrance" {
  gives_rights 'Error from server (AlreadyExists): clusterroles "kompass-scheduler" already exists'
  run -0 setup_kompass cluster --plan
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
  [[ "$output" == *"Permissions"*"create "*"roles.rbac.authorization.k8s.io in spark-a,"*" secrets,"*"; patch namespaces"* ]]
  [[ "$output" == *"Price: "*"m CPU and "*"Mi memory"* ]]
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

@test "the context is that of the start, whatever is the current one later" {
  answer kubectl "config current-context" "green"
  run -0 setup_kompass cluster --jobs a --yes
  calls kubectl | grep -q "^--context green label namespace a "
  calls helm | grep -q "^--kube-context green upgrade"
  rm "$FAKES/kubectl.calls" "$FAKES/helm.calls"
  run -0 setup_kompass cluster --context blue --yes
  never kubectl green
  # In a pod there is none.
  refuse kubectl "config current-context" "error: current-context is not set"
  run -0 setup_kompass cluster --yes
  calls helm | grep -q "^upgrade"
}

# The first job, as it is printed: an account for the driver, and all that spark-submit needs.
@test "a first job is printed that can be copied" {
  run -0 setup_kompass cluster --context blue --kubeconfig /other/config --jobs a,b --yes
  [[ "$output" == *"
  kubectl --context blue --kubeconfig /other/config create serviceaccount spark --namespace a
  kubectl --context blue --kubeconfig /other/config create rolebinding spark --clusterrole=edit --serviceaccount=a:spark --namespace a
  KUBECONFIG=/other/config spark-submit --master k8s://https://cluster.example --conf spark.kubernetes.context=blue "*"
    --conf spark.kubernetes.namespace=a --conf spark.kubernetes.authenticate.driver.serviceAccountName=spark "*"
Undo: "* ]]
  run -0 setup_kompass cluster --scope all --yes
  [[ "$output" == *"--serviceaccount=default:spark --namespace default
  spark-submit --master k8s://https://cluster.example --deploy-mode cluster "* ]]
}

@test "a namespace that is made is restricted, unless pods on the node's network are to be in it" {
  answer helm "template" "kind: Deployment"
  run -0 setup_kompass cluster --plan
  [[ "$output" == *"in namespace kompass (new, with PodSecurity"* ]]
  nothing_changed
  run -0 setup_kompass cluster --yes
  [[ "$(<"$FAKES/kubectl.read")" == *'"name": "kompass"'*'"pod-security.kubernetes.io/enforce": "restricted"'* ]]
  answer helm "template" "      hostNetwork: true"
  run -0 setup_kompass cluster --yes
  [[ "$output" == *"(new, without PodSecurity"* ]]
  [[ "$(<"$FAKES/kubectl.read")" == *'"labels": null'* ]]
}

@test "a namespace that is there stays as it is" {
  answer kubectl "get namespace kompass" "namespace/kompass"
  answer helm "template" "kind: Deployment"
  run -0 setup_kompass cluster --yes
  never kubectl "^create --filename -"
}

@test "a namespace that can't be looked for or made ends it with the reason" {
  refuse kubectl "create --filename -" "namespaces is forbidden"
  run -1 setup_kompass cluster --yes
  [[ "$output" == *"namespaces is forbidden"*"namespace kompass was not made"* ]]
  never helm "^upgrade"
  refuse kubectl "get namespace kompass" "i/o timeout"
  run -4 setup_kompass cluster --plan
  [[ "$output" == *"whether there is a namespace kompass is not known: i/o timeout"* ]]
}

@test "what is not said stays as it was" {
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep "^upgrade")" == *"--reset-then-reuse-values"* ]]
  [[ "$(calls helm | grep "^upgrade")" != *"scope="* && "$(calls helm | grep "^upgrade")" != *"mode="* ]]
}

# What `helm get values` tells. Queues have namespaces, too.
values_of_an_earlier_run() {
  answer helm "get values" "mode: active
namespaces:
- a
- \"7\"
scheduler:
  queues:
  - name: etl
    namespaces:
    - other
scope: labelled"
}

@test "namespaces of an earlier run stay, and only those of this one are labelled" {
  values_of_an_earlier_run
  answer kubectl "get namespace" "namespace/some"
  run -0 setup_kompass cluster --jobs b,a --yes
  [[ "$output" == *"label namespaces for it: b a; those of an earlier run stay: 7"* ]]
  [[ "$(calls helm | grep "^upgrade")" == *"--set namespaces={7,b,a} "* ]]
  [[ "$(calls kubectl | grep -c "^label namespace")" == 2 ]]
}

@test "a namespace of an earlier run that is gone is left out, with a word about it" {
  values_of_an_earlier_run
  answer kubectl "get namespace a" "namespace/a"
  answer kubectl "get namespace 7" ""
  run -0 setup_kompass cluster --jobs b --yes
  [[ "$output" == *"warning: namespace 7, which an earlier run named, is gone"* ]]
  [[ "$(calls helm | grep "^upgrade")" == *"--set namespaces={a,b} "* ]]
}

@test "values of the release that can't be read end it before they are lost" {
  refuse helm "get values" "secrets is forbidden"
  run -4 setup_kompass cluster --jobs b --yes
  [[ "$output" == *"the values of the release can't be read: secrets is forbidden"* ]]
  nothing_changed
}

@test "the scope all takes back the namespaces of an earlier run" {
  values_of_an_earlier_run
  run -0 setup_kompass cluster --scope all --yes
  [[ "$output" == *"a Spark driver in default"* ]]
  [[ "$(calls helm | grep "^upgrade")" == *"--set scope=all --set-json namespaces=[] "* ]]
  rm "$FAKES/helm.calls"
  run -0 setup_kompass cluster --yes
  [[ "$(calls helm | grep "^upgrade")" != *"namespaces="* ]]
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

@test "how long a Helm has been at work is told by the date of a Mac, too" {
  fake date
  answer date "+%s" 1796054932
  refuse date "-d" "date: illegal option -- d"
  answer date "-j -f" 1796054832
  answer helm "status" '{"info":{"last_deployed":"2026-11-30T17:07:12.123456+01:00","status":"pending-install"}}'
  run -8 setup_kompass cluster --yes
  [[ "$output" == *"for 100 s"* ]]
  calls date | grep -qx -- "-j -f %Y-%m-%dT%H:%M:%S%z 2026-11-30T17:07:12+0100 +%s"
  answer helm "status" '{"info":{"last_deployed":"2026-11-30T16:07:12Z","status":"pending-install"}}'
  run -8 setup_kompass cluster --yes
  calls date | grep -qx -- "-j -f %Y-%m-%dT%H:%M:%S%z 2026-11-30T16:07:12+0000 +%s"
  nothing_changed
}

@test "a Helm whose time can't be read is left alone, with what to do" {
  answer helm "status" '{"info":{"last_deployed":"last week, or so","status":"pending-upgrade"}}'
  run -8 setup_kompass cluster --yes
  [[ "$output" == *"since last week, or so"*"helm rollback kompass --namespace kompass"* ]]
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
  run -1 setup_kompass cluster --context blue --namespace apart --yes
  [[ "$output" == *"did not install it, or it was not ready within 5m"*"\`./setup-kompass.sh doctor --context blue --namespace apart\`"* ]]
}

@test "what Helm tells is shown where something fails, and else left out" {
  answer helm "upgrade" "a page of notes"
  answer helm "test" "six lines for each part"
  run -0 setup_kompass cluster --yes
  [[ "$output" != *"a page of notes"* && "$output" != *"six lines"* && "$output" == *"proved: "* ]]
  tell helm "test" 2 "Phase: Failed"
  run -1 setup_kompass cluster --yes
  [[ "$output" != *"a page of notes"* && "$output" != *"proved: "* && "$output" == *"Phase: Failed"*"the test of the release failed"* ]]
  tell helm "upgrade" 2 "STATUS: failed"
  run -1 setup_kompass cluster --yes
  [[ "$output" == *"STATUS: failed"*"Helm did not install it"* ]]
}

@test "a proof that fails says what to do" {
  refuse helm "test" "failed"
  run -1 setup_kompass cluster --kubeconfig /other/config --yes
  [[ "$output" == *"the test of the release failed"*"\`./setup-kompass.sh doctor --kubeconfig /other/config\`"* ]]
}

@test "a quota that keeps the pods out has its code and the words of the cluster" {
  refuse helm "upgrade" "timed out"
  answer kubectl "get replicasets" 'kompass-scheduler 10 pods "kompass-scheduler-1" is forbidden: exceeded quota: small, requested: cpu=200m
kompass-scheduler 9 pods "kompass-scheduler-0" is forbidden: exceeded quota: smaller
kompass-admission-webhook 1 '
  run -5 setup_kompass cluster --yes
  [[ "$output" == *"a quota of namespace kompass"*"exceeded quota: small"*"kubectl describe resourcequota --namespace kompass"* ]]
  [[ "$output" != *"smaller"* ]]
}

@test "a policy that keeps the pods out has its code and the words of the cluster" {
  refuse helm "upgrade" "timed out"
  answer kubectl "get replicasets" 'kompass-scheduler 1 pods "kompass-scheduler-1" is forbidden: violates PodSecurity "restricted:latest"'
  run -4 setup_kompass cluster --yes
  [[ "$output" == *"does not let KOMPASS's pods into namespace kompass"*"violates PodSecurity"* ]]
  answer kubectl "get replicasets" 'kompass-scheduler 1 admission webhook "validate.kyverno.svc" denied the request: no images of ghcr.io'
  run -4 setup_kompass cluster --yes
  [[ "$output" == *"no images of ghcr.io"* ]]
  answer kubectl "get replicasets" 'kompass-scheduler 2 
kompass-scheduler 1 pods "kompass-scheduler-0" is forbidden: exceeded quota: small'
  run -1 setup_kompass cluster --yes
}

@test "an image that can't be pulled is named, with what to do" {
  refuse helm "upgrade" "timed out"
  answer kubectl "get pods" ' registry.k8s.io/kube-scheduler:v1.36.2: 
ImagePullBackOff ghcr.io/kompass-dev/kompass-scheduler-extender:0.1.0: Back-off pulling image: not found
ErrImagePull ghcr.io/kompass-dev/kompass-scheduler-extender:0.1.0: Back-off pulling image: not found'
  run -1 setup_kompass cluster --yes
  [[ "$output" == *"can't be pulled: ghcr.io/kompass-dev/kompass-scheduler-extender:0.1.0: Back-off pulling image: not found. Name"*"--set image.registry="* ]]
}

@test "pods that were refused before are tried again at once" {
  run -0 setup_kompass cluster --yes
  never kubectl "rollout restart"
  answer kubectl "get replicasets" 'kompass-scheduler 1 pods "kompass-scheduler-1" is forbidden: exceeded quota: small'
  run -0 setup_kompass cluster --namespace apart --yes
  calls kubectl | grep -q "^rollout restart deployment --namespace apart"
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
