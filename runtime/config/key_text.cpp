// Values as TOML; edit distance for unknown names.
#include "runtime/config/key_text.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace sluice::config {
namespace {

std::string escaped(char c) {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\t': return "\\t";
    case '\r': return "\\r";
    default:
      const auto byte = static_cast<unsigned char>(c);
      return byte < 0x20 || byte == 0x7f ? fmt::format("\\u{:04x}", byte) : std::string(1, c);
  }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string toml_text(bool value) { return value ? "true" : "false"; }

std::string toml_text(std::int64_t value) { return fmt::format("{}", value); }

std::string toml_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string toml_text(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) text += escaped(c);
  return text + "\"";
}

std::string toml_text(const std::vector<std::string>& value) {
  constexpr std::size_t kLineMax = 60;  // a longer list has a line for each item
  std::string line;
  std::string lines;
  for (const std::string& item : value) {
    line += (line.empty() ? "" : ", ") + toml_text(item);
    lines += "  " + toml_text(item) + ",\n";
  }
  return line.size() <= kLineMax ? "[" + line + "]" : "[\n" + lines + "]";
}

std::string toml_text(const std::vector<std::int64_t>& value) {
  return fmt::format("[{}]", fmt::join(value, ", "));
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& names) {
  constexpr std::size_t kLongest = 100;  // a longer one is near to nothing
  if (name.empty() || name.size() > kLongest) return "";
  std::string_view best;
  std::size_t least = name.size() / 2 + 1;
  for (const std::string& candidate : names) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return std::string(best);
}

}  // namespace sluice::config
