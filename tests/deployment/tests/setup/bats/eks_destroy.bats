#!/usr/bin/env bats
# `setup-kompass.sh eks --destroy` against tools that answer what a test tells them.

setup() {
  load helpers
  fake_aws
  # A cluster that was made, and answers; KOMPASS is in it.
  mkdir -p "$STATE/module"
  printf 'x' >"$STATE/terraform.tfstate"
  answer terraform "state list" "data.aws_partition.current
module.cluster.aws_eks_cluster.this"
  tell terraform "plan -destroy" 2 "  # module.cluster.aws_eks_cluster.this will be destroyed"
  answer aws "eks describe-cluster" "arn:aws:eks:eu-central-1:123456789012:cluster/kompass"
  answer aws "eks describe-cluster --name kompass --query cluster.status" "ACTIVE"
  answer aws "ecr list-images" "0"
  answer aws "--output json ecr list-images" "[]"
  answer helm "status kompass" "{}"
  fake kompass
  for kind in ingress service persistentvolumeclaims persistentvolumes; do
    answer kubectl "get $kind" ""
  done
}

destroy() { setup_kompass eks --region eu-central-1 --destroy "$@"; }

# with_karpenter: Karpenter is in the cluster, too.
with_karpenter() {
  answer kubectl "get customresourcedefinitions nodepools.karpenter.sh nodeclaims.karpenter.sh ec2nodeclasses.karpenter.k8s.aws" \
    "customresourcedefinition.apiextensions.k8s.io/nodepools.karpenter.sh
customresourcedefinition.apiextensions.k8s.io/nodeclaims.karpenter.sh
customresourcedefinition.apiextensions.k8s.io/ec2nodeclasses.karpenter.k8s.aws"
  answer helm "status karpenter" "{}"
}

# line TOOL WORDS: which call it was.
line() { calls "$1" | grep -n -- "$2" | head -n 1 | cut -d: -f1; }

@test "a plan tells what would go, and takes nothing" {
  run -0 destroy --plan
  [[ "$output" == *"1 destroyed aws_eks_cluster"* ]]
  nothing_changed
  [[ ! -s "$FAKES/kompass.calls" ]]
}

@test "without a terminal and without --yes nothing is taken" {
  run -2 destroy </dev/null
  [[ "$output" == *"add --yes"* ]]
  nothing_changed
}

