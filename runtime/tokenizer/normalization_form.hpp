// Unicode normalization forms (UAX #15): NFC, NFD, NFKC, NFKD.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

/// Of well-formed text. Characters newer than Unicode 14 stay as they are.
[[nodiscard]] std::string to_normalization_form(std::string_view text, NormalizationForm form);

}  // namespace sluice
