// 64-bit digests of bytes (xxHash3), for comparing tensors, configs and traces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/base/tensor.hpp"

namespace sluice {

[[nodiscard]] std::uint64_t digest(std::span<const std::byte> bytes, std::uint64_t seed = 0);
[[nodiscard]] std::uint64_t digest(std::string_view text, std::uint64_t seed = 0);
/// Of dtype, shape and elements.
[[nodiscard]] std::uint64_t digest(const Tensor& tensor, std::uint64_t seed = 0);

}  // namespace sluice
