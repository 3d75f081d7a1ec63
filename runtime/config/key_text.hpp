// How a key's type, value and range read in TOML, in help and in messages; the one place that knows
// the field types.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/visit_fields.hpp"

namespace sluice::config {

template <class T>
struct OptionalOf {
  using Value = T;
  static constexpr bool kIsOptional = false;
};
template <class T>
struct OptionalOf<std::optional<T>> {
  using Value = T;
  static constexpr bool kIsOptional = true;
};
template <class T>
using ValueOf = typename OptionalOf<T>::Value;

template <class T>
[[nodiscard]] constexpr std::string_view type_text() {
  using Value = ValueOf<T>;
  if constexpr (std::is_same_v<Value, bool>)
    return "flag";
  else if constexpr (std::is_same_v<Value, std::int64_t>)
    return "integer";
  else if constexpr (std::is_same_v<Value, double>)
    return "real";
  else if constexpr (std::is_same_v<Value, std::string>)
    return "string";
  else if constexpr (std::is_same_v<Value, std::vector<std::int64_t>>)
    return "list of integers";
  else
    return "list of strings";
}

[[nodiscard]] std::string toml_text(bool value);
[[nodiscard]] std::string toml_text(std::int64_t value);
/// Shortest text that reads back to the same bits, always with a point or an exponent.
[[nodiscard]] std::string toml_text(double value);
[[nodiscard]] std::string toml_text(const std::string& value);
[[nodiscard]] std::string toml_text(const std::vector<std::string>& value);
[[nodiscard]] std::string toml_text(const std::vector<std::int64_t>& value);
/// Empty where absent.
template <class T>
[[nodiscard]] std::string toml_text(const std::optional<T>& value) {
  return value ? toml_text(*value) : std::string();
}

/// "1 to 64", "fp32 | bf16", or empty where everything of the type is allowed.
template <class T>
[[nodiscard]] std::string range_text(const Field<T>& f) {
  std::string text;
  for (const std::string_view choice : f.choices) {
    if (!text.empty()) text += " | ";
    text += choice;
  }
  if (std::isfinite(f.minimum)) {
    const auto shown = [](double x) {
      return std::abs(x) < 1e16 && x == std::floor(x) ? fmt::format("{:.0f}", x)
                                                      : fmt::format("{}", x);
    };
    text = fmt::format("{} to {}", shown(f.minimum), shown(f.maximum));
  }
  return text;
}

/// The one of `names` that takes the fewest edits; empty where all are far from `name`.
[[nodiscard]] std::string nearest_name(std::string_view name,
                                       const std::vector<std::string>& names);

}  // namespace sluice::config
