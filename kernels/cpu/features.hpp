// Which instruction sets this CPU and operating system offer.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::kernels {

/// A kernel set. kReference, kAvx2 and kAvx512 give the same bits in fp32 (docs/architecture.md,
/// determinism).
enum class Isa { kReference, kAvx2, kAvx512 };

/// Kernel sets that this machine can run, slowest first; always holds kReference.
[[nodiscard]] std::span<const Isa> available_isas();
[[nodiscard]] Isa best_isa();
[[nodiscard]] std::string_view name_of(Isa isa);  // "reference", "avx2", "avx512"
[[nodiscard]] std::optional<Isa> isa_from_name(std::string_view name);

/// BF16 dot products. They round differently from fp32 FMAs, so they are kernel sets of their own.
struct Bf16Features {
  bool avx512_bf16 = false;
  bool amx_bf16 = false;  ///< the CPU has it and the kernel granted the tile state to this process
};
[[nodiscard]] Bf16Features bf16_features();
/// Those that are faster than widening to FP32: all but vdpbf16ps on Intel, whose peak was half
/// that of FMAs where it was measured (docs/performance.md).
[[nodiscard]] Bf16Features fast_bf16_features();

/// "AMD EPYC 9R14, avx2 avx512f avx512_bf16": the CPU's name and the flags that matter, for every
/// printed number.
[[nodiscard]] std::string cpu_description();

}  // namespace sluice::kernels
