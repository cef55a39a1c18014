#!/usr/bin/env bats
# `setup-kompass.sh eks` against tools that answer what a test tells them. What the real Terraform and the real AWS CLI make
# of it is in `tests/deployment/tests/aws/script.rs`.

setup() {
  load helpers
  fake_aws
}

eks() { setup_kompass eks --region eu-central-1 "$@"; }

# hide TOOLS...: no tool of these names, neither a fake nor the machine's own.
hide() {
  export TOOLS="$BATS_TEST_TMPDIR/bin"
  mkdir "$TOOLS"
  ln -s /usr/bin/* "$TOOLS/"
  (cd "$TOOLS" && rm -f "$@")
  (cd "$FAKES" && rm -f "$@")
}

# of_another AUTOSCALER: a cluster that was made with that one, and whose plan takes its role away.
of_another() {
  local module="module.autoscaler_role[0].aws_iam_role.this"
  [[ "$1" != karpenter ]] || module="module.karpenter[0].aws_sqs_queue.interruption"
  answer terraform "state list" "module.cluster.aws_eks_cluster.this"
  answer aws "eks describe-cluster" "ACTIVE"
  tell terraform plan 2 "  # $module will be destroyed"
  answer helm "list --namespace kube-system --deployed --failed --pending --uninstalling --selector kompass.dev/created-by=setup --filter ^$1\$ --short" "$1"
}

@test "usage errors have their code and say what is known" {
  run -2 eks --autoscaler other
  [[ "$output" == *"--autoscaler is cluster-autoscaler, karpenter or none, not other"* ]]
  run -2 eks --name Kompass
  [[ "$output" == *"--name is 2 to 32 lower-case letters"*"not Kompass"* ]]
  run -0 eks --plan --name a23456789012345678901234567890ab
  run -2 eks --region ap-southeast-1 --name a23456789012345678901234567890ab
  [[ "$output" == *"--name has 30 characters at most in ap-southeast-1"* ]]
  run -2 eks --vars /no/such/file
  [[ "$output" == *"failed to read the inputs in /no/such/file"* ]]
  run -2 eks --backend-config /no/such/file
  [[ "$output" == *"failed to read the backend in /no/such/file"* ]]
  run -2 eks --set-var zone_count
  [[ "$output" == *"--set-var takes KEY=VALUE, not zone_count"* ]]
  run -2 eks --delete-images
  [[ "$output" == *"--delete-images is for --destroy"* ]]
  run -2 eks --without-cluster
  [[ "$output" == *"--without-cluster is for --destroy"* ]]
  run -2 eks --scope everything --yes
  [[ "$output" == *"--scope is labelled or all, not everything"* ]]
  run -2 eks --values /no/such/file --yes
  [[ "$output" == *"failed to read the values in /no/such/file"* ]]
  run -2 eks --regoin
  [[ "$output" == *"unknown option --regoin"*"eks --help"* ]]
  run -2 eks --jobs
  [[ "$output" == *"--jobs needs a value"* ]]
  nothing_changed
}

@test "without a region the error says how to name one, and a made-up one is refused" {
  refuse aws "configure get region" ""
  run -2 setup_kompass eks
  [[ "$output" == *"which region? Name one by --region"* ]]
  run -2 setup_kompass eks --region mars
  [[ "$output" == *"not mars"* ]]
  answer aws "ec2 describe-regions" "None"
  run -2 eks --plan
  [[ "$output" == *"there is no region eu-central-1"* ]]
}

@test "name and region may be in the file of inputs, and options go first" {
  printf 'name = "blue"\nregion   = "eu-west-1" # Dublin\n' >"$BATS_TEST_TMPDIR/my.tfvars"
  run -0 setup_kompass eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --plan
  [[ "$output" == *"region eu-west-1"*"EKS cluster blue"* ]]
  run -0 setup_kompass eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --name green --plan
  [[ "$output" == *"region eu-west-1"*"EKS cluster green"* ]]
  calls terraform | grep -q " plan -var-file=$BATS_TEST_TMPDIR/my.tfvars -var name=green -var region=eu-west-1 -var kompass_namespace=kompass "
  run -0 setup_kompass eks --set-var name=red --set-var region=us-west-2 --plan
  [[ "$output" == *"region us-west-2"*"EKS cluster red"* ]]
}

@test "a missing tool is named, with where to get it" {
  local tool
  for tool in terraform helm; do
    mv "$FAKES/$tool" "$FAKES/$tool.away"
    run -3 eks --plan
    [[ "$output" == *"$tool is missing: https://"* ]]
    mv "$FAKES/$tool.away" "$FAKES/$tool"
  done
}

@test "tools that are too old are refused, with what is needed" {
  answer terraform version "Terraform v1.5.7"
  run -3 eks --plan
  [[ "$output" == *"Terraform 1.5.7 is too old: 1.9 or newer"* ]]
  answer terraform version "Terraform v1.9.0"
  answer aws --version "aws-cli/2.4.1 Python/3.8"
  run -3 eks --plan
  [[ "$output" == *"the AWS CLI 2.4.1 is too old: 2.7 or newer"* ]]
  answer aws --version "aws-cli/1.46.3 Python/3.11.7"
  run -0 eks --plan
}

@test "the provider is the one that was tested, and where it can't be had, the error says what to do" {
  run -0 eks --plan
  cmp "$STATE/module/.terraform.lock.hcl" "$BATS_TEST_DIRNAME/../../../../../terraform/.terraform.lock.hcl"
  refuse terraform init "Error: Failed to query available provider packages"
  run -1 eks --plan
  [[ "$output" == *"Terraform was not prepared"*"/terraform init -upgrade -backend=false"* ]]
  nothing_changed
}

@test "nothing that builds images is an error before anything is made, unless they come from elsewhere" {
  hide docker buildah
  run -3 eks --yes
  [[ "$output" == *"nothing here builds images"*"--registry"* ]]
  nothing_changed
  run -0 eks --registry ghcr.io/ada --plan
  [[ "$output" == *"take KOMPASS's images from ghcr.io/ada"* ]]
}

@test "credentials: none, expired, refused, unreachable" {
  refuse aws "sts get-caller-identity" "Unable to locate credentials. You can configure credentials by running aws configure."
  run -4 eks --plan
  [[ "$output" == *"there are no AWS credentials: aws configure"* ]]
  refuse aws "sts get-caller-identity" "An error occurred (ExpiredToken) when calling the GetCallerIdentity operation"
  run -4 eks --plan
  [[ "$output" == *"have expired"*"aws sso login"* ]]
  refuse aws "sts get-caller-identity" "An error occurred (InvalidClientTokenId)"
  run -4 eks --plan
  [[ "$output" == *"AWS does not take the credentials"*"InvalidClientTokenId"* ]]
  refuse aws "sts get-caller-identity" "Could not connect to the endpoint URL"
  run -1 eks --plan
  [[ "$output" == *"AWS can't be reached"* ]]
}

@test "a region that is not enabled says how to enable it, and one that can't be looked up is a warning" {
  answer aws "ec2 describe-regions" "not-opted-in"
  run -4 eks --plan
  [[ "$output" == *"not enabled"*"enable-region --region-name eu-central-1"* ]]
  refuse aws "ec2 describe-regions" "UnauthorizedOperation"
  run -0 eks --plan
  [[ "$output" == *"warning: whether region eu-central-1 may be used is not known: UnauthorizedOperation"* ]]
}

@test "rights that are missing are all named, over all questions" {
  answer aws "iam simulate-principal-policy --policy-source-arn arn:aws:iam::123456789012:user/ada --action-names iam:" "iam:CreateRole	iam:PassRole"
  answer aws "iam simulate-principal-policy --policy-source-arn arn:aws:iam::123456789012:user/ada --action-names ec2:" "kms:CreateKey"
  # BSD's paste, which a Mac has, reads nothing unless it is told what.
  printf '%s\n' '#!/bin/bash' '[[ "${*: -1}" == - ]] || exit 1' 'exec /usr/bin/paste "$@"' >"$FAKES/paste"
  chmod +x "$FAKES/paste"
  run -4 eks --yes
  [[ "$output" == *"may not: iam:CreateRole, iam:PassRole, kms:CreateKey. Ask for these"* ]]
  nothing_changed
  calls aws | grep -q -- " iam:CreateRole .*--resource-arns arn:aws:iam::123456789012:role/kompass-eu-central-1-cluster "
  # Without it nobody knows at the end whether something is left.
  calls aws | grep -q -- " tag:GetResources .*--resource-arns \* "
  run -0 eks --skip-rights --plan
}

@test "rights to push images are asked for where images are pushed" {
  answer aws "iam simulate-principal-policy --policy-source-arn arn:aws:iam::123456789012:user/ada --action-names ecr:" \
    "ecr:UploadLayerPart	ecr:PutImage"
  run -4 eks --yes
  [[ "$output" == *"may not: ecr:UploadLayerPart, ecr:PutImage. Ask for these"* ]]
  nothing_changed
  local right
  for right in InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage; do
    calls aws | grep -q -- " ecr:$right .*--resource-arns arn:aws:ecr:eu-central-1:123456789012:repository/kompass/kompass-cli "
  done
  run -0 eks --registry ghcr.io/ada --plan
}

@test "where IAM can't be asked about rights that is a warning; roles are asked for by their ARN" {
  refuse aws "iam simulate-principal-policy" "AccessDenied: simulate"
  run -0 eks --plan
  [[ "$output" == *"warning: which rights you have is not known: AccessDenied: simulate"* ]]
  answer aws "sts get-caller-identity" "123456789012	arn:aws:sts::123456789012:assumed-role/ops/ada"
  answer aws "iam get-role --role-name ops" "arn:aws:iam::123456789012:role/teams/ops"
  answer aws "iam simulate-principal-policy" ""
  run -0 eks --plan
  calls aws | grep -q -- "--policy-source-arn arn:aws:iam::123456789012:role/teams/ops"
  answer aws "sts get-caller-identity" "123456789012	arn:aws:iam::123456789012:root"
  run -0 eks --plan
  [[ "$output" == *"root, who may do all"* ]]
}

@test "a cluster of that name that the state doesn't know is a clash; one that it knows is not" {
  answer aws "eks describe-cluster" "arn:aws:eks:eu-central-1:123456789012:cluster/kompass"
  run -6 eks --yes
  [[ "$output" == *"there is a cluster kompass in eu-central-1 already"*"another --name"*"./setup-kompass.sh cluster"*" import "* ]]
  nothing_changed
  answer terraform "state list" "module.cluster.aws_eks_cluster.this"
  run -0 eks --plan
}

@test "repositories of that name, and what is left of a cluster of that name, are a clash" {
  answer aws "ecr describe-repositories" "kompass/kompass-cli	kompass/spark"
  run -6 eks --yes
  [[ "$output" == *"repositories in ECR of that name already: kompass/kompass-cli kompass/spark. Choose"* ]]
  answer aws "ecr describe-repositories" ""
  answer aws "resourcegroupstaggingapi get-resources" "arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-1"
  run -6 eks --yes
  [[ "$output" == *"vpc/vpc-1"*"--backend-config"* ]]
  nothing_changed
}

@test "what may be left of a cluster of that name is a warning where AWS does not tell it" {
  refuse aws "resourcegroupstaggingapi get-resources" "AccessDeniedException: tag:GetResources"
  refuse aws "ec2 describe-volumes" "UnauthorizedOperation"
  run -0 eks --plan
  [[ "$output" == *"warning: whether something of an earlier cluster kompass is left in eu-central-1 is not known, since AWS did not tell what has the tag kompass.dev/cluster=kompass (AccessDeniedException: tag:GetResources); "*"; each volume (UnauthorizedOperation)"* ]]
}

@test "a key that waits for its end, and a NAT gateway that is gone, are no clash" {
  answer aws "resourcegroupstaggingapi get-resources" \
    "arn:aws:kms:eu-central-1:123456789012:key/1	arn:aws:ec2:eu-central-1:123456789012:natgateway/nat-1"
  answer aws "kms describe-key" "PendingDeletion"
  answer aws "ec2 describe-nat-gateways" "deleted"
  run -0 eks --plan
  answer aws "kms describe-key" "Enabled"
  run -6 eks --plan
}

@test "quotas that are too small say what is needed and how to ask for it" {
  answer aws "service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A" "5.0"
  answer aws "ec2 describe-instances" "m5.large	None	1	2
p3.2xlarge	None	4	2
t3.micro	spot	1	2"
  run -5 eks --yes
  [[ "$output" == *"the quota of vCPUs of on-demand nodes is 5, 2 are in use, and 4 more are needed"*"--quota-code L-1216C47A --desired-value 6"* ]]
  answer aws "service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A" "6.0"
  run -0 eks --plan
  [[ "$output" == *"warning: the quota of vCPUs of on-demand nodes is 6, less than the 1208 of all nodes"* ]]
  answer aws "service-quotas get-service-quota --service-code vpc --quota-code L-F678F1CE" "1.0"
  run -5 eks --yes
  [[ "$output" == *"the quota of VPCs is 1, 1 are in use, and 1 more are needed"* ]]
  answer aws "service-quotas get-service-quota --service-code vpc --quota-code L-F678F1CE" "5.0"
  answer aws "service-quotas get-service-quota --service-code ec2 --quota-code L-0263D0A3" "5.0"
  answer aws "ec2 describe-addresses" 5
  run -5 eks --yes
  [[ "$output" == *"the quota of Elastic IP addresses is 5, 5 are in use"* ]]
  nothing_changed
}

@test "an instance type that is not there ends it, one of other families is not looked at, and Graviton has images of its own" {
  refuse aws "ec2 describe-instance-types" "An error occurred (InvalidInstanceType): do not exist: [m6i.large]"
  run -5 eks --yes
  [[ "$output" == *"an instance type is not there in eu-central-1"*"[m6i.large]"* ]]
  nothing_changed
  refuse aws "ec2 describe-instance-types" "UnauthorizedOperation"
  run -0 eks --plan
  [[ "$output" == *"warning: how many vCPUs nodes have is not known"* ]]
  tell terraform plan 2 '  # aws_eks_node_group.system will be created
  + node_needs = "on-demand:m7g.large:2:4 spot:g5.xlarge:0:9"'
  answer aws "ec2 describe-instance-types" "g5.xlarge	4	x86_64
m7g.large	2	arm64"
  run -0 eks --yes
  [[ "$output" == *"warning: the quota of g5.xlarge was not looked at"* ]]
  calls docker | grep -q -- "--platform linux/arm64"
}

@test "a quota that is not known is a warning" {
  refuse aws "service-quotas" "AccessDeniedException"
  run -0 eks --plan
  [[ "$output" == *"warning: the quota of VPCs is not known: AccessDeniedException"* ]]
}

@test "what is made already is asked no quota for" {
  tell terraform plan 0 "No changes."
  answer terraform "output -no-color -raw price_per_hour" "0.56 to 119.27 USD"
  answer terraform "output -no-color -raw node_needs" "on-demand:m6i.large:2:4"
  answer aws "service-quotas get-service-quota" "0.0"
  run -0 eks --plan
  [[ "$output" == *"nothing to change"*"Price: 0.56 to 119.27 USD an hour"* ]]
}

@test "what an interrupted run has left half made is told to be made anew, and asked quotas for" {
  tell terraform plan 2 '  # module.cluster.aws_eks_cluster.this is tainted, so must be replaced
-/+ resource "aws_eks_cluster" "this" {
  # module.cluster.aws_eks_node_group.system must be replaced
  # module.spark_nodes[0].aws_launch_template.this["spot"] (deposed object 1f3a90bc) will be destroyed
  # (left over from a partially-failed replacement of this instance)
  # module.network.aws_eip.nat["eu-central-1a"] is tainted, so must be replaced
  + node_needs = "on-demand:m6i.large:2:4"'
  answer aws "service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A" "8.0"
  run -0 eks --plan
  [[ "$output" == *"1 replaced aws_eks_cluster"* && "$output" == *"1 replaced aws_eks_node_group"* ]]
  [[ "$output" == *"1 destroyed aws_launch_template"* && "$output" == *"1 replaced aws_eip"* ]]
  [[ "$output" == *"warning: the cluster itself is destroyed and made anew, with all that runs in it"* ]]
  [[ "$output" != *"the quota of"* ]]
  answer aws "service-quotas get-service-quota --service-code ec2 --quota-code L-1216C47A" "3.0"
  run -5 eks --plan
  [[ "$output" == *"the quota of vCPUs of on-demand nodes is 3"* ]]
  nothing_changed
}

@test "a plan tells what would be made, its price and its rights, and makes nothing" {
  run -0 eks --plan --autoscaler karpenter
  [[ "$output" == *"1 created aws_eks_cluster"* ]]
  [[ "$output" == *"2 created aws_vpc_endpoint"* ]]
  [[ "$output" == *"1 replaced aws_ecr_repository"* ]]
  [[ "$output" != *aws_region* ]]
  [[ "$output" == *"Price: 0.56 to 119.27 USD an hour"* ]]
  [[ "$output" == *"rights to make, tag and delete were asked for; you have them"* ]]
  [[ "$output" == *"autoscaler (karpenter)"* ]]
  [[ "$output" == *"--access-from me"* ]]
  [[ "$output" == *"Undo: ./setup-kompass.sh eks --region eu-central-1 --name kompass --destroy"* ]]
  nothing_changed
}

@test "without a terminal and without --yes nothing is changed" {
  run -2 eks </dev/null
  [[ "$output" == *"add --yes"* ]]
  nothing_changed
}

@test "the whole way: what was planned is applied, images, autoscaler, namespaces, KOMPASS" {
  run -0 eks --access-from 203.0.113.7/32,198.51.100.0/24 --jobs a,b --mode shadow --set predictor.replicas=2 --yes
  calls terraform | grep -q -- '-var public_access_cidrs=\["203.0.113.7/32","198.51.100.0/24"\] '
  calls terraform | grep -qx -- "-chdir=$STATE/module apply -input=false -no-color -lock-timeout=30s $STATE/plan"
  calls aws | grep -q -- "eks update-kubeconfig --region eu-central-1 --name kompass --alias kompass --kubeconfig $STATE/kubeconfig"
  [[ "$(calls docker | grep -c -- "^buildx build --platform linux/amd64 --target .* --push ")" == 4 ]]
  calls docker | grep -q -- "--tag 123456789012.dkr.ecr.eu-central-1.amazonaws.com/kompass/kompass-predictor:0.1.0 "
  calls helm | grep -q -- "--kubeconfig $STATE/kubeconfig upgrade --install cluster-autoscaler cluster-autoscaler --repo https://kubernetes.github.io/autoscaler --namespace kube-system --values $STATE/autoscaler.yaml --version 9.59.0 --labels kompass.dev/created-by=setup --wait"
  calls helm | grep -q -- "--kubeconfig $STATE/kubeconfig upgrade --install kompass .* --set namespaces={a,b} --values $STATE/values.yaml --set predictor.replicas=2"
  calls helm | grep -q -- "test kompass"
  [[ "$output" == *"export KUBECONFIG=$STATE/kubeconfig"* ]]
  [[ "$(<"$STATE/inputs")" == 'public_access_cidrs=["203.0.113.7/32","198.51.100.0/24"]' ]]
}

@test "a second run takes the inputs of the first, pushes nothing that is there, and makes namespaces that lack" {
  printf 'zone_count = 2\n' >"$BATS_TEST_TMPDIR/my.tfvars"
  run -0 eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --autoscaler karpenter --yes
  rm "$FAKES"/*.calls
  answer aws "ecr describe-images" "{}"
  tell terraform plan 0 "No changes."
  answer terraform "output -no-color -raw autoscaler_helm_values" "settings: {interruptionQueue: q}"
  refuse kubectl "get namespace a" "not found"
  # The made-up namespace is not there after it was made either, which the install then says.
  run -1 eks --jobs a --yes
  [[ "$output" == *"there is no namespace a"* ]]
  calls terraform | grep -q " plan -var-file=$STATE/inputs.tfvars -var autoscaler=karpenter "
  calls kubectl | grep -q "create namespace a"
  never terraform " apply "
  never docker build
  calls helm | grep -q "upgrade --install karpenter oci://public.ecr.aws/karpenter/karpenter "
  calls kubectl | grep -q "apply --filename $STATE/nodes.yaml"
  calls helm | grep -q "upgrade --install karpenter .* --version 1.14.1 "
}

@test "the NodePool of Terraform follows the inputs at each run, and somebody's own stays as it is" {
  answer terraform "output -no-color -raw autoscaler_helm_values" "settings: {interruptionQueue: q}"
  answer kubectl "get nodepools.karpenter.sh" $'mine \nspark terraform'
  run -0 eks --yes
  calls kubectl | grep -q "apply --filename $STATE/nodes.yaml"
  # That of the same name, too, once it has no label.
  answer kubectl "get nodepools.karpenter.sh" $'mine terraform\nspark '
  rm "$FAKES/kubectl.calls"
  run -0 eks --yes
  [[ "$output" == *"warning: the NodePools of the cluster are not this script's, so that spark_nodes does not reach them: mine spark"* ]]
  never kubectl " apply "
  # What can't be listed is not taken for none.
  refuse kubectl "get nodepools.karpenter.sh" "i/o timeout"
  run -1 eks --yes
  [[ "$output" == *"Karpenter's NodePools can't be listed: i/o timeout"* ]]
  never kubectl " apply "
}

@test "Karpenter's role stays until Karpenter is out of the cluster, and how it gets out is told before anything is changed" {
  local other
  of_another karpenter
  answer kubectl "get customresourcedefinitions nodepools.karpenter.sh" "customresourcedefinition.apiextensions.k8s.io/nodepools.karpenter.sh
customresourcedefinition.apiextensions.k8s.io/nodeclaims.karpenter.sh"
  answer kubectl "get nodepools.karpenter.sh" "nodepool.karpenter.sh/spark"
  answer kubectl "get nodeclaims.karpenter.sh" "nodeclaim.karpenter.sh/spark-1
nodeclaim.karpenter.sh/spark-2"
  answer helm "list --namespace kube-system --deployed --failed --pending --uninstalling --filter ^karpenter\$ --short" "karpenter"
  for other in cluster-autoscaler none; do
    run -1 eks --autoscaler "$other" --yes
    [[ "$output" == *"Karpenter is in the cluster still: karpenter, 1 nodepools, 2 nodeclaims. "* ]]
    [[ "$output" == *"export KUBECONFIG=$STATE/kubeconfig"*"kubectl delete nodepools.karpenter.sh --all"*"kubectl delete nodeclaims.karpenter.sh --all"* ]]
    [[ "$output" == *"kubectl delete ec2nodeclasses.karpenter.k8s.aws --all"*"helm uninstall karpenter --namespace kube-system --wait"* ]]
    nothing_changed
  done
  # Nodes without the release are nobody's to end, either.
  answer helm "list --namespace kube-system --deployed --failed --pending --uninstalling --filter ^karpenter\$ --short" ""
  answer kubectl "get nodepools.karpenter.sh" ""
  run -1 eks --autoscaler none --yes
  [[ "$output" == *"still: 2 nodeclaims. "* ]]
  refuse kubectl "get nodeclaims.karpenter.sh" "i/o timeout"
  run -1 eks --autoscaler none --yes
  [[ "$output" == *"Karpenter's nodeclaims can't be listed: i/o timeout"* ]]
  nothing_changed
  answer kubectl "get nodeclaims.karpenter.sh" ""
  run -0 eks --autoscaler none --plan
  # A plan that leaves Karpenter its role asks nothing of it.
  answer kubectl "get nodeclaims.karpenter.sh" "nodeclaim.karpenter.sh/spark-1"
  tell terraform plan 2 "  # module.cluster.aws_eks_cluster.this will be updated in-place"
  run -0 eks --plan
}

@test "Karpenter's role stays where nobody can tell whether Karpenter is out of the cluster" {
  of_another karpenter
  refuse kubectl "get --raw /version" "i/o timeout"
  run -1 eks --autoscaler none --yes
  [[ "$output" == *"the API server of kompass does not answer: i/o timeout"*"--autoscaler karpenter --access-from me"* ]]
  refuse aws "eks describe-cluster" "AccessDenied"
  run -1 eks --autoscaler none --yes
  [[ "$output" == *"whether the cluster kompass is there is not known: AccessDenied"* ]]
  nothing_changed
  # In one that was never ready there is nothing.
  answer aws "eks describe-cluster" "CREATING"
  run -0 eks --autoscaler none --plan
  # And another change does not need to know.
  answer aws "eks describe-cluster" "ACTIVE"
  tell terraform plan 2 "  # module.cluster.aws_eks_cluster.this will be updated in-place"
  run -0 eks --plan
}

@test "cluster-autoscaler is uninstalled once another is in its place, or none is" {
  of_another cluster-autoscaler
  answer terraform "output -no-color -raw autoscaler_helm_values" "settings: {interruptionQueue: q}"
  run -0 eks --autoscaler karpenter --yes
  [[ "$output" == *"install the autoscaler (karpenter), uninstall cluster-autoscaler, and KOMPASS"* ]]
  calls helm | grep -A 9 "upgrade --install karpenter" | grep -q "uninstall cluster-autoscaler --namespace kube-system --wait"
  rm "$FAKES/helm.calls"
  answer terraform "output -no-color -raw autoscaler_helm_values" ""
  run -0 eks --autoscaler none --yes
  calls helm | grep -q "uninstall cluster-autoscaler"
  never helm "upgrade --install cluster-autoscaler"
  # Somebody's own, which has not the label, stays.
  answer helm "list --namespace kube-system" ""
  rm "$FAKES/helm.calls"
  run -0 eks --autoscaler none --yes
  [[ "$output" == *"install the autoscaler (none), and KOMPASS"* ]]
  never helm "uninstall cluster-autoscaler"
  # As does the one that is asked for.
  of_another cluster-autoscaler
  answer terraform "output -no-color -raw autoscaler_helm_values" "autoDiscovery: {}"
  run -0 eks --autoscaler cluster-autoscaler --yes
  never helm "uninstall cluster-autoscaler"
}

@test "cluster-autoscaler with buffers is not installed where it would wait for their definition for ever" {
  answer terraform "output -no-color -raw autoscaler_helm_values" '"extraArgs":
  "capacity-buffer-controller-enabled": true'
  run -1 eks --yes
  [[ "$output" == *"no definition of them, without which it never starts"*"kubectl --kubeconfig $STATE/kubeconfig apply --filename https://raw.githubusercontent.com/kubernetes/autoscaler/cluster-autoscaler-1.35.0/cluster-autoscaler/apis/config/crd/autoscaling.x-k8s.io_capacitybuffers.yaml"* ]]
  never helm "upgrade --install"
  refuse kubectl "get customresourcedefinitions capacitybuffers.autoscaling.x-k8s.io" "i/o timeout"
  run -1 eks --yes
  [[ "$output" == *"whether the cluster has the definition capacitybuffers.autoscaling.x-k8s.io is not known: i/o timeout"* ]]
  never helm "upgrade --install"
  answer kubectl "get customresourcedefinitions capacitybuffers.autoscaling.x-k8s.io" "customresourcedefinition.apiextensions.k8s.io/capacitybuffers.autoscaling.x-k8s.io"
  run -0 eks --yes
  calls helm | grep -q "upgrade --install cluster-autoscaler "
}

@test "access and autoscaler alone are added to the inputs of the last run, in the place of older ones" {
  printf 'zone_count = 2\n' >"$BATS_TEST_TMPDIR/my.tfvars"
  run -0 eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --set-var flow_logs=false --access-from 203.0.113.7/32 --yes
  rm "$FAKES/terraform.calls"
  run -0 eks --access-from 198.51.100.0/24 --yes
  [[ "$output" == *"reached from the VPC and 198.51.100.0/24."* ]]
  calls terraform | grep -qF " plan -var-file=$STATE/inputs.tfvars -var flow_logs=false -var public_access_cidrs=[\"198.51.100.0/24\"] -var name="
  rm "$FAKES/terraform.calls"
  run -0 eks --autoscaler none --yes
  [[ "$output" == *"autoscaler (none)"*"reached from the VPC and the networks of your inputs."* ]]
  calls terraform | grep -qF " plan -var-file=$STATE/inputs.tfvars -var flow_logs=false -var public_access_cidrs=[\"198.51.100.0/24\"] -var autoscaler=none -var name="
  [[ "$(<"$STATE/inputs")" == 'flow_logs=false
public_access_cidrs=["198.51.100.0/24"]
autoscaler=none' ]]
  [[ "$(<"$STATE/inputs.tfvars")" == 'zone_count = 2' ]]
  # What is given now takes the place of all of it.
  run -0 eks --set-var zone_count=3 --yes
  [[ "$output" == *"reached from within its VPC alone."* ]]
  [[ "$(<"$STATE/inputs")" == 'zone_count=3' && ! -e "$STATE/inputs.tfvars" ]]
}

@test "the namespace goes to Terraform and Helm alike, by the option, by an input, and at later runs" {
  run -0 eks --namespace batch --yes
  rm "$FAKES"/*.calls
  run -0 eks --yes
  [[ "$output" == *"KOMPASS in namespace batch;"* ]]
  calls terraform | grep -q " plan .*-var kompass_namespace=batch "
  calls helm | grep -q "upgrade --install kompass .* --namespace batch "
  # An input that is given now goes before what is kept, and the option before the input.
  rm "$FAKES"/*.calls
  run -0 eks --set-var kompass_namespace=night --yes
  calls terraform | grep -q " plan .*-var kompass_namespace=night -input=false"
  never terraform kompass_namespace=batch
  calls helm | grep -q "upgrade --install kompass .* --namespace night "
  rm "$FAKES"/*.calls
  printf 'kompass_namespace = "day"\n' >"$BATS_TEST_TMPDIR/my.tfvars"
  run -0 eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --yes
  calls helm | grep -q "upgrade --install kompass .* --namespace day "
  rm "$FAKES"/*.calls
  run -0 eks --vars "$BATS_TEST_TMPDIR/my.tfvars" --namespace batch --yes
  calls helm | grep -q "upgrade --install kompass .* --namespace batch "
  # The inputs that are kept say `day` still.
  rm "$FAKES"/*.calls
  run -0 eks --access-from 203.0.113.7/32 --yes
  calls terraform | grep -q " plan .*-var kompass_namespace=batch -input=false"
  calls helm | grep -q "upgrade --install kompass .* --namespace batch "
}

@test "without Docker buildah builds and pushes, with a password that is gone afterwards" {
  local registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com image file="$STATE/registry.json"
  hide docker
  fake buildah
  # It keeps the password that it reads in the file that it is told, and pushes with that.
  sed -i '1a [[ "$1" != login ]] || cat >"$3"\n[[ "$1" != push ]] || cat "$3" >>"$0.passwords"' "$FAKES/buildah"
  answer aws "ecr get-login-password" "s3cret"
  run -0 eks --yes
  calls buildah | grep -qx -- "login --authfile $file --username AWS --password-stdin $registry"
  for image in scheduler-extender admission-webhook predictor cli; do
    calls buildah | grep -A 1 -- "^build --platform linux/amd64 --target $image --build-arg VERSION=0.1.0 --layers --file .*/docker/kompass/Dockerfile --tag $registry/kompass/kompass-$image:0.1.0 /" |
      grep -qx -- "push --authfile $file $registry/kompass/kompass-$image:0.1.0"
  done
  [[ "$(calls buildah | grep -c "^push ")" == 4 && "$(sort -u "$FAKES/buildah.passwords")" == s3cret ]]
  never buildah s3cret
  [[ ! -e "$file" ]]
  calls helm | grep -q "upgrade --install kompass "
}

