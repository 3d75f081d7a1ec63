// Any text as a TOML config and as --set; what is accepted must dump and read back to the same.
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/check.hpp"
#include "runtime/config/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto config = config::parse_config(text, "fuzz.toml", {})) {
    const std::string dumped = config::dump_toml(*config);
    const auto again = config::parse_config(dumped, "dumped.toml", {});
    SLUICE_CHECK(again.has_value(), "{}\n{}", again.error().message, dumped);
    SLUICE_CHECK(config::dump_toml(*again) == dumped, "{}", dumped);
  }
  const std::vector<std::string> sets{text, "data.paths=" + text, "train.learning_rate=" + text};
  for (const std::string& set : sets) {
    const auto config = config::parse_config("", "", std::vector<std::string>{set});
    SLUICE_CHECK(config.has_value() || !config.error().message.empty());
  }
  return 0;
}