@test "the whole way, and a second time" {
  answer kubectl "get service" "spark ui"
  answer kubectl "get persistentvolumeclaims" "spark spark"
  answer helm "status cluster-autoscaler" "{}"
  run -0 destroy --yes
  calls kompass | grep -q "^uninstall --kubeconfig $STATE/kubeconfig --namespace kompass --timeout 120 --force --yes"
  calls kubectl | grep -q "delete service ui --namespace spark"
  [[ "$(calls kubectl | grep -c "delete persistentvolumeclaims --all --namespace spark")" == 1 ]]
  [[ "$(line kubectl "delete cronjobs,.*--namespace spark")" -lt "$(line kubectl "delete persistentvolumeclaims")" ]]
  calls helm | grep -q "uninstall cluster-autoscaler --namespace kube-system --wait"
  calls terraform | grep -qx -- "-chdir=$STATE/module apply -input=false -no-color -lock-timeout=30s $STATE/plan"
  [[ "$output" == *"Nothing of the cluster kompass is left in eu-central-1."* ]]
  [[ ! -e "$STATE" ]]
  refuse aws "eks describe-cluster" "ResourceNotFoundException"
  rm "$FAKES"/*.calls
  run -0 destroy --yes
  [[ "$output" == *"Nothing of the cluster kompass is left"* ]]
  nothing_changed
}

@test "a cluster that is not in the state is not ours to destroy" {
  answer terraform "state list" ""
  run -6 destroy --yes
  [[ "$output" == *"not this script's to destroy"*"--backend-config"* ]]
  rm -r "$STATE"
  run -6 destroy --yes
  nothing_changed
}

@test "Karpenter's nodes go before Karpenter, and keep it until they and their launch templates are gone" {
  local kind
  with_karpenter
  for kind in nodeclaims.karpenter.sh ec2nodeclasses.karpenter.k8s.aws; do
    refuse kubectl "delete $kind" "timed out"
    run -1 destroy --yes
    [[ "$output" == *"Karpenter's ${kind%%.*} are not gone"*"kubectl describe $kind tells why"* ]]
    never helm "uninstall karpenter"
    never terraform " apply "
    answer kubectl "delete $kind" ""
  done
  rm "$FAKES/kubectl.calls"
  run -0 destroy --yes
  calls helm | grep -q "uninstall karpenter"
  [[ "$(line kubectl "delete nodepools.karpenter.sh --all")" -lt "$(line kubectl "annotate nodeclaims.karpenter.sh --all")" ]]
  # From then on a drain waits for nobody.
  calls kubectl | grep -Eq "annotate .* --overwrite karpenter.sh/nodeclaim-termination-timestamp=20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$"
  [[ "$(line kubectl "annotate nodeclaims")" -lt "$(line kubectl "delete nodeclaims.karpenter.sh --all")" ]]
  [[ "$(line kubectl "delete nodeclaims")" -lt "$(line kubectl "delete ec2nodeclasses.karpenter.k8s.aws --all")" ]]
}

@test "what Karpenter has is not taken for nothing where it can't be listed" {
  refuse kubectl "get customresourcedefinitions" "i/o timeout"
  run -1 destroy --yes
  [[ "$output" == *"what Karpenter has in the cluster can't be listed: i/o timeout"* ]]
  never terraform " apply "
}

@test "jobs that run are ended before Karpenter's nodes, drivers first, and their number is told" {
  with_karpenter
  answer kubectl "get pods --all-namespaces --selector spark-role in (driver,executor) --field-selector status.phase!=Succeeded," \
    "driver
executor
driver
executor
executor"
  run -0 destroy --yes
  [[ "$output" == *"end the jobs that run"*"ending Spark's jobs: 2 drivers, 3 executors"*"deleting Karpenter's nodepools"* ]]
  [[ "$(line kubectl "delete pods --all-namespaces --selector spark-role=driver ")" -lt "$(line kubectl "delete pods .*spark-role=executor ")" ]]
  [[ "$(line kubectl "delete pods .*spark-role=executor ")" -lt "$(line kubectl "delete nodepools")" ]]
  # None is for ever.
  [[ "$(calls kubectl | grep "delete pods --all-namespaces" | grep -vc -- "--timeout=")" == 0 ]]
}

@test "jobs that don't end go with their nodes, and pods that can't be listed end it" {
  answer kubectl "get pods --all-namespaces" "driver"
  refuse kubectl "delete pods --all-namespaces" "timed out"
  run -0 destroy --yes
  [[ "$output" == *"warning: not every driver of Spark has ended"* ]]
  calls terraform | grep -q " apply "
  mkdir -p "$STATE/module"
  printf 'x' >"$STATE/terraform.tfstate"
  rm "$FAKES/terraform.calls"
  refuse kubectl "get pods --all-namespaces" "i/o timeout"
  run -1 destroy --yes
  [[ "$output" == *"the pods of Spark can't be listed: i/o timeout"* ]]
  never terraform " apply "
}

@test "a load balancer or a disk that stays ends it before the cluster goes" {
  answer kubectl "get service" "spark ui"
  refuse kubectl "delete service ui" "timed out"
  run -1 destroy --yes
  [[ "$output" == *"service spark/ui is not gone, and would leave a load balancer behind"* ]]
  answer kubectl "get service" ""
  answer kubectl "get persistentvolumeclaims" "spark"
  refuse kubectl "delete persistentvolumeclaims" "timed out"
  run -1 destroy --yes
  [[ "$output" == *"volumes of namespace spark are not gone"* ]]
  answer kubectl "delete persistentvolumeclaims" ""
  answer kubectl "get persistentvolumes" "pv-1 vol-1"
  run -1 destroy --yes
  [[ "$output" == *"disks of PersistentVolumes are not gone"* ]]
  never terraform " apply "
}

@test "disks that are to be retained are named and left" {
  answer kubectl 'get persistentvolumes -o jsonpath={range .items[?(@.spec.persistentVolumeReclaimPolicy=="Retain")]}' "pv-1 vol-1"
  answer kubectl "get persistentvolumeclaims" "spark"
  run -0 destroy --yes
  [[ "$output" == *"to be retained: pv-1 vol-1"* ]]
}

@test "a cluster that works and does not answer is kept, unless it may leave behind what it has made" {
  refuse kubectl "get --raw /version" "i/o timeout"
  run -1 destroy --yes
  [[ "$output" == *"does not answer"*"i/o timeout"*"from within its VPC"*"eks --region eu-central-1 --name kompass --access-from me"*"--without-cluster"* ]]
  nothing_changed
  [[ -e "$STATE/terraform.tfstate" ]]
  # Before it asks whether it may.
  run -1 destroy </dev/null
  [[ "$output" == *"--without-cluster"* ]]
  answer aws "eks describe-cluster --name kompass --query cluster.status" "UPDATING"
  run -1 destroy --yes
  nothing_changed
  run -0 destroy --yes --without-cluster
  [[ "$output" == *"warning: the API server of kompass does not answer (i/o timeout)"*"stay, and are looked for at the end"* ]]
  [[ ! -s "$FAKES/kompass.calls" ]]
  calls terraform | grep -q " apply "
}

@test "a cluster that is being made, is failed or is gone half-way keeps nothing from going" {
  local stage
  for stage in CREATING DELETING FAILED; do
    answer aws "eks describe-cluster --name kompass --query cluster.status" "$stage"
    refuse aws "eks update-kubeconfig" "Cluster status is $stage"
    refuse kubectl "get --raw /version" "no configuration"
    run -0 destroy --yes
    [[ "$output" == *"warning: the cluster kompass is $stage and can't be asked"* ]]
    never kubectl "get --raw"
    [[ ! -e "$STATE" ]]
    mkdir -p "$STATE/module"
    printf 'x' >"$STATE/terraform.tfstate"
  done
  refuse aws "eks describe-cluster" "ResourceNotFoundException"
  run -0 destroy --yes
  never aws update-kubeconfig
}

@test "images that aren't KOMPASS's go only when that was asked for" {
  answer aws "ecr describe-repositories" "kompass/kompass-cli	kompass/spark"
  answer aws "ecr list-images --repository-name kompass/spark --query" "3"
  run -1 destroy --yes
  [[ "$output" == *"kompass/spark holds 3 images that aren't KOMPASS's: add --delete-images"* ]]
  nothing_changed
  run -0 destroy --yes --delete-images
}

@test "images that can't be listed are no images that may go" {
  answer aws "ecr describe-repositories" "kompass/spark"
  refuse aws "ecr list-images --repository-name kompass/spark --query" "AccessDeniedException: ecr:ListImages"
  run -1 destroy --yes
  [[ "$output" == *"the images in kompass/spark can't be listed: AccessDeniedException: ecr:ListImages"* ]]
  nothing_changed
}

@test "an image that ECR goes on refusing ends it with ECR's reason, and one that goes later does not" {
  answer aws "ecr describe-repositories" "kompass/kompass-cli"
  answer aws "--output json ecr list-images" '[{"imageDigest": "sha256:1"}]'
  answer aws "ecr batch-delete-image" "None	Requested image referenced by manifest list: [sha256:2]"
  run -1 destroy --yes
  [[ "$output" == *"ECR does not delete the images in kompass/kompass-cli: Requested image referenced by manifest list: [sha256:2]"* ]]
  [[ "$(calls aws | grep -c "ecr batch-delete-image --repository-name kompass/kompass-cli --image-ids ")" == 3 ]]
  never terraform " apply "
  # It deletes it when it is asked again, and lists it no more a little later.
  rm "$FAKES"/{aws,sleep}.calls
  cat >"$FAKES/sleep" <<'TOOL'
#!/bin/bash
printf '%s\n' "$*" >>"$0.calls"
answers="${0%/*}/aws.answers"
case "$(grep -c . "$0.calls")" in
  1) printf 'ecr batch-delete-image\n0\nsha256:1\tNone\n' >"$answers/$(ls "$answers" | wc -l)" ;;
  2) printf '%s\n' '--output json ecr list-images' 0 '[]' >"$answers/$(ls "$answers" | wc -l)" ;;
  *) exit 1 ;;
esac
TOOL
  run -0 destroy --yes
  [[ "$(calls aws | grep -c "ecr batch-delete-image")" == 2 ]]
}

@test "KOMPASS is looked for in the namespace that it was installed in" {
  printf 'batch\n' >"$STATE/namespace"
  run -0 destroy --yes
  calls kompass | grep -q "^uninstall .*--namespace batch "
  calls terraform | grep -q " plan -destroy .*-var kompass_namespace=batch "
}

@test "a program that can't be built leaves KOMPASS to Helm, and the cluster goes" {
  rm "$FAKES/kompass"
  fake cargo
  refuse cargo build "error: linker cc not found"
  run -0 destroy --yes
  [[ "$output" == *"linker cc not found"*"warning: there is no program"* ]]
  calls helm | grep -q "uninstall kompass --namespace kompass --wait"
  calls terraform | grep -q " apply "
}

@test "what is left ends it with its names; keys that wait for their end don't" {
  answer aws "resourcegroupstaggingapi get-resources" "arn:aws:kms:eu-central-1:123456789012:key/1"
  answer aws "kms describe-key" "PendingDeletion"
  answer aws "ec2 describe-volumes" "vol-7"
  run -1 destroy --yes
  [[ "$output" == *"volume:vol-7"*"there is still what these lines tell"* ]]
  [[ "$(calls sleep | wc -l)" -ge 19 ]]
  answer aws "ec2 describe-volumes" "None"
  run -0 destroy --yes
  [[ "$output" == *"AWS deletes these keys when their time is over"*"key/1"* ]]
}

@test "what AWS does not tell is not taken for nothing" {
  refuse aws "resourcegroupstaggingapi get-resources" "Throttling: Rate exceeded"
  run -1 destroy --yes
  [[ "$output" == *"kompass.dev/cluster=kompass (Throttling: Rate exceeded)"*"all that the state had of kompass is destroyed, but"*"is not known, because AWS did not tell"* ]]
  # A right that lacks is not all of it.
  refuse aws "ec2 describe-volumes" "UnauthorizedOperation"
  run -1 destroy --yes
  [[ -e "$STATE" ]]
}

@test "a right that lacks for the last look is named, with what is done all the same" {
  refuse aws "resourcegroupstaggingapi get-resources" "AccessDeniedException: not authorized to perform: tag:GetResources"
  run -4 destroy --yes
  calls terraform | grep -q " apply "
  [[ "$output" == *"all that the state had of kompass is destroyed, but whether something is left could not be looked: you may not tag:GetResources. Ask for that, then run this again"* ]]
  refuse aws "ec2 describe-volumes" "UnauthorizedOperation"
  answer terraform "state list" ""
  refuse aws "eks describe-cluster" "ResourceNotFoundException"
  run -4 destroy --yes
  [[ "$output" == *"the state has nothing of kompass, but"*"you may not ec2:DescribeVolumes, tag:GetResources."* ]]
}

@test "a destroy that Terraform does not end says that it goes on" {
  refuse terraform apply "Error: DependencyViolation: vpc-1"
  run -1 destroy --yes
  [[ "$output" == *"DependencyViolation"*"run this again"* ]]
  [[ -e "$STATE/terraform.tfstate" ]]
}
