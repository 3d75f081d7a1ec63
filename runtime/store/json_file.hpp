// JSON files as values: no exception escapes, size bounded, a key that stands twice is an error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/base/result.hpp"

namespace sluice::store {

/// Parses `text`; messages begin with `where`. Nesting beyond 64 levels is an error.
[[nodiscard]] Result<nlohmann::json> parse_json(std::string_view text, std::string_view where);
/// The same of a whole file of at most `bytes_max`.
[[nodiscard]] Result<nlohmann::json> read_json(const std::filesystem::path& path,
                                               std::uint64_t bytes_max);
/// Pretty-printed text that ends with a newline. Strings that are not UTF-8 get replacement
/// characters.
[[nodiscard]] std::string to_text(const nlohmann::json& value);

}  // namespace sluice::store
