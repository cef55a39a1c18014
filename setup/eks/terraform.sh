# shellcheck shell=bash
# Terraform on a copy of terraform/ that belongs to one cluster, with a state that outlives the checkout.
#
#   $FOLDER/module             the copy, with the provider
#   $FOLDER/terraform.tfstate  the state, unless a backend keeps it
#   $FOLDER/inputs.tfvars, inputs, namespace, backend.hcl
#                              what was given, for the next run

terraform_() {
  terraform -chdir="$FOLDER/module" "$@"
}

# terraform_run ARGUMENTS... 3>OUTPUT: Terraform in a process group of its own. A ^C then comes by way of this script, and
# once: at a second one Terraform leaves without having written its state.
terraform_run() {
  local process code interrupted=false
  set -m
  terraform -chdir="$FOLDER/module" "$@" </dev/null >&3 2>"$ERRORS" &
  process=$!
  set +m
  trap 'interrupted=true; kill -INT "$process" 2>/dev/null || true' INT TERM
  while :; do
    code=0
    wait "$process" || code=$?
    kill -0 "$process" 2>/dev/null || break
  done
  trap 'exit 130' INT TERM
  if "$interrupted"; then
    cat "$ERRORS" >&2
    printf 'interrupted: what is made is kept in the state; the same command goes on\n' >&2
    exit 130
  fi
  return "$code"
}

# terraform_failed WORDS: ends with the code of what Terraform complains of.
terraform_failed() {
  local code="$FAILED" advice="run this again when it is mended: what is done is kept" lock
  cat "$ERRORS" >&2
  case "$(<"$ERRORS")" in
    *"Error acquiring the state lock"*)
      code="$BUSY"
      lock="$(sed -nE 's/^[^A-Za-z]*ID: *([^ ]+).*/\1/p' "$ERRORS" | head -n 1)"
      advice="another Terraform has the state, or one was killed while it had. If none is at work: terraform -chdir=$FOLDER/module force-unlock ${lock:-ID}"
      ;;
    *"Backend configuration changed"* | *"Backend type changed"* | *"Backend initialization required"*)
      advice="the state was kept elsewhere before. To move it: terraform -chdir=$FOLDER/module init -migrate-state -backend-config=FILE"
      ;;
    *"Failed to query available provider packages"* | *"Failed to install provider"*)
      advice="the provider that $FOLDER/module/.terraform.lock.hcl names is the one that was tested: let Terraform reach its registry, or put that version in your mirror. To choose another: terraform -chdir=$ROOT/terraform init -upgrade -backend=false"
      ;;
    *AccessDenied* | *UnauthorizedOperation* | *"not authorized to perform"*) code="$NO_PERMISSION" ;;
    *ExpiredToken* | *"token has expired"*)
      code="$NO_PERMISSION"
      advice="get new credentials (aws sso login), then run this again: what is done is kept"
      ;;
    *LimitExceeded* | *QuotaExceeded*) code="$NO_QUOTA" ;;
    *AlreadyExists* | *"already exists"*) code="$NAME_CLASH" ;;
  esac
  fail "$1: $advice" "$code"
}

# The copy, as the checkout is now.
terraform_ready() {
  local module="$FOLDER/module"
  mkdir -p "$module"
  find "$module" -mindepth 1 -maxdepth 1 ! -name .terraform -exec rm -rf {} +
  (cd "$ROOT/terraform" && tar -cf - --exclude=.terraform --exclude='*.tfstate*' --exclude=terraform.tfvars .) | tar -xf - -C "$module"
  [[ -z "$BACKEND" ]] || cp "$BACKEND" "$FOLDER/backend.hcl"
  local init=(init -input=false -no-color)
  if [[ -e "$FOLDER/backend.hcl" ]]; then
    BACKEND="${BACKEND:-$FOLDER/backend.hcl}"
    printf 'terraform {\n  backend "s3" {}\n}\n' >"$module/backend.tf"
    init+=("-backend-config=$FOLDER/backend.hcl")
  else
    printf 'terraform {\n  backend "local" {\n    path = "../terraform.tfstate"\n  }\n}\n' >"$module/backend.tf"
  fi
  step "preparing Terraform"
  terraform_run "${init[@]}" 3>/dev/null || terraform_failed "Terraform was not prepared"
}

