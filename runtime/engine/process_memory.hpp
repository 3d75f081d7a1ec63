// How much memory this process has resident, as the kernel counts it.
#pragma once

#include <cstdint>

namespace sluice::engine {

[[nodiscard]] std::int64_t resident_bytes();
[[nodiscard]] std::int64_t resident_bytes_peak();
/// What this process may have at most: the machine's memory, or less where a control group or a
/// resource limit says so.
[[nodiscard]] std::int64_t memory_bytes_max();

}  // namespace sluice::engine
