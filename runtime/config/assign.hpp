// A value of TOML into a field: its type, then its range.
#pragma once

#include <algorithm>
#include <string>

#include "runtime/config/key_text.hpp"
#include "runtime/config/toml_reader.hpp"

namespace sluice::config {

/// False where the TOML type is not the key's. An integer is a real too, one string a list of one.
[[nodiscard]] bool convert(const TomlValue& value, bool& out);
[[nodiscard]] bool convert(const TomlValue& value, std::int64_t& out);
[[nodiscard]] bool convert(const TomlValue& value, double& out);
[[nodiscard]] bool convert(const TomlValue& value, std::string& out);
[[nodiscard]] bool convert(const TomlValue& value, std::vector<std::string>& out);
[[nodiscard]] bool convert(const TomlValue& value, std::vector<std::int64_t>& out);
template <class T>
[[nodiscard]] bool convert(const TomlValue& value, std::optional<T>& out) {
  T inner{};
  if (!convert(value, inner)) return false;
  out = inner;
  return true;
}

template <class T, class Value>
[[nodiscard]] bool in_range(const Field<T>& limits, const Value& value) {
  if constexpr (OptionalOf<Value>::kIsOptional) {
    return in_range(limits, *value);
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return limits.choices.empty() ||
           std::find(limits.choices.begin(), limits.choices.end(), value) != limits.choices.end();
  } else if constexpr (std::is_same_v<Value, std::vector<std::int64_t>>) {
    return std::all_of(value.begin(), value.end(),
                       [&](std::int64_t item) { return in_range(limits, item); });
  } else if constexpr (std::is_arithmetic_v<Value> && !std::is_same_v<Value, bool>) {
    const auto number = static_cast<double>(value);
    return number >= limits.minimum && number <= limits.maximum && std::isfinite(number);
  } else {
    return true;
  }
}

/// Empty, or what is wrong with the value.
template <class T>
[[nodiscard]] std::string assign(Field<T>& f, const TomlValue& value) {
  T converted{};
  if (!convert(value, converted)) {
    return fmt::format("must be of type {}, not {}", type_text<T>(), type_of(value));
  }
  if (!in_range(f, converted)) {
    return fmt::format("is {}, must be {}{}", toml_text(converted),
                       f.choices.empty() ? "from " : "one of ", range_text(f));
  }
  f.value = std::move(converted);
  return "";
}

}  // namespace sluice::config
