// nlohmann's exceptions end here.
#include "runtime/tokenizer/json_node.hpp"

#include <algorithm>

namespace sluice {

Result<nlohmann::json> parse_json(std::string_view text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(error.byte, text.size()));
    const std::string_view what = error.what();
    const auto colon = what.find(": ");  // past the library's own position and code
    return invalid_input("line {}: not JSON: {}", 1 + std::count(text.begin(), end, '\n'),
                         colon == std::string_view::npos ? what : what.substr(colon + 2));
  } catch (const std::exception& error) {
    return invalid_input("not JSON: {}", error.what());
  }
}

}  // namespace sluice
