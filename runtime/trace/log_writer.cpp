// A window of the file in memory that moves on as it fills.
#include "runtime/trace/log_writer.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <system_error>

#include "kernels/base/check.hpp"

namespace sluice::trace {
namespace {

// Counts as memory of the process while it is mapped, so it is small; a larger record has a window
// of its own.
constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 22;
constexpr std::uint64_t kPageBytes = 4096;

}  // namespace

struct LogWriter::State {
  State(std::filesystem::path p, int d) : path(std::move(p)), descriptor(d) {}
  ~State() {
    unmap();
    if (descriptor >= 0) ::close(descriptor);
  }

  void unmap() {
    if (window != nullptr) ::munmap(window, window_bytes);
    window = nullptr;
  }

  // The disk space is taken before the window is mapped: a full disk is an error here, and never a
  // signal at a store.
  bool map(std::uint64_t bytes) {
    if (window != nullptr && size + bytes <= window_first + window_bytes) return true;
    unmap();
    window_first = size / kPageBytes * kPageBytes;
    window_bytes = std::max(kWindowBytes, size - window_first + bytes);
    window_bytes = (window_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    const auto first = static_cast<off_t>(window_first);
    int error = ::posix_fallocate(descriptor, first, static_cast<off_t>(window_bytes));
    if (error == 0) {
      void* at =
          ::mmap(nullptr, window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, first);
      if (at != MAP_FAILED) {
        window = static_cast<std::byte*>(at);
        return true;
      }
      error = errno;
    }
    failure = Error{ErrorKind::kFailed,
                    fmt::format("cannot write {}: {}; the log ends after {} bytes", path.string(),
                                std::generic_category().message(error), size)};
    return false;
  }

  void put(RecordKind kind, std::span<const std::byte> head, std::span<const std::byte> body) {
    const std::uint64_t bytes = head.size() + body.size();
    SLUICE_CHECK_LE(bytes, kRecordBytesMax);
    // One word more: the zero behind the last record.
    if (failure || !map(kRecordHeadBytes + padded(bytes) + 8)) return;
    std::byte* const at = window + (size - window_first);
    std::byte* const content = at + kRecordHeadBytes;
    std::copy(head.begin(), head.end(), content);
    std::copy(body.begin(), body.end(), content + head.size());
    const std::uint64_t word = record_word(kind, bytes, size);
    const std::uint64_t checksum = record_checksum(word, size, {content, bytes});
    std::memcpy(at + 8, &checksum, sizeof(checksum));
    std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).store(word, std::memory_order_release);
    size += kRecordHeadBytes + padded(bytes);
  }

  mutable std::mutex mutex;
  std::filesystem::path path;
  int descriptor = -1;
  std::uint64_t size = 0;
  std::byte* window = nullptr;
  std::uint64_t window_first = 0;
  std::uint64_t window_bytes = 0;
  std::optional<Error> failure;
};

Result<std::unique_ptr<LogWriter>> LogWriter::create(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    return invalid_input("cannot create {}: {}; choose another folder", path.string(),
                         std::generic_category().message(errno));
  }
  auto state = std::make_unique<State>(path, descriptor);
  if (!state->map(kLogMagic.size() + 8)) return tl::unexpected(*state->failure);
  std::memcpy(state->window, kLogMagic.data(), kLogMagic.size());
  state->size = kLogMagic.size();
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(state)));
}

LogWriter::LogWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
LogWriter::~LogWriter() = default;

void LogWriter::append(RecordKind kind, std::span<const std::byte> head,
                       std::span<const std::byte> body) {
  const std::lock_guard lock(state_->mutex);
  state_->put(kind, head, body);
}

std::uint64_t LogWriter::size_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->size;
}

Status LogWriter::status() const {
  const std::lock_guard lock(state_->mutex);
  if (state_->failure) return tl::unexpected(*state_->failure);
  return {};
}

Status LogWriter::close() {
  const std::lock_guard lock(state_->mutex);
  state_->put(RecordKind::kEnd, {}, {});
  state_->unmap();
  if (!state_->failure && ::ftruncate(state_->descriptor, static_cast<off_t>(state_->size)) != 0) {
    state_->failure =
        Error{ErrorKind::kFailed, fmt::format("cannot shorten {}: {}", state_->path.string(),
                                              std::generic_category().message(errno))};
  }
  if (state_->failure) return tl::unexpected(*state_->failure);
  return {};
}

}  // namespace sluice::trace
