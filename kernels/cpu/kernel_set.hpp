// One table of functions a family and kernel set; this picks the table that a context asks for.
//
// A family declares `struct XKernels` of function pointers in <family>/<family>_kernels.hpp, and
// defines one constant of it in each of the namespaces reference, avx2 and avx512.
#pragma once

#include "kernels/cpu/features.hpp"

namespace sluice::kernels {

template <class Kernels>
[[nodiscard]] const Kernels& select(Isa isa, const Kernels& reference, const Kernels& avx2,
                                    const Kernels& avx512) {
  switch (isa) {
    case Isa::kAvx2: return avx2;
    case Isa::kAvx512: return avx512;
    case Isa::kReference: break;
  }
  return reference;
}

}  // namespace sluice::kernels
