// Any text as config.json and as trainer_state.json; what is accepted must be written and read back
// to the same.
#include <cstdint>
#include <string_view>

#include "kernels/base/check.hpp"
#include "runtime/store/hf_config.hpp"
#include "runtime/store/trainer_state.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto config = store::parse_hf_config(text, "config.json")) {
    const std::string written = store::write_hf_config(config->model, DType::kF32);
    const auto again = store::parse_hf_config(written, "written");
    SLUICE_CHECK(again.has_value(), "{}\n{}", again.error().message, written);
    SLUICE_CHECK(store::write_hf_config(again->model, DType::kF32) == written, "{}", written);
  }
  if (const auto state = store::parse_trainer_state(text, "trainer_state.json")) {
    const std::string written = store::write_trainer_state(*state);
    const auto again = store::parse_trainer_state(written, "written");
    SLUICE_CHECK(again.has_value() && store::write_trainer_state(*again) == written, "{}", written);
  }
  return 0;
}
