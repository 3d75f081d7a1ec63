// sysconf.
#include "kernels/cpu/caches.hpp"

#include <unistd.h>

namespace sluice::kernels {

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = [] {
    CacheSizes found;
    const auto ask = [](int name, std::int64_t& bytes) {
      const long answer = sysconf(name);
      if (answer > 0) bytes = answer;
    };
    ask(_SC_LEVEL1_DCACHE_SIZE, found.l1_bytes);
    ask(_SC_LEVEL2_CACHE_SIZE, found.l2_bytes);
    ask(_SC_LEVEL3_CACHE_SIZE, found.l3_bytes);
    return found;
  }();
  return sizes;
}

}  // namespace sluice::kernels
