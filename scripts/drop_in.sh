# What the scripts named run_pipeline_cluster_huggingface_… share; sourced by them.
# shellcheck shell=bash

# drop_in COMMAND [ARGUMENT...]
#
# Becomes `droidflow COMMAND ARGUMENT...`. Of the environment, what droidflow does not read itself
# becomes options, where the command has them and ARGUMENT does not.
drop_in() {
  local command=$1
  shift
  local argument
  for argument; do
    case $argument in
      -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    esac
  done

  local scripts droidflow help
  scripts=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
  droidflow=$(find_droidflow "$scripts")
  help=$("$droidflow" "$command" --help)
  local config=$scripts/config.yaml
  [[ -n ${CONFIG_PATH:-} || ! -e $config ]] || CONFIG_PATH=$config

  local -a given=("$@") options=()
  setting CONFIG_PATH --config
  setting LOCAL_DROID_SOURCE --droid-root
  setting CAM2BASE_PATH --superset
  setting DEFAULT_INNER_FINGER_MESH --finger-mesh
  setting FAST_LOCAL_DIR --scratch-dir
  setting BATCH_METADATA_DIR --batch-metadata-dir
  setting HF_REPO_ID --hf-repo
  setting HF_METADATA_REPO_ID --hf-metadata-repo
  exec "$droidflow" "$command" "$@" ${options[@]+"${options[@]}"}
}

# setting VARIABLE FLAG: the variable's value, if it has one, as an option of droidflow.
setting() {
  [[ -z ${!1:-} ]] || ! wants "$2" || options+=("$2" "${!1}")
}

# wants FLAG: whether the command has it and nobody gave it.
wants() {
  [[ $help =~ (^|[[:space:],])$1([[:space:],]|$) ]] || return 1
  local argument
  for argument in ${given[@]+"${given[@]}"}; do
    [[ $argument != "$1" && $argument != "$1="* ]] || return 1
  done
}

find_droidflow() {
  if [[ -n ${DROIDFLOW_BIN:-} ]]; then
    printf '%s\n' "$DROIDFLOW_BIN"
    return
  fi
  local program
  for program in "$1"/../build/release/bin/droidflow "$1"/../../../bin/droidflow; do
    if [[ -x $program ]]; then
      printf '%s\n' "$program"
      return
    fi
  done
  if ! command -v droidflow; then
    printf '%s: no droidflow: run make, put it into the PATH or set DROIDFLOW_BIN\n' "$0" >&2
    return 127
  fi
}
