#pragma once

#include "droidflow/core/source.h"
#include "droidflow/transfer/store.h"

#include <memory>

namespace droidflow {

/// The files of a store as they are now: what is committed later is not seen.
///
/// @param store  must live as long.
/// @return       the store's errors, where it does not tell its newest state.
[[nodiscard]] Result<std::unique_ptr<Source>> OpenStoreAsSource(Store& store);

}  // namespace droidflow
