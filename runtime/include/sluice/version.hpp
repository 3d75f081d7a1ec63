// The version of the library, and the mark of what it shows.
#pragma once

#include <string>

/// Everything else in libsluice stays hidden.
#define SLUICE_API __attribute__((visibility("default")))

namespace sluice {

/// Of the library that is loaded, as "0.1.0".
[[nodiscard]] SLUICE_API std::string version();

}  // namespace sluice
