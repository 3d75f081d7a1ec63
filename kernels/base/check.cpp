// Where a bug ends: one line on stderr, then abort.
#include "kernels/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace sluice {

void check_failed(const char* file, int line, std::string_view expression,
                  const std::string& detail) {
  std::fprintf(stderr, "%s:%d: check failed: %.*s%s%s\n", file, line,
               static_cast<int>(expression.size()), expression.data(), detail.empty() ? "" : ": ",
               detail.c_str());
  std::abort();
}

}  // namespace sluice
