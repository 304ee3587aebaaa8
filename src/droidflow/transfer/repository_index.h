#pragma once

#include "droidflow/core/result.h"
#include "droidflow/transfer/store.h"
#include "droidflow/transfer/upload_queue.h"

#include <string>

namespace droidflow {

/// Writes down what a store has at its newest state, for UploadQueue::IsInRepository. Nothing is
/// done when that state is written down already; after an error the last complete index counts.
[[nodiscard]] Status IndexRepository(UploadQueue& queue,
                                     const std::string& destination,
                                     Store& store);

}  // namespace droidflow
