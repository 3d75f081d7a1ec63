// The wrapped calls.
#include "tests/simulation/simulated_disk.hpp"

#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>

namespace sluice::simulation {
namespace {

thread_local SimulatedDisk* disk_of_this_thread = nullptr;

bool is_full() { return disk_of_this_thread != nullptr && !disk_of_this_thread->take(); }

}  // namespace

SimulatedDisk::Scope::Scope(SimulatedDisk& disk) { disk_of_this_thread = &disk; }
SimulatedDisk::Scope::~Scope() { disk_of_this_thread = nullptr; }

bool SimulatedDisk::take() {
  if (calls_left_ > 0) {
    --calls_left_;
    return true;
  }
  calls_left_ = -1;
  return false;
}

}  // namespace sluice::simulation

using sluice::simulation::is_full;

extern "C" {

int __real_open(const char* path, int flags, ...);
int __real_posix_fallocate(int descriptor, off_t offset, off_t size);
ssize_t __real_pwrite(int descriptor, const void* bytes, std::size_t size, off_t offset);
int __real_fsync(int descriptor);
int __real_rename(const char* from, const char* to);

int __wrap_open(const char* path, int flags, ...) {
  if ((flags & O_CREAT) == 0) return __real_open(path, flags);
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = va_arg(arguments, mode_t);
  va_end(arguments);
  if (is_full()) {
    errno = ENOSPC;
    return -1;
  }
  return __real_open(path, flags, mode);
}

int __wrap_posix_fallocate(int descriptor, off_t offset, off_t size) {
  return is_full() ? ENOSPC : __real_posix_fallocate(descriptor, offset, size);
}

// The last bytes that fit are written, as on a real disk.
ssize_t __wrap_pwrite(int descriptor, const void* bytes, std::size_t size, off_t offset) {
  if (!is_full()) return __real_pwrite(descriptor, bytes, size, offset);
  static_cast<void>(__real_pwrite(descriptor, bytes, size / 2, offset));
  errno = ENOSPC;
  return -1;
}

int __wrap_fsync(int descriptor) {
  if (!is_full()) return __real_fsync(descriptor);
  errno = ENOSPC;
  return -1;
}

int __wrap_rename(const char* from, const char* to) {
  if (!is_full()) return __real_rename(from, to);
  errno = ENOSPC;
  return -1;
}
}
