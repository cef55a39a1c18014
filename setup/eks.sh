# shellcheck shell=bash
# A new EKS cluster by Terraform, and KOMPASS in it; and all of it away again.

# shellcheck source=setup/eks/checks.sh
. "$ROOT/setup/eks/checks.sh"
# shellcheck source=setup/eks/terraform.sh
. "$ROOT/setup/eks/terraform.sh"
# shellcheck source=setup/eks/parts.sh
. "$ROOT/setup/eks/parts.sh"
# shellcheck source=setup/eks/autoscaler.sh
. "$ROOT/setup/eks/autoscaler.sh"
# shellcheck source=setup/eks/remains.sh
. "$ROOT/setup/eks/remains.sh"
# shellcheck source=setup/eks/destroy.sh
. "$ROOT/setup/eks/destroy.sh"
# shellcheck source=setup/cluster.sh
. "$ROOT/setup/cluster.sh"

usage_eks() {
  cat <<'TEXT'
Usage: ./setup-kompass.sh eks --region REGION [options]
       ./setup-kompass.sh eks --region REGION [--name NAME] --destroy

Looks whether the account can take it, tells what will be made and what it costs an hour, makes a VPC, an EKS cluster and
node groups for Spark with Terraform, pushes KOMPASS's images, and installs autoscaler and KOMPASS. Run again, it goes on.

  --name NAME             Name of the cluster, and prefix of all that is made; `kompass` unless given.
  --region REGION         Region; that of the AWS CLI unless given.
  --vars FILE             Inputs of Terraform (.tfvars); terraform/README.md has them all.
  --set-var KEY=VALUE     One input of Terraform; may be given several times.
                          Without either, those of the last run for this cluster are taken; --access-from and --autoscaler
                          are added to them.
  --access-from CIDRS     Networks that may reach the API server, with commas between; `me` is this machine's address as
                          AWS sees it. Without it only the VPC does.
  --autoscaler NAME       cluster-autoscaler (default), karpenter or none. Away from karpenter only once it is out of the
                          cluster; how is told.
  --autoscaler-chart PATH Chart of the autoscaler, instead of the one that its project publishes.
  --autoscaler-version V  Version of the chart, instead of the one that was chosen here. Neither is kept for later runs.
  --registry PREFIX       Take KOMPASS's images from there; nothing is built or pushed then.
  --backend-config FILE   Keep Terraform's state in the S3 bucket that this file tells, not on this machine.
  --skip-rights           Don't ask IAM whether you may: it can't judge every condition of a policy.
  --plan                  Tell what would be made, what it costs and which rights it takes, and make nothing.
  --yes                   Ask nothing.

  --jobs, --namespace, --scope, --mode, --values, --set   as of ./setup-kompass.sh cluster; namespaces of jobs are made.
                          The namespace is kept for later runs and for --destroy; the input kompass_namespace does the same.

  --destroy               Take all of it away: KOMPASS, load balancers, volumes, nodes, cluster, network; then look that
                          nothing remains. Needs no other option than name and region.
  --delete-images         With --destroy: also images in the cluster's ECR repositories that aren't KOMPASS's.
  --without-cluster       With --destroy: also where the API server does not answer. Load balancers, disks and Karpenter's
                          nodes that the cluster has made then stay, and cost, until you delete them.
TEXT
}

setup_eks() {
  NAME='' REGION='' VARS='' SET_VARS=() EXTRA_VARS=() REGISTRY='' BACKEND='' AUTOSCALER_CHART='' AUTOSCALER_VERSION=''
  EKS_NAMESPACE='' EKS_JOBS=()
  EKS_PLAN=false DESTROY=false DELETE_IMAGES=false WITHOUT_CLUSTER=false SKIP_RIGHTS=false ACCESS=''
  YES=false CLUSTER_ARGUMENTS=()
  while (($#)); do
    case "$1" in
      --name | --region | --vars | --set-var | --access-from | --autoscaler | --autoscaler-chart | \
        --autoscaler-version | --registry | --backend-config | --jobs | --namespace | --scope | --mode | --values | --set)
        value "$@" >/dev/null || exit
        eks_option "$1" "$2"
        shift
        ;;
      --skip-rights) SKIP_RIGHTS=true ;;
      --delete-images) DELETE_IMAGES=true ;;
      --without-cluster) WITHOUT_CLUSTER=true ;;
      --destroy) DESTROY=true ;;
      --plan) EKS_PLAN=true ;;
      --yes | -y) YES=true ;;
      --help | -h)
        usage_eks
        return
        ;;
      *) fail "unknown option $1; see ./setup-kompass.sh eks --help" "$USAGE" ;;
    esac
    shift
  done
  "$DESTROY" || ! "$DELETE_IMAGES" || fail "--delete-images is for --destroy" "$USAGE"
  "$DESTROY" || ! "$WITHOUT_CLUSTER" || fail "--without-cluster is for --destroy" "$USAGE"
  # Known before a quarter of an hour of EKS.
  (cluster_options "${CLUSTER_ARGUMENTS[@]}")
  # Files of a run are of nobody else's business: a state holds secrets.
  umask 077
  export AWS_PAGER='' TF_IN_AUTOMATION=1 TF_INPUT=0 CHECKPOINT_DISABLE=1
  unset TF_WORKSPACE TF_DATA_DIR
  eks_names
  eks_tools
  ERRORS="$(mktemp)"
  trap 'rm -f "$ERRORS"' EXIT
  trap 'exit 130' INT TERM
  eks_account
  eks_region
  FOLDER="${XDG_STATE_HOME:-$HOME/.local/state}/kompass/terraform/$ACCOUNT/$REGION/$NAME"
  hold "eks $ACCOUNT $REGION $NAME"
  if "$DESTROY"; then
    destroy_eks
  else
    make_eks
  fi
}

