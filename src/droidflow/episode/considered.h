#pragma once

#include <string>
#include <vector>

namespace droidflow {

/// One of the things that a decision was between.
struct Considered {
  std::string what;
  std::string finding;  ///< what speaks for or against it
  bool chosen = false;
};

/// In the order in which they were looked at: the first that will do is chosen.
using Considerations = std::vector<Considered>;

}  // namespace droidflow
