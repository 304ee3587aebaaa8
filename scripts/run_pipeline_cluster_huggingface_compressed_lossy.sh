#!/usr/bin/env bash
# Depth, tracks, poses, intrinsics and quality of many episodes: `droidflow full` under the name and
# with the environment of the script that it replaces. Depth is stored without loss.
#
# Usage: run_pipeline_cluster_huggingface_compressed_lossy.sh [LIMIT [PER_GPU [GPUS]]] [OPTION...]
#   ./run_pipeline_cluster_huggingface_compressed_lossy.sh           10 episodes, 3 workers a GPU
#   ./run_pipeline_cluster_huggingface_compressed_lossy.sh 100       100 episodes
#   ./run_pipeline_cluster_huggingface_compressed_lossy.sh 100 6     6 workers a GPU
#   ./run_pipeline_cluster_huggingface_compressed_lossy.sh 100 6 4   6 workers a GPU, 4 GPUs
#   ./run_pipeline_cluster_huggingface_compressed_lossy.sh -1        all episodes
#   SKIP_HF_CHECK=1 ./run_pipeline_cluster_huggingface_compressed_lossy.sh 100
#
# OPTION is any of `droidflow full --help` and beats the environment:
#   CUDA_VISIBLE_DEVICES        which GPUs to use
#   DROID_WORKERS_PER_GPU       workers a GPU
#   DROID_NUM_GPUS              how many GPUs to use
#   CONFIG_PATH                 configuration (config.yaml beside this script, if it is there)
#   LOCAL_DROID_SOURCE          raw episodes
#   CAM2BASE_PATH               cam2base_extrinsic_superset.json
#   DEFAULT_INNER_FINGER_MESH   finger mesh to take the contact points from
#   FAST_LOCAL_DIR              fast local disk for unfinished episodes
#   STAGING_DIR                 where finished episodes wait for their place
#   BATCH_UPLOAD_DIR            queue of finished episodes
#   BATCH_METADATA_DIR          queue of finished episodes without depth
#   HF_REPO_ID, HF_METADATA_REPO_ID, HF_TOKEN, SKIP_HF_CHECK, BATCH_UPLOAD_INTERVAL: where, and
#                               when, to upload to
#   DROIDFLOW_BIN               the program (the one built or installed with this script, or that of the PATH)

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drop_in.sh
source "$(dirname "$(readlink -f "$0")")/drop_in.sh"
drop_in full "$@"
