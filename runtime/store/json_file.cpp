// nlohmann-json behind Result.
#include "runtime/store/json_file.hpp"

#include <set>
#include <string>
#include <vector>

#include "runtime/store/file.hpp"

namespace sluice::store {
namespace {

using nlohmann::json;

constexpr int kDepthMax = 64;

// Follows the parser: keys of every open object, and how deep it is.
class Watch {
 public:
  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (depth > kDepthMax && problem_.empty()) {
      problem_ = fmt::format("nests deeper than {} levels", kDepthMax);
    }
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end && !keys_.empty()) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.empty() && problem_.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) problem_ = fmt::format("key \"{}\" stands twice", key);
    }
    return problem_.empty();  // false drops the value: nothing grows after the first problem
  }
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string problem_;
};

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view where) {
  try {
    Watch watch;
    json value = json::parse(
        text.begin(), text.end(),
        [&watch](int depth, json::parse_event_t event, json& v) { return watch(depth, event, v); });
    if (!watch.problem().empty()) return invalid_input("{}: {}", where, watch.problem());
    return value;
  } catch (const json::exception& error) {
    // The library quotes what it read last, which may be the whole file.
    return invalid_input("{}: not JSON: {:.300}", where, error.what());
  }
}

Result<json> read_json(const std::filesystem::path& path, std::uint64_t bytes_max) {
  SLUICE_ASSIGN(const std::string text, read_text(path, bytes_max));
  return parse_json(text, path.string());
}

std::string to_text(const json& value) {
  return value.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::store
