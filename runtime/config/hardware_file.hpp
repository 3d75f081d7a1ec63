// Hardware descriptions: NAME.toml says what a device and its links are, NAME.RATES.toml beside it
// how fast kernels run there.
//
// Every number is { value = 132, unit = "SMs", source = "where it is from" }; a unit other than the
// one the key has, a number without a source, and a key that nobody knows are errors with file and
// line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graph/cost/hardware.hpp"
#include "kernels/base/result.hpp"

namespace sluice::config {

struct HardwareFile {
  cost::Hardware hardware;
  std::map<std::string, std::string, std::less<>> sources;  ///< by key
};

/// `rates` empty: those that the file names as its default.
[[nodiscard]] Result<HardwareFile> load_hardware(const std::filesystem::path& file,
                                                 std::string_view rates);
/// The rate sets that lie beside a hardware file, sorted.
[[nodiscard]] std::vector<std::string> rate_sets(const std::filesystem::path& file);

/// Of text; `name` stands for the file in messages.
[[nodiscard]] Status parse_device(std::string_view toml, std::string_view name, HardwareFile& out,
                                  std::string& default_rates);
[[nodiscard]] Status parse_rates(std::string_view toml, std::string_view name, HardwareFile& out);

}  // namespace sluice::config
