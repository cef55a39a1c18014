# shellcheck shell=bash
# What can be known to go wrong in an AWS account, before anything is made.

# Rights that IAM is asked for: those that are easily missing, of the many that Terraform uses.
readonly IAM_RIGHTS=(iam:CreateRole iam:DeleteRole iam:GetRole iam:TagRole iam:PassRole iam:PutRolePolicy iam:AttachRolePolicy)
readonly EKS_RIGHTS=(eks:CreateCluster eks:DeleteCluster eks:DescribeCluster eks:TagResource eks:CreateNodegroup eks:CreateAddon
  eks:CreateAccessEntry eks:CreatePodIdentityAssociation)
readonly OTHER_RIGHTS=(ec2:CreateVpc ec2:DeleteVpc ec2:CreateSubnet ec2:CreateInternetGateway ec2:AllocateAddress
  ec2:CreateNatGateway ec2:CreateRouteTable ec2:CreateVpcEndpoint ec2:CreateSecurityGroup ec2:AuthorizeSecurityGroupIngress
  ec2:CreateLaunchTemplate ec2:CreateTags ec2:RunInstances ec2:CreateFlowLogs autoscaling:CreateAutoScalingGroup
  autoscaling:UpdateAutoScalingGroup autoscaling:DeleteAutoScalingGroup autoscaling:CreateOrUpdateTags kms:CreateKey
  kms:CreateAlias kms:ScheduleKeyDeletion logs:CreateLogGroup logs:PutRetentionPolicy ecr:CreateRepository
  ecr:GetAuthorizationToken ssm:GetParameter tag:GetResources)
# Only where images are pushed.
readonly PUSH_RIGHTS=(ecr:BatchCheckLayerAvailability ecr:InitiateLayerUpload ecr:UploadLayerPart ecr:CompleteLayerUpload
  ecr:PutImage)

# aws_ ARGUMENTS...: the AWS CLI in the region, with plain text. What goes wrong is in $ERRORS.
aws_() {
  aws_in "$REGION" "$@"
}

# aws_in REGION ARGUMENTS...
aws_in() {
  local region="$1"
  shift
  aws --region "$region" --output text "$@" 2>"$ERRORS"
}

# errors: what the last tool complained of, in one line.
errors() {
  tr -s '\n ' ' ' <"$ERRORS" | sed 's/^ //; s/ $//'
}

warn() {
  printf 'warning: %s\n' "$1" >&2
}

eks_tools() {
  need terraform "https://developer.hashicorp.com/terraform/install"
  need aws "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
  need kubectl "https://kubernetes.io/docs/tasks/tools"
  need helm "https://helm.sh/docs/intro/install"
  helm_is_new
  local wanted have
  wanted="$(sed -nE 's/.*required_version *= *">= *([0-9.]+)".*/\1/p' "$ROOT/terraform/versions.tf")"
  have="$(terraform version | sed -nE '1s/^Terraform v([0-9.]+).*/\1/p')"
  at_least "${have:-0.0}" "$wanted" ||
    fail "Terraform ${have:-of an unknown version} is too old: $wanted or newer is needed (https://developer.hashicorp.com/terraform/install)" "$NO_TOOL"
  # Older ones write kubeconfigs that no kubectl of today reads.
  have="$(aws --version 2>&1 | sed -nE 's/^aws-cli\/([0-9.]+).*/\1/p')"
  wanted=1.25
  [[ "$have" != 2.* ]] || wanted=2.7
  at_least "${have:-0.0}" "$wanted" ||
    fail "the AWS CLI ${have:-of an unknown version} is too old: 2.7 or newer is needed (https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html)" "$NO_TOOL"
}

# Who asks, in which account.
eks_account() {
  local told
  if ! told="$(aws_ sts get-caller-identity --query '[Account,Arn]')"; then
    case "$(errors)" in
      *xpired*) fail "the AWS credentials have expired: get new ones (aws sso login), then run this again. AWS says: $(errors)" "$NO_PERMISSION" ;;
      *ocate\ credentials* | *partial\ credentials*) fail "there are no AWS credentials: aws configure, or AWS_PROFILE of one that has them" "$NO_PERMISSION" ;;
      *onnect*) fail "AWS can't be reached: $(errors)" ;;
      *) fail "AWS does not take the credentials: $(errors)" "$NO_PERMISSION" ;;
    esac
  fi
  read -r ACCOUNT CALLER <<<"$told"
}

eks_region() {
  local told home=us-east-1
  case "$REGION" in
    cn-*) home=cn-north-1 ;;
    us-gov-*) home=us-gov-west-1 ;;
  esac
  told="$(aws_in "$home" ec2 describe-regions --all-regions --region-names "$REGION" --query 'Regions[].OptInStatus')" || {
    case "$(errors)" in
      *nvalidParameterValue* | *nvalid\ region*) told=None ;;
      *)
        warn "whether region $REGION may be used is not known: $(errors)"
        return
        ;;
    esac
  }
  case "$told" in
    opt-in-not-required | opted-in) ;;
    not-opted-in) fail "region $REGION is not enabled in account $ACCOUNT: aws account enable-region --region-name $REGION" "$NO_PERMISSION" ;;
    *) fail "there is no region $REGION: aws account list-regions names them" "$USAGE" ;;
  esac
}

