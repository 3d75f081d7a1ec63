// Sizes of this machine's caches, for choosing block sizes. Results never depend on them.
#pragma once

#include <cstdint>

namespace sluice::kernels {

struct CacheSizes {
  std::int64_t l1_bytes = 32 << 10;  ///< data, a core
  std::int64_t l2_bytes = 1 << 20;   ///< a core
  std::int64_t l3_bytes = 16 << 20;  ///< shared

  friend bool operator==(const CacheSizes&, const CacheSizes&) = default;
};

/// As the operating system tells; the defaults above where it does not.
[[nodiscard]] const CacheSizes& cache_sizes();

}  // namespace sluice::kernels
