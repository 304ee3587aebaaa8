#include "droidflow/depth/sgm_cuda_kernels.cu"
