#pragma once

#include "droidflow/transfer/store.h"

namespace droidflow {

/// What every store refuses: bad paths, a path twice, a file that is a folder of another.
[[nodiscard]] Status CheckCommit(const CommitRequest& request);

}  // namespace droidflow
