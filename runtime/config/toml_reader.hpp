// TOML text as a flat list of assignments; the only door to toml++.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/base/result.hpp"

namespace sluice::config {

/// A section that holds no key.
struct EmptyTable {};
/// A value of a type that no key has: its name in TOML.
struct OtherValue {
  std::string type;
};
using TomlValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>,
                               std::vector<std::int64_t>, EmptyTable, OtherValue>;

struct Assignment {
  std::string key;  ///< dotted: "train.steps"
  TomlValue value;
  std::int64_t line = 0;
};

/// Errors are "name:line:column: what". Text of more than 1 MB, or nested deeper than any config
/// is, is refused before it is parsed.
[[nodiscard]] Result<std::vector<Assignment>> read_toml(std::string_view text,
                                                        std::string_view name);

/// "integer", "string", ...
[[nodiscard]] std::string_view type_of(const TomlValue& value);

}  // namespace sluice::config