# eks_option OPTION VALUE
eks_option() {
  case "$1" in
    --name) NAME="$2" ;;
    --region) REGION="$2" ;;
    --vars)
      [[ -r "$2" ]] || fail "failed to read the inputs in $2: is it there?" "$USAGE"
      VARS="$(realpath "$2")"
      ;;
    --set-var)
      [[ "$2" == [a-z]*=* && "$2" != *$'\n'* ]] || fail "--set-var takes KEY=VALUE, not $2" "$USAGE"
      SET_VARS+=("$2")
      ;;
    --access-from) ACCESS="$2" ;;
    --autoscaler)
      case "$2" in
        cluster-autoscaler | karpenter | none) EXTRA_VARS+=("autoscaler=$2") ;;
        *) fail "--autoscaler is cluster-autoscaler, karpenter or none, not $2" "$USAGE" ;;
      esac
      ;;
    --autoscaler-chart) AUTOSCALER_CHART="$2" ;;
    --autoscaler-version) AUTOSCALER_VERSION="$2" ;;
    --registry) REGISTRY="${2%/}" ;;
    --backend-config)
      [[ -r "$2" ]] || fail "failed to read the backend in $2: is it there?" "$USAGE"
      BACKEND="$(realpath "$2")"
      ;;
    --namespace) EKS_NAMESPACE="$2" ;;
    --jobs)
      IFS=, read -r -a EKS_JOBS <<<"$2"
      CLUSTER_ARGUMENTS+=("$1" "$2")
      ;;
    *) CLUSTER_ARGUMENTS+=("$1" "$2") ;;
  esac
}

# Name and region: of the options, of the inputs, of the AWS CLI's settings.
eks_names() {
  GIVEN="$VARS"
  NAME="${NAME:-$(input name)}"
  NAME="${NAME:-kompass}"
  [[ "$NAME" =~ ^[a-z][a-z0-9-]{0,30}[a-z0-9]$ ]] ||
    fail "--name is 2 to 32 lower-case letters, digits and dashes, begins with a letter and doesn't end with a dash; not $NAME" "$USAGE"
  REGION="${REGION:-$(input region)}"
  REGION="${REGION:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}"
  [[ -n "$REGION" ]] || REGION="$(aws configure get region 2>/dev/null)" || true
  [[ -n "$REGION" ]] || fail "which region? Name one by --region, such as --region eu-central-1" "$USAGE"
  [[ "$REGION" =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] || fail "--region is the name of an AWS region, such as eu-central-1; not $REGION" "$USAGE"
  # Names of IAM have 64 characters at most, and the longest is NAME-REGION-cluster-autoscaler.
  ((${#NAME} + ${#REGION} <= 44)) ||
    fail "--name has $((44 - ${#REGION})) characters at most in $REGION, since names of roles hold both; not $NAME" "$USAGE"
}

make_eks() {
  eks_rights
  eks_variables
  terraform_ready
  eks_clash
  step "planning"
  terraform_plan
  eks_earlier_autoscaler
  eks_builder
  eks_quotas
  plan_eks
  ! "$EKS_PLAN" || return 0
  consent "Make it?"
  keep_variables
  if "$CHANGES"; then
    step "making what the plan tells; EKS takes its time, some 15 minutes"
    terraform_apply
  fi
  eks_kubeconfig
  eks_wait
  eks_images
  eks_autoscaler
  eks_namespaces
  eks_kompass
  cat <<TEXT
The cluster is $NAME in $REGION. To use it:
  export KUBECONFIG=$FOLDER/kubeconfig
Undo: ./setup-kompass.sh eks --region $REGION --name $NAME --destroy
TEXT
}

plan_eks() {
  local kinds others='' images="build KOMPASS's images and push them to the account's ECR"
  kinds="$(kinds_of_plan | awk '{ printf "     %4d %s %s\n", $1, $2, $3 }')"
  [[ -z "$REGISTRY" ]] || images="take KOMPASS's images from $REGISTRY"
  [[ -z "$EARLIER_AUTOSCALER" ]] || others=", uninstall $EARLIER_AUTOSCALER"
  (($(planned replaced aws_eks_cluster) == 0)) ||
    warn "the cluster itself is destroyed and made anew, with all that runs in it; what it has made (load balancers, disks, Karpenter's nodes) would be left behind. --destroy takes that away, too"
  cat >&2 <<TEXT
In account $ACCOUNT, region $REGION, as $CALLER:
  1. make the EKS cluster $NAME with Terraform (its state: ${BACKEND:-$FOLDER}):
${kinds:-     nothing to change}
  2. $images
  3. install the autoscaler ($(planned_autoscaler))$others, and KOMPASS in namespace $EKS_NAMESPACE; prove it by a dry run
Permissions: $RIGHTS_TOLD; docs/operations/aws.md has them all.
Price: $(of_plan price_per_hour) an hour: at least, and with all nodes that the groups allow. Traffic, logs and images come on top.
  These are list prices of terraform/prices.json, whose date and region it tells. It is paid until --destroy.
API server: reached from ${REACHED_FROM}.
Undo: ./setup-kompass.sh eks --region $REGION --name $NAME --destroy
TEXT
}
