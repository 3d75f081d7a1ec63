// Types of TOML into types of keys.
#include "runtime/config/assign.hpp"

namespace sluice::config {

bool convert(const TomlValue& value, bool& out) {
  const auto* flag = std::get_if<bool>(&value);
  if (flag != nullptr) out = *flag;
  return flag != nullptr;
}

bool convert(const TomlValue& value, std::int64_t& out) {
  const auto* integer = std::get_if<std::int64_t>(&value);
  if (integer != nullptr) out = *integer;
  return integer != nullptr;
}

bool convert(const TomlValue& value, double& out) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    out = static_cast<double>(*integer);
    return true;
  }
  const auto* real = std::get_if<double>(&value);
  if (real != nullptr) out = *real;
  return real != nullptr;
}

bool convert(const TomlValue& value, std::string& out) {
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr) out = *text;
  return text != nullptr;
}

// One string stands for a list of one.
bool convert(const TomlValue& value, std::vector<std::string>& out) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    out = {*text};
    return true;
  }
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  if (list != nullptr) out = *list;
  return list != nullptr;
}

// An empty list is one of strings to the reader.
bool convert(const TomlValue& value, std::vector<std::int64_t>& out) {
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    out.clear();
    return list->empty();
  }
  const auto* list = std::get_if<std::vector<std::int64_t>>(&value);
  if (list != nullptr) out = *list;
  return list != nullptr;
}

}  // namespace sluice::config
