// A place in a JSON document that knows its path, so that every complaint names the key.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "kernels/base/result.hpp"

namespace sluice {

class JsonNode {
 public:
  using Json = nlohmann::json;

  JsonNode(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  [[nodiscard]] const Json& json() const { return *json_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Present and not null.
  [[nodiscard]] bool has(std::string_view key) const {
    return json_->is_object() && json_->contains(key) && !(*json_)[key].is_null();
  }

  Result<JsonNode> at(std::string_view key) const {
    if (!json_->is_object()) return wrong("an object");
    if (!has(key)) return invalid_input("{} is missing", child_path(key));
    return JsonNode((*json_)[key], child_path(key));
  }

  /// Element of an array; `index` is in range.
  [[nodiscard]] JsonNode element(std::size_t index) const {
    return {(*json_)[index], fmt::format("{}[{}]", path_, index)};
  }

  Result<std::size_t> array_size() const {
    if (!json_->is_array()) return wrong("an array");
    return json_->size();
  }

  Result<std::string> text() const {
    if (!json_->is_string()) return wrong("a string");
    return json_->get_ref<const std::string&>();
  }

  Result<std::string> text(std::string_view key) const {
    SLUICE_ASSIGN(const auto node, at(key));
    return node.text();
  }

  Result<bool> flag(std::string_view key, bool absent) const {
    if (!has(key)) return absent;
    SLUICE_ASSIGN(const auto node, at(key));
    if (!node.json().is_boolean()) return node.wrong("true or false");
    return node.json().get<bool>();
  }

  Result<std::int64_t> integer(std::int64_t low, std::int64_t high) const {
    if (json_->is_number_integer()) {
      const bool huge = json_->is_number_unsigned() && json_->get<std::uint64_t>() > INT64_MAX;
      const auto value = json_->get<std::int64_t>();
      if (!huge && value >= low && value <= high) return value;
    }
    return wrong(fmt::format("an integer from {} to {}", low, high));
  }

  Result<std::int64_t> integer(std::string_view key, std::int64_t low, std::int64_t high) const {
    SLUICE_ASSIGN(const auto node, at(key));
    return node.integer(low, high);
  }

  [[nodiscard]] tl::unexpected<Error> wrong(std::string_view expected) const {
    return invalid_input("{} is {}, expected {}", path_, json_->type_name(), expected);
  }

 private:
  [[nodiscard]] std::string child_path(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  const Json* json_;
  std::string path_;
};

/// Calls each(child) for the array node.key.
template <class Each>
Status for_each_in(const JsonNode& node, std::string_view key, Each&& each) {
  SLUICE_ASSIGN(const auto list, node.at(key));
  SLUICE_ASSIGN(const auto count, list.array_size());
  for (std::size_t i = 0; i < count; ++i) SLUICE_TRY(each(list.element(i)));
  return {};
}

/// Parses a whole document; the Error names the line.
Result<nlohmann::json> parse_json(std::string_view text);

}  // namespace sluice
