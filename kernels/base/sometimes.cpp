// Finds the marks where the linker gathered them.
#include "kernels/base/sometimes.hpp"

#include "kernels/base/check.hpp"

// Named by the linker after the section; absent where a program has no mark.
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern sluice::RarePath __start_sluice_rare_paths[];
[[gnu::weak, gnu::visibility("hidden")]] extern sluice::RarePath __stop_sluice_rare_paths[];
}

namespace sluice {

static_assert(sizeof(RarePath) == 32, "marks lie one after the other in their section");

std::span<RarePath> rare_paths() {
  if (__start_sluice_rare_paths == nullptr) return {};
  return {__start_sluice_rare_paths, __stop_sluice_rare_paths};
}

}  // namespace sluice
