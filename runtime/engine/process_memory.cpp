// VmRSS and VmHWM of /proc/self/status.
#include "runtime/engine/process_memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

namespace sluice::engine {
namespace {

std::int64_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key)) return std::atoll(line.c_str() + key.size()) * 1024;
  }
  return 0;
}

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

// Of the control group that this process sees as its root; "max" is none.
std::int64_t control_group_bytes() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::int64_t bytes = 0;
  return file >> bytes && bytes > 0 ? bytes : kNoLimit;
}

std::int64_t resource_limit_bytes(int resource) {
  struct rlimit limit {};
  const bool is_limited = ::getrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0 &&
                          limit.rlim_cur < static_cast<rlim_t>(kNoLimit);
  return is_limited ? static_cast<std::int64_t>(limit.rlim_cur) : kNoLimit;
}

}  // namespace

std::int64_t memory_bytes_max() {
  const std::int64_t machine = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  return std::min({machine, control_group_bytes(), resource_limit_bytes(RLIMIT_AS),
                   resource_limit_bytes(RLIMIT_DATA)});
}

std::int64_t resident_bytes() { return status_bytes("VmRSS:"); }
std::int64_t resident_bytes_peak() { return status_bytes("VmHWM:"); }

}  // namespace sluice::engine
