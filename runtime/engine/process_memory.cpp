// VmRSS and VmHWM of /proc/self/status.
#include "runtime/engine/process_memory.hpp"

#include <fstream>
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

}  // namespace

std::int64_t resident_bytes() { return status_bytes("VmRSS:"); }
std::int64_t resident_bytes_peak() { return status_bytes("VmHWM:"); }

}  // namespace sluice::engine
