#!/usr/bin/env bash
# Tracks, poses, intrinsics and quality of many episodes, no depth: `droidflow metadata` under the
# name and with the environment of the script that it replaces.
#
# Usage: run_pipeline_cluster_huggingface_metadata_only_no_depth.sh [LIMIT [WORKERS]] [OPTION...]
#   ./run_pipeline_cluster_huggingface_metadata_only_no_depth.sh          10 episodes, 16 workers
#   ./run_pipeline_cluster_huggingface_metadata_only_no_depth.sh 100      100 episodes
#   ./run_pipeline_cluster_huggingface_metadata_only_no_depth.sh 100 32   100 episodes, 32 workers
#   ./run_pipeline_cluster_huggingface_metadata_only_no_depth.sh -1       all episodes
#   SKIP_HF_CHECK=1 ./run_pipeline_cluster_huggingface_metadata_only_no_depth.sh 100
#
# OPTION is any of `droidflow metadata --help` and beats the environment:
#   DROID_NUM_WORKERS           worker processes
#   CONFIG_PATH                 configuration (config.yaml beside this script, if it is there)
#   LOCAL_DROID_SOURCE          raw episodes
#   CAM2BASE_PATH               cam2base_extrinsic_superset.json
#   DEFAULT_INNER_FINGER_MESH   finger mesh to take the contact points from
#   FAST_LOCAL_DIR              fast local disk for unfinished episodes
#   HF_REPO_ID, HF_TOKEN, SKIP_HF_CHECK, BATCH_UPLOAD_INTERVAL: where, and when, to upload to
#   DROIDFLOW_BIN               the program (the one built or installed with this script, or that of the PATH)

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drop_in.sh
source "$(dirname "$(readlink -f "$0")")/drop_in.sh"
drop_in metadata "$@"
