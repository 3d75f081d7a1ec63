// Two recordings side by side, whatever the order in which things happened in each.
#pragma once

#include <optional>

#include "runtime/trace/difference.hpp"
#include "runtime/trace/recording.hpp"

namespace sluice::trace {

struct Comparison {
  Recording here, there;
  bool here_closed = false, there_closed = false;
  std::int64_t messages = 0;   ///< in both, and the same
  std::int64_t only_here = 0;  ///< the other run did not come so far, or has no such actor
  std::int64_t only_there = 0;
  /// The first in the order of `here`: all that its sender had received before is the same.
  std::optional<Difference> difference;
};

/// Messages between actors of the same names are matched by sender, receiver and key. Not compared:
/// credits, what came from the outside, how far it was to go, and where checkpoints were written.
/// Stops at the first difference. Errors: logs that cannot be read.
[[nodiscard]] Result<Comparison> compare_recordings(const std::filesystem::path& here,
                                                    const std::filesystem::path& there);

}  // namespace sluice::trace
