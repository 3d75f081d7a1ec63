// xxHash3, seeded.
#include "kernels/base/digest.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice {

std::uint64_t digest(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t digest(std::string_view text, std::uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

std::uint64_t digest(const Tensor& tensor, std::uint64_t seed) {
  const std::uint64_t head =
      digest(tensor.shape().to_string(), seed ^ static_cast<std::uint64_t>(tensor.dtype()));
  return digest(std::span<const std::byte>(tensor.bytes(), tensor.size_bytes()), head);
}

}  // namespace sluice
