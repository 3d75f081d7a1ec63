// Two plain CAF actors that throw one integer back and forth: what our own messages are measured
// against.
#pragma once

#include <cstdint>

#include "kernels/base/result.hpp"

namespace sluice::host {

/// Seconds for `round_trips` messages there and as many back, one under way at a time, with the
/// scheduler that CafHost uses. The actors run warm before the clock starts.
[[nodiscard]] Result<double> caf_ping_pong_seconds(std::int64_t round_trips, int threads);

}  // namespace sluice::host