# What Terraform is told: what was given now, or else at the last run. Options that stand for one input (EXTRA_VARS) are added
# to either.
eks_variables() {
  local file="$VARS" pair
  eks_namespace
  if [[ -z "$VARS" && ${#SET_VARS[@]} -eq 0 ]]; then
    [[ ! -e "$FOLDER/inputs.tfvars" ]] || file="$FOLDER/inputs.tfvars"
    [[ ! -e "$FOLDER/inputs" ]] || mapfile -t SET_VARS <"$FOLDER/inputs"
    [[ -z "$file" && ${#SET_VARS[@]} -eq 0 ]] || step "inputs of Terraform are those of the last run ($FOLDER)"
  fi
  GIVEN="$file"
  eks_access
  last_of_each_key "${SET_VARS[@]}" "${EXTRA_VARS[@]}"
  VARIABLES=()
  [[ -z "$file" ]] || VARIABLES+=("-var-file=$file")
  for pair in "${SET_VARS[@]}"; do VARIABLES+=(-var "$pair"); done
  VARIABLES+=(-var "name=$NAME" -var "region=$REGION" -var "kompass_namespace=$EKS_NAMESPACE")
}

# input KEY: a text that the inputs give: the single ones, or else the file.
input() {
  local pair told=''
  [[ -z "$GIVEN" ]] || told="$(sed -nE "s/^ *$1 *= *\"([^\"]*)\".*/\1/p" "$GIVEN" | tail -n 1)"
  for pair in "${SET_VARS[@]}"; do [[ "$pair" != "$1="* ]] || told="${pair#*=}"; done
  printf '%s' "$told"
}

# KOMPASS's namespace: of the option, of the inputs that are given now, of the last run. What its pods may do in the account
# names it, and --destroy looks for KOMPASS there.
eks_namespace() {
  GIVEN="$VARS"
  EKS_NAMESPACE="${EKS_NAMESPACE:-$(input kompass_namespace)}"
  [[ -n "$EKS_NAMESPACE" || ! -e "$FOLDER/namespace" ]] || EKS_NAMESPACE="$(<"$FOLDER/namespace")"
  EKS_NAMESPACE="${EKS_NAMESPACE:-kompass}"
}

# last_of_each_key PAIRS...: sets SET_VARS to the last pair of each key.
last_of_each_key() {
  local pair key keys=()
  local -A last=()
  for pair in "$@"; do
    key="${pair%%=*}"
    [[ -n "${last[$key]:-}" ]] || keys+=("$key")
    last[$key]="$pair"
  done
  SET_VARS=()
  for key in "${keys[@]}"; do SET_VARS+=("${last[$key]}"); done
}

keep_variables() {
  if [[ -n "$GIVEN" && "$GIVEN" != "$FOLDER/inputs.tfvars" ]]; then
    cp "$GIVEN" "$FOLDER/inputs.tfvars"
  elif [[ -z "$GIVEN" ]]; then
    rm -f "$FOLDER/inputs.tfvars"
  fi
  printf '%s\n' "$EKS_NAMESPACE" >"$FOLDER/namespace"
  : >"$FOLDER/inputs"
  ((${#SET_VARS[@]} == 0)) || printf '%s\n' "${SET_VARS[@]}" >"$FOLDER/inputs"
}

# Who reaches the API server.
eks_access() {
  local networks="${ACCESS//,/\",\"}" mine
  if [[ "$ACCESS" == me ]]; then
    need curl "it asks AWS for this machine's address; or name the network by --access-from"
    mine="$(curl -fsS --max-time 20 https://checkip.amazonaws.com 2>"$ERRORS")" ||
      fail "this machine's address is not known: $(errors); name your network by --access-from, such as 203.0.113.7/32"
    networks="${mine//[[:space:]]/}/32"
  fi
  if [[ -n "$networks" ]]; then
    EXTRA_VARS+=("public_access_cidrs=[\"$networks\"]")
    REACHED_FROM="the VPC and ${networks//\",\"/, }"
  elif grep -qs '^public_access_cidrs=\["' <(printf '%s\n' "${SET_VARS[@]}") ||
    grep -qs '^ *public_access_cidrs *= *\["' "${GIVEN:-/dev/null}"; then
    REACHED_FROM="the VPC and the networks of your inputs"
  else
    REACHED_FROM="within its VPC alone. Unless this machine is there, KOMPASS can't be installed from here: add --access-from me"
  fi
}

# terraform_plan [ARGUMENTS...]: sets CHANGES; the plan is in $FOLDER/plan, and as a text in $FOLDER/plan.txt.
terraform_plan() {
  local code=0
  terraform_run plan "$@" "${VARIABLES[@]}" -input=false -no-color -lock-timeout=30s -detailed-exitcode -out="$FOLDER/plan" \
    3>"$FOLDER/plan.txt" || code=$?
  case "$code" in
    0) CHANGES=false ;;
    2) CHANGES=true ;;
    *) terraform_failed "there is no plan" ;;
  esac
}

# terraform_apply: what was consented to, and nothing else.
terraform_apply() {
  terraform_run apply -input=false -no-color -lock-timeout=30s "$FOLDER/plan" 3>&2 || terraform_failed "Terraform did not come to its end"
  rm -f "$FOLDER/plan"
}

# kinds_of_plan: how many of which are created, changed, replaced or destroyed. What was being made when an apply was
# interrupted is tainted, and what a replacement has left behind is deposed: Terraform says so between name and verb.
kinds_of_plan() {
  local name='(.*\.)?(aws_[a-z0-9_]+)\.[A-Za-z0-9_-]+(\[.*\])?' state='( \(deposed object [0-9a-f]+\)| is tainted, so)?'
  sed -nE "s/^  # $name$state (will|must) be (created|destroyed|updated|replaced).*/\6 \2/p" "$FOLDER/plan.txt" |
    sort | uniq -c
}

# planned VERB RESOURCE: how many.
planned() {
  kinds_of_plan | awk -v verb="$1" -v kind="$2" '$2 == verb && $3 == kind { all += $1 } END { print all + 0 }'
}

# of_plan OUTPUT: a text that the plan, or the state if the plan changes it not, tells.
of_plan() {
  local told
  told="$(sed -nE "s/^ +[+~] $1 +=.*\"([^\"]*)\"\$/\1/p" "$FOLDER/plan.txt" | head -n 1)"
  [[ -n "$told" ]] || told="$(terraform_ output -no-color -raw "$1" 2>/dev/null)" || told=''
  printf '%s' "${told:-unknown}"
}

planned_autoscaler() {
  local name
  name="$(input autoscaler)"
  printf '%s' "${name:-cluster-autoscaler}"
}
