// Compiles the including file once per SIMD kernel set, each in a namespace of its own (no include
// guard on purpose).
//
// Use, in <family>_simd.cpp:
//   #include "kernels/<family>/<family>_kernels.hpp"      // all headers first, guarded, compiled
//   for the baseline #define SLUICE_ISA_SOURCE "kernels/<family>/<family>_simd.cpp" #include
//   "kernels/cpu/for_each_isa.hpp" #ifdef SLUICE_ISA namespace sluice::kernels::SLUICE_ISA {
//   namespace { ... } void entry_point(...) { ... } } #endif
// SLUICE_ISA is avx2 in the first pass and avx512 in the second; SLUICE_ISA_IS_AVX512 is 0 or 1.
//
// # Why not compiler flags per file? Inline functions of shared headers would be compiled with
// AVX-512 in one file and without in another, and the linker keeps either: a crash on the older
// machine.
#ifndef SLUICE_ISA

#include "kernels/cpu/lanes_includes.hpp"

#define SLUICE_ISA avx2
#define SLUICE_ISA_IS_AVX512 0
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#include "kernels/cpu/lanes.hpp"
#include SLUICE_ISA_SOURCE
#pragma GCC pop_options
#undef SLUICE_ISA
#undef SLUICE_ISA_IS_AVX512

#define SLUICE_ISA avx512
#define SLUICE_ISA_IS_AVX512 1
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#include "kernels/cpu/lanes.hpp"
#include SLUICE_ISA_SOURCE
#pragma GCC pop_options
#undef SLUICE_ISA
#undef SLUICE_ISA_IS_AVX512

#endif