# Denied rights end it. Where IAM can't be asked, that is a warning.
eks_rights() {
  local partition="${CALLER#arn:}" who="$CALLER" role denied asked
  partition="${partition%%:*}"
  RIGHTS_TOLD="those of Terraform on EC2, EKS, IAM, KMS, ECR, logs and Auto Scaling; not asked for beforehand"
  "$SKIP_RIGHTS" && return
  case "$CALLER" in
    *:root)
      RIGHTS_TOLD="you are the account's root, who may do all"
      return
      ;;
    *:assumed-role/*)
      role="${CALLER#*:assumed-role/}"
      who="$(aws_ iam get-role --role-name "${role%%/*}" --query Role.Arn)" || {
        warn "which rights you have is not known: $(errors)"
        return
      }
      ;;
    *:user/*) ;;
    *)
      warn "which rights $CALLER has can't be asked for"
      return
      ;;
  esac
  asked=$((${#IAM_RIGHTS[@]} + ${#EKS_RIGHTS[@]} + ${#OTHER_RIGHTS[@]}))
  [[ -n "$REGISTRY" ]] || asked=$((asked + ${#PUSH_RIGHTS[@]}))
  denied="$(denied_rights "arn:$partition:iam::$ACCOUNT:role/$NAME-$REGION-cluster" "${IAM_RIGHTS[@]}" &&
    denied_rights "arn:$partition:eks:$REGION:$ACCOUNT:cluster/$NAME" "${EKS_RIGHTS[@]}" &&
    denied_rights '*' "${OTHER_RIGHTS[@]}" &&
    { [[ -n "$REGISTRY" ]] ||
      denied_rights "arn:$partition:ecr:$REGION:$ACCOUNT:repository/$NAME/kompass-cli" "${PUSH_RIGHTS[@]}"; })" || {
    warn "which rights you have is not known: $(errors)"
    return
  }
  denied="$(tr -s '\t\n ' '\n' <<<"$denied" | grep -v -e '^None$' -e '^$' | paste -sd ' ' - | sed 's/ /, /g')" || true
  [[ -z "$denied" ]] ||
    fail "$who may not: $denied. Ask for these (docs/operations/aws.md has all); --skip-rights goes on where IAM misjudges a condition" "$NO_PERMISSION"
  RIGHTS_TOLD="$asked rights to make, tag and delete were asked for; you have them"
}

# denied_rights RESOURCE ACTIONS...
denied_rights() {
  local resource="$1"
  shift
  aws_ iam simulate-principal-policy --policy-source-arn "$who" --action-names "$@" --resource-arns "$resource" \
    --context-entries "ContextKeyName=aws:RequestedRegion,ContextKeyValues=$REGION,ContextKeyType=string" \
    "ContextKeyName=iam:PassedToService,ContextKeyValues=eks.amazonaws.com,ContextKeyType=string" \
    "ContextKeyName=aws:RequestTag/kompass.dev/cluster,ContextKeyValues=$NAME,ContextKeyType=string" \
    --query "EvaluationResults[?EvalDecision!='allowed'].EvalActionName"
}

# Something of that name that Terraform's state doesn't know.
eks_clash() {
  local state there unknown
  state="$(terraform_ state list 2>/dev/null)" || state=''
  if [[ "$state" != *aws_eks_cluster.* ]]; then
    there="$(aws_ eks describe-cluster --name "$NAME" --query cluster.arn)" || there=''
    [[ -z "$there" ]] ||
      fail "there is a cluster $NAME in $REGION already that this state ($FOLDER) doesn't know: choose another --name, or install into it (./setup-kompass.sh cluster). If an apply of yours was killed, take it up: terraform -chdir=$FOLDER/module import -var name=$NAME -var region=$REGION module.cluster.aws_eks_cluster.this $NAME" "$NAME_CLASH"
  fi
  [[ -z "$state" ]] || return 0
  there="$(aws_ ecr describe-repositories --query "repositories[?starts_with(repositoryName, '$NAME/')].repositoryName" | tr -s '\t\n' ' ')" || there=''
  [[ -z "${there// /}" || "$there" == None* ]] ||
    fail "there are repositories in ECR of that name already: ${there% }. Choose another --name, or delete them" "$NAME_CLASH"
  # Left by a cluster of that name whose state is elsewhere or lost.
  remains
  if ((${#UNKNOWN[@]} > 0)); then
    unknown="$(printf '; %s' "${UNKNOWN[@]}")"
    warn "whether something of an earlier cluster $NAME is left in $REGION is not known, since AWS did not tell ${unknown#; }"
  fi
  ((${#REMAINS[@]} == 0)) ||
    fail "there is something of a cluster $NAME in $REGION already that this state ($FOLDER) doesn't know: ${REMAINS[*]:0:5}. If its state is elsewhere, name it by --backend-config; else choose another --name" "$NAME_CLASH"
}

# What the plan makes, against what the account may have.
eks_quotas() {
  local needs need kind type least most told types=() cpus architecture
  local -A needed=([on-demand]=0 [spot]=0) allowed=([on-demand]=0 [spot]=0) cpus_of=()
  BUILD_PLATFORM=''
  needs="$(of_plan node_needs)"
  [[ "$needs" == *:* ]] || needs=''
  for need in $needs; do
    IFS=: read -r kind type least most <<<"$need"
    [[ " ${types[*]} " == *" $type "* ]] || types+=("$type")
  done
  told=''
  ((${#types[@]} == 0)) || told="$(aws_ ec2 describe-instance-types --instance-types "${types[@]}" \
    --query 'InstanceTypes[].[InstanceType,VCpuInfo.DefaultVCpus,ProcessorInfo.SupportedArchitectures[0]]')" || {
    case "$(errors)" in
      *InvalidInstanceType*) fail "an instance type is not there in $REGION: $(errors). Choose another by --set-var or --vars" "$NO_QUOTA" ;;
    esac
    warn "how many vCPUs nodes have is not known, so their quotas were not looked at: $(errors)"
    told=''
  }
  while read -r type cpus architecture; do
    [[ ! "$cpus" =~ ^[0-9]+$ ]] || cpus_of[$type]="$cpus"
    # The first are the system's, which run KOMPASS.
    [[ "$type" != "${types[0]:-}" ]] || BUILD_PLATFORM="$(platform_of "$architecture")"
  done <<<"$told"
  for need in $needs; do
    IFS=: read -r kind type least most <<<"$need"
    [[ -n "${cpus_of[$type]:-}" ]] || continue
    if ! standard "$type"; then
      warn "the quota of $type was not looked at"
      continue
    fi
    needed[$kind]=$((needed[$kind] + least * cpus_of[$type]))
    allowed[$kind]=$((allowed[$kind] + most * cpus_of[$type]))
  done
  # A replacement is made before what it replaces goes.
  if (($(planned created aws_eks_node_group) + $(planned replaced aws_eks_node_group) > 0)); then
    local used
    used="$(used_cpus normal)" && quota "vCPUs of on-demand nodes" ec2 L-1216C47A "${needed[on-demand]}" "$used" "${allowed[on-demand]}"
    used="$(used_cpus spot)" && quota "vCPUs of Spot nodes" ec2 L-34B43A08 "${needed[spot]}" "$used" "${allowed[spot]}"
  fi
  quota_of_things VPCs vpc L-F678F1CE aws_vpc describe-vpcs 'length(Vpcs)'
  quota_of_things "Elastic IP addresses" ec2 L-0263D0A3 aws_eip describe-addresses 'length(Addresses)'
}

# quota_of_things WHAT SERVICE CODE RESOURCE COMMAND COUNT
quota_of_things() {
  local made used
  made="$(planned created "$4")"
  ((made > 0)) || return 0
  used="$(aws_ ec2 "$5" --query "$6")" || used=0
  quota "$1" "$2" "$3" "$made" "${used:-0}" 0
}

# quota WHAT SERVICE CODE NEEDED USED MOST
quota() {
  local have
  have="$(aws_ service-quotas get-service-quota --service-code "$2" --quota-code "$3" --query Quota.Value)" ||
    have="$(aws_ service-quotas get-aws-default-service-quota --service-code "$2" --quota-code "$3" --query Quota.Value)" || {
    warn "the quota of $1 is not known: $(errors)"
    return 0
  }
  have="${have%.*}"
  [[ "$have" =~ ^[0-9]+$ ]] || {
    warn "the quota of $1 is not known"
    return 0
  }
  (($5 + $4 <= have)) ||
    fail "the quota of $1 is $have, $5 are in use, and $4 more are needed: ask for more (aws service-quotas request-service-quota-increase --region $REGION --service-code $2 --quota-code $3 --desired-value $(($5 + $4)))" "$NO_QUOTA"
  (($6 <= have)) ||
    warn "the quota of $1 is $have, less than the $6 of all nodes that the groups allow: a gang that needs more will wait for ever"
}

# standard TYPE: whether a type is of the families A, C, D, H, I, M, R, T, Z, which share a quota.
standard() {
  [[ "$1" =~ ^(a|c|d|h|i|im|is|m|r|t|z)[0-9] ]]
}

# used_cpus normal|spot: vCPUs of the standard instances that run.
used_cpus() {
  local told
  told="$(aws_ ec2 describe-instances --filters Name=instance-state-name,Values=pending,running \
    --query 'Reservations[].Instances[].[InstanceType,InstanceLifecycle,CpuOptions.CoreCount,CpuOptions.ThreadsPerCore]')" || {
    warn "how many vCPUs are in use is not known: $(errors)"
    printf 0
    return
  }
  awk -v spot="$1" '$1 ~ /^(a|c|d|h|i|im|is|m|r|t|z)[0-9]/ && (($2 == "spot") == (spot == "spot")) { all += $3 * $4 } END { print all + 0 }' <<<"$told"
}

# platform_of ARCHITECTURE: as builders of images name it.
platform_of() {
  case "$1" in
    arm64) printf linux/arm64 ;;
    *) printf linux/amd64 ;;
  esac
}
