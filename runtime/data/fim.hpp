// Fill-in-the-middle: a document's middle goes to its end, so that a causal model learns to fill
// gaps.
//
// PSM order (prefix, suffix, middle), as DeepSeek-V3 trains it (report, section 4.1): begin prefix
// hole suffix end middle.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/base/random.hpp"

namespace sluice {

struct FimCut {
  std::string_view prefix;
  std::string_view middle;
  std::string_view suffix;
};

/// Whether document number `document` is one of the share `rate`.
[[nodiscard]] bool fim_chosen(std::uint64_t seed, std::uint64_t document, double rate);

/// Cuts it at two places between characters, uniform over its bytes.
[[nodiscard]] FimCut fim_cut(std::string_view text, std::uint64_t seed, std::uint64_t document);

}  // namespace sluice
