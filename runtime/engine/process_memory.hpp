// How much memory this process has resident, as the kernel counts it.
#pragma once

#include <cstdint>

namespace sluice::engine {

[[nodiscard]] std::int64_t resident_bytes();
[[nodiscard]] std::int64_t resident_bytes_peak();

}  // namespace sluice::engine
