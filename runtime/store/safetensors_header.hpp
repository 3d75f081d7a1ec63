// The JSON header of a safetensors file, parsed as a stream and checked against the length of the
// data.
//
// The rules are those of the format's description (huggingface/safetensors, README and its Rust
// validator): at most 100 MB, begins with '{', may end with spaces; each tensor {dtype, shape,
// data_offsets}; offsets, sorted, run from 0 to the end of the data without hole or overlap, and
// each range has the bytes that dtype and shape say.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice::store {

struct StoredTensor;

inline constexpr std::uint64_t kHeaderBytesMax = 100'000'000;

struct SafetensorsHeader {
  std::vector<StoredTensor>
      tensors;  ///< sorted by offset; offsets count from the first byte of data
  std::map<std::string, std::string> metadata;
};

[[nodiscard]] Result<SafetensorsHeader> parse_safetensors_header(std::string_view text,
                                                                 std::uint64_t data_bytes);

}  // namespace sluice::store