@test "a build, a push or a login of buildah that fails ends it before KOMPASS is installed" {
  hide docker
  fake buildah
  sed -i '1a [[ "$1" != login ]] || cat >"$3"' "$FAKES/buildah"
  refuse buildah push "no basic auth credentials"
  run -1 eks --yes
  [[ "$output" == *"no basic auth credentials"*"the image kompass-scheduler-extender was not built and pushed"* ]]
  [[ "$(calls buildah | grep -c "^push ")" == 1 && ! -e "$STATE/registry.json" ]]
  refuse buildah build "no space left"
  run -1 eks --yes
  [[ "$output" == *"no space left"*"the image kompass-scheduler-extender was not built and pushed"* ]]
  [[ ! -e "$STATE/registry.json" ]]
  refuse buildah login "unauthorized"
  run -1 eks --yes
  [[ "$output" == *"ECR does not let buildah in: unauthorized"* ]]
  never helm "upgrade --install"
}

@test "images from elsewhere are not built, and a chart of the autoscaler may be a folder" {
  run -0 eks --registry ghcr.io/ada/ --autoscaler-chart ./chart --yes
  never docker build
  calls helm | grep -q "upgrade --install kompass .* --set image.registry=ghcr.io/ada "
  calls helm | grep -q "upgrade --install cluster-autoscaler ./chart --namespace"
  # It has the version that it has.
  never helm "upgrade --install cluster-autoscaler .* --version"
  run -0 eks --registry ghcr.io/ada/ --autoscaler-version 9.52.1 --yes
  calls helm | grep -q "upgrade --install cluster-autoscaler cluster-autoscaler --repo .* --version 9.52.1 "
}

