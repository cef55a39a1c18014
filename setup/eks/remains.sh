# shellcheck shell=bash
# What is left in the account of a cluster.

# Of what AWS forgets late: so many looks, 15 seconds apart.
readonly LOOKS=20

# remains: fills REMAINS with what is there of the cluster, KEYS with keys that wait for their end, UNKNOWN with what AWS did
# not tell, and LACKING with the right that lacks for each of that, where it is one.
remains() {
  REMAINS=() KEYS=() UNKNOWN=() LACKING=()
  local tag arns arn
  for tag in "kompass.dev/cluster=$NAME" "elbv2.k8s.aws/cluster=$NAME" "kubernetes.io/cluster/$NAME=owned"; do
    arns="$(aws_ resourcegroupstaggingapi get-resources --tag-filters "Key=${tag%=*},Values=${tag##*=}" \
      --query 'ResourceTagMappingList[].ResourceARN')" || {
      not_told "what has the tag $tag" tag:GetResources
      continue
    }
    for arn in $arns; do
      [[ "$arn" == None || " ${REMAINS[*]} ${KEYS[*]} " == *" $arn "* ]] || still_there "$arn"
    done
  done
  # What that API does not tell, or what only the cluster's own parts have marked.
  also_remains volume ec2:DescribeVolumes ec2 describe-volumes --filters "Name=tag:kubernetes.io/cluster/$NAME,Values=owned" --query 'Volumes[].VolumeId'
  also_remains interface ec2:DescribeNetworkInterfaces ec2 describe-network-interfaces \
    --filters "Name=tag:cluster.k8s.amazonaws.com/name,Values=$NAME" --query 'NetworkInterfaces[].NetworkInterfaceId'
  also_remains group autoscaling:DescribeAutoScalingGroups autoscaling describe-auto-scaling-groups \
    --filters "Name=tag:kompass.dev/cluster,Values=$NAME" --query 'AutoScalingGroups[].AutoScalingGroupName'
}

# not_told WHAT RIGHT
not_told() {
  local why
  why="$(errors)"
  UNKNOWN+=("$1 ($why)")
  case "$why" in
    *AccessDenied* | *UnauthorizedOperation* | *"not authorized"*) LACKING+=("$2") ;;
  esac
}

# also_remains WORD RIGHT COMMAND...: adds what it names.
also_remains() {
  local word="$1" right="$2" told name
  shift 2
  told="$(aws_ "$@")" || {
    not_told "each $word" "$right"
    return 0
  }
  for name in $told; do
    [[ "$name" == None || "${REMAINS[*]}" == *"/$name"* ]] || REMAINS+=("$word:$name")
  done
}

# still_there ARN: AWS goes on telling of some things that have gone, or are to go.
still_there() {
  local state=''
  case "$1" in
    *:kms:*:key/*)
      state="$(aws_ kms describe-key --key-id "$1" --query KeyMetadata.KeyState)" || state=''
      if [[ "$state" == PendingDeletion ]]; then
        KEYS+=("$1")
        return
      fi
      ;;
    *:natgateway/*)
      state="$(aws_ ec2 describe-nat-gateways --nat-gateway-ids "${1##*/}" --query 'NatGateways[0].State')" || return 0
      [[ "$state" != deleted ]] || return 0
      ;;
    *:instance/*)
      state="$(aws_ ec2 describe-instances --instance-ids "${1##*/}" --query 'Reservations[0].Instances[0].State.Name')" || return 0
      [[ "$state" != terminated ]] || return 0
      ;;
  esac
  REMAINS+=("$1")
}

# nothing_remains DESTROYED: ends unless it is so. DESTROYED: the cluster was this run's to destroy, so its log is, too.
nothing_remains() {
  local look log="/aws/eks/$NAME/cluster" begin="all that the state had of $NAME is destroyed"
  "$1" || begin="the state has nothing of $NAME"
  step "looking for what is left"
  # The control plane writes to its log to the last, and makes it anew.
  if "$1" && [[ "$(aws_ logs describe-log-groups --log-group-name-prefix "$log" --query 'logGroups[].logGroupName')" == "$log" ]]; then
    aws_ logs delete-log-group --log-group-name "$log" >/dev/null || warn "the log $log was not deleted: $(errors)"
  fi
  for ((look = 1; look <= LOOKS; look++)); do
    remains
    ((${#REMAINS[@]} > 0)) || break
    ((look == LOOKS)) || sleep 15
  done
  if ((${#REMAINS[@]} > 0)); then
    printf '  %s\n' "${REMAINS[@]}" >&2
    fail "of $NAME there is still what these lines tell: delete it by hand (docs/operations/aws.md), then run this again to see"
  fi
  if ((${#UNKNOWN[@]} > 0)); then
    printf '  %s\n' "${UNKNOWN[@]}" >&2
    ((${#LACKING[@]} < ${#UNKNOWN[@]})) ||
      fail "$begin, but whether something is left could not be looked: you may not $(
        printf '%s\n' "${LACKING[@]}" | LC_ALL=C sort -u | paste -sd ' ' - | sed 's/ /, /g'
      ). Ask for that, then run this again to see" "$NO_PERMISSION"
    fail "$begin, but whether something is left is not known, because AWS did not tell what these lines name. Run this again to see"
  fi
  if ((${#KEYS[@]} > 0)); then
    printf 'AWS deletes these keys when their time is over; they cost nothing until then:\n' >&2
    printf '  %s\n' "${KEYS[@]}" >&2
  fi
}
