// toml++ behind Result.
#include "runtime/config/toml_reader.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>

namespace sluice::config {
namespace {

constexpr std::size_t kBytesMax = 1u << 20;
constexpr int kDepthMax = 32;     // brackets within brackets
constexpr int kKeyPartsMax = 16;  // a.b.c

// The library builds and frees nested values recursively; a dotted key of a megabyte would end the
// stack. This looks at brackets and dots outside strings and comments, which is enough to bound the
// depth.
class DepthScan {
 public:
  explicit DepthScan(std::string_view text) : text_(text) {}

  /// The line where the text nests too deep; 0: nowhere.
  std::int64_t line_too_deep() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        skip_string(c);
      } else if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (count(c)) {
        ++at_;
      } else {
        return line_;
      }
    }
    return 0;
  }

 private:
  bool count(char c) {
    if (c == '.') return ++dots_ < kKeyPartsMax;
    if (c == '[' || c == '{') ++depth_;
    if (c == ']' || c == '}') --depth_;
    if (c == '\n') ++line_;
    if (std::string_view("[]{},=\n").find(c) != std::string_view::npos) dots_ = 0;
    return depth_ <= kDepthMax;
  }

  void skip_string(char quote) {
    const std::array<char, 3> triple{quote, quote, quote};
    const bool multiline = text_.substr(at_).starts_with(std::string_view(triple.data(), 3));
    const std::string_view end = std::string_view(triple.data(), multiline ? 3 : 1);
    at_ += end.size();
    while (at_ < text_.size() && !text_.substr(at_).starts_with(end)) {
      if (text_[at_] == '\n') {
        if (!multiline) return;  // not closed: the parser will say so
        ++line_;
      }
      at_ += text_[at_] == '\\' && quote == '"' ? 2 : 1;
    }
    at_ = std::min(at_ + end.size(), text_.size());
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
  int depth_ = 0;
  int dots_ = 0;
};

std::string type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table: return "table";
    case toml::node_type::array: return "array";
    case toml::node_type::date: return "date";
    case toml::node_type::time: return "time";
    case toml::node_type::date_time: return "date and time";
    default: return "value";
  }
}

// Of integers where all are, and there is one.
std::optional<std::vector<std::int64_t>> integers_of(const toml::array& array) {
  std::vector<std::int64_t> integers;
  for (const toml::node& item : array) {
    const auto* integer = item.as_integer();
    if (integer == nullptr) return std::nullopt;
    integers.push_back(integer->get());
  }
  if (integers.empty()) return std::nullopt;
  return integers;
}

TomlValue list_of(const toml::array& array) {
  if (auto integers = integers_of(array)) return *std::move(integers);
  std::vector<std::string> strings;
  for (const toml::node& item : array) {
    const auto* text = item.as_string();
    if (text == nullptr)
      return OtherValue{"array that holds neither strings alone nor integers alone"};
    strings.push_back(text->get());
  }
  return strings;
}

TomlValue value_of(const toml::node& node) {
  if (const auto* v = node.as_boolean()) return v->get();
  if (const auto* v = node.as_integer()) return v->get();
  if (const auto* v = node.as_floating_point()) return v->get();
  if (const auto* v = node.as_string()) return v->get();
  if (const auto* v = node.as_array()) return list_of(*v);
  return OtherValue{type_name(node)};
}

void flatten(const toml::table& table, const std::string& prefix, std::vector<Assignment>& out) {
  for (const auto& [key, node] : table) {
    const std::string name =
        prefix.empty() ? std::string(key.str()) : fmt::format("{}.{}", prefix, key.str());
    const auto line = static_cast<std::int64_t>(node.source().begin.line);
    const toml::table* inner = node.as_table();
    if (inner == nullptr) {
      out.push_back({name, value_of(node), line});
    } else if (inner->empty()) {
      out.push_back({name, EmptyTable{}, line});
    } else {
      flatten(*inner, name, out);
    }
  }
}

tl::unexpected<Error> syntax_error(std::string_view name, const toml::parse_error& error) {
  return invalid_input("{}:{}:{}: not TOML: {:.300}", name, error.source().begin.line,
                       error.source().begin.column, error.description());
}

Result<std::vector<Assignment>> parse(std::string_view text, std::string_view name) {
  const toml::parse_result result = toml::parse(text);
#if !TOML_EXCEPTIONS
  if (!result) return syntax_error(name, result.error());
#else
  static_cast<void>(name);
#endif
  std::vector<Assignment> assignments;
  flatten(result, "", assignments);
  std::stable_sort(assignments.begin(), assignments.end(),
                   [](const Assignment& a, const Assignment& b) { return a.line < b.line; });
  return assignments;
}

}  // namespace

Result<std::vector<Assignment>> read_toml(std::string_view text, std::string_view name) {
  if (text.size() > kBytesMax) {
    return invalid_input("{}: {} bytes, more than the {} that a config may have", name, text.size(),
                         kBytesMax);
  }
  if (const std::int64_t line = DepthScan(text).line_too_deep(); line != 0) {
    return invalid_input("{}:{}: nested deeper than any config is", name, line);
  }
  try {
    return parse(text, name);
#if TOML_EXCEPTIONS
  } catch (const toml::parse_error& error) {
    return syntax_error(name, error);
#endif
  } catch (const std::exception& error) {
    return invalid_input("{}: not TOML: {:.300}", name, error.what());
  }
}

std::string_view type_of(const TomlValue& value) {
  constexpr std::array<std::string_view, 7> kNames{
      "flag", "integer", "real", "string", "list of strings", "list of integers", "section"};
  const auto* other = std::get_if<OtherValue>(&value);
  return other != nullptr ? std::string_view(other->type) : kNames[value.index()];
}

}  // namespace sluice::config