@test "an apply that fails has the code of what AWS says" {
  local -A codes=(["Error: AccessDenied: no"]=4 ["Error: VcpuLimitExceeded"]=5 ["Error: EntityAlreadyExists: role"]=6 ["Error: boom"]=1)
  local words
  for words in "${!codes[@]}"; do
    refuse terraform apply "$words"
    run -"${codes[$words]}" eks --yes
    [[ "$output" == *"$words"*"run this again"* ]]
    never helm upgrade
  done
}

@test "a state that another run has locked says who may unlock it" {
  refuse terraform plan "Error: Error acquiring the state lock

│ Lock Info:
│   ID:        6f1c-22
│   Who:       ada@laptop"
  run -8 eks --yes
  [[ "$output" == *"Who:       ada@laptop"*"module force-unlock 6f1c-22"* ]]
}

@test "a backend is told to Terraform and remembered; one that changed says how to move the state" {
  printf 'bucket = "states"\n' >"$BATS_TEST_TMPDIR/s3.hcl"
  run -0 eks --backend-config "$BATS_TEST_TMPDIR/s3.hcl" --plan
  calls terraform | grep -q " init -input=false -no-color -backend-config=$STATE/backend.hcl"
  grep -q 'backend "s3"' "$STATE/module/backend.tf"
  refuse terraform init "Error: Backend configuration changed"
  run -1 eks --plan
  [[ "$output" == *"init -migrate-state"* ]]
}

