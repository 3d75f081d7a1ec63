// What `sluice config` prints.
#pragma once

#include <span>
#include <string>

#include "runtime/config/config.hpp"

namespace sluice {

/// {"train": {"steps": 1000, ...}, ...}; null where an optional key is absent.
[[nodiscard]] std::string config_to_json(const config::Config& config);
/// For people: two lines a key.
[[nodiscard]] std::string help_to_text(std::span<const config::KeyHelp> keys);
/// [{"key", "type", "default", "range", "doc"}, ...]
[[nodiscard]] std::string help_to_json(std::span<const config::KeyHelp> keys);

}  // namespace sluice
