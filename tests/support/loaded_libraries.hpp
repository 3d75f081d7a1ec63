// Which shared libraries this process has loaded.
#pragma once

#include <fstream>
#include <string>
#include <string_view>

namespace sluice {

/// True if the path of a file mapped into this process contains `name`.
inline bool library_is_loaded(std::string_view name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

}  // namespace sluice