@test "two runs at once: the second one stops" {
  export XDG_STATE_HOME="$BATS_TEST_TMPDIR/state"
  mkdir -p "$XDG_STATE_HOME/kompass/setup"
  exec 9>"$XDG_STATE_HOME/kompass/setup/eks_123456789012_eu-central-1_kompass.lock"
  flock 9
  run -8 eks --yes
  [[ "$output" == *"another run"* ]]
  nothing_changed
}

@test "an API server and nodes that don't come say what to look at" {
  refuse kubectl "get --raw /readyz" "i/o timeout"
  run -1 eks --yes
  [[ "$output" == *"the API server of kompass does not answer: i/o timeout. It is reached from within its VPC alone"* ]]
  answer kubectl "get --raw /readyz" ok
  refuse kubectl "wait --for=condition=Ready nodes" "no matching resources found"
  run -1 eks --yes
  [[ "$output" == *"no node of the group system is ready"*"describe-nodegroup"* ]]
}

@test "an image or an autoscaler that does not come says what to do" {
  refuse docker "buildx build" "no space left"
  run -1 eks --yes
  [[ "$output" == *"the image kompass-scheduler-extender was not built"* ]]
  answer docker "buildx build" ""
  refuse helm "upgrade --install cluster-autoscaler" "no route to host"
  run -1 eks --yes
  [[ "$output" == *"no route to host"*"--autoscaler-chart PATH"* ]]
}
